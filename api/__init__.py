"""Puesto over HTTP and on the command line: parse, one call of the core, render. No rules live here."""
