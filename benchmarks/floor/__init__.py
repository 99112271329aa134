"""The floor: the least that a checkout costs on this stack. A Flask app that writes the rows that Puesto writes, and knows nothing else."""
