"""Documents to print; a package so that template and catalogues are installed."""
