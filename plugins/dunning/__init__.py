"""Dunning: when what could not be paid is tried again, and what becomes of it."""
