"""Templates and catalogues of the messages; a package so that they are installed."""
