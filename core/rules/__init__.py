"""The arithmetic: pure functions of values. No clock, no database, no plugin."""
