"""Databases before anything has made their tables, and engines on them."""

import pytest

from core.engine.engine import Engine
from core.engine.settings import CoreSettings, check_settings


@pytest.fixture
def start(empty_database, tmp_path):
    """start(plugins={...}, **settings) is an engine on that database, without bundled plugins, closed in the end."""
    engines = []

    def make(plugins=None, **settings):
        raw = {"database": empty_database, "data": str(tmp_path / "data"), "enabled": list(plugins or {}), **settings}
        engines.append(Engine(check_settings(CoreSettings(), raw), plugins=plugins))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()
