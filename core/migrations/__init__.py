"""The chain of migrations of the core; in a package so that an installation has it."""
