"""The machinery: engine, plugins, settings, database, events, jobs, clock."""
