"""The sentences of problems in other languages than English."""
