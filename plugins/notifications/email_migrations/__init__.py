"""The chain of migrations of the plugin `email`; in a package so that an installation has it."""
