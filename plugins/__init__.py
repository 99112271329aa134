"""The plugins that come with Puesto: strangers to the core, found like any other."""
