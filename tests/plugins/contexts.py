"""For plugins that are made without an engine, and keep no rows."""

from core.engine.plugin_rows import PluginDatabase
from core.engine.sqlite import Sqlite

NO_ROWS = PluginDatabase(Sqlite("sqlite:///nobody-opens-this.db"))
