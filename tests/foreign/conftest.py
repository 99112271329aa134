"""Distributions stand here whole; their own tests run where they are installed."""

collect_ignore_glob = ["*/tests"]
