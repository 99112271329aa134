"""The command line, `puesto`: one module per group of commands."""
