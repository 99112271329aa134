"""The chain of migrations of the plugin `bank_transfer`; in a package so that an installation has it."""
