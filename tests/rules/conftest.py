"""Hypothesis without its time limit per example: a busy machine is no failure."""

from hypothesis import settings

settings.register_profile("any_machine", deadline=None)
settings.load_profile("any_machine")
