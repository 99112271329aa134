from datetime import UTC, datetime

import pytest

from core.engine.clock import TestClock
from core.engine.plugin_loading import PluginContext
from core.engine.plugins import AskHooks, Plugins
from plugins.tax_vat import rates
from plugins.tax_vat.simulated_registry import SimulatedRegistry
from plugins.tax_vat.vat import Vat
from tests.plugins.contexts import NO_ROWS

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture
def enable(tmp_path):
    """enable(vat={...settings}, mode="live") is the real dispatcher with rates, vat and the simulated registry."""

    def build(mode="sandbox", *, without_rates=False, **tables):
        plugins = Plugins()
        clock = TestClock(NOON, frozen=True)
        if not without_rates:
            plugins.register("vat_rates", rates)
        for name, made in (("vat", Vat), ("simulated_vat_registry", SimulatedRegistry)):
            settings = made.settings_schema().load(tables.get(name, {}))
            context = PluginContext(name, settings, mode, "http://127.0.0.1:8000", AskHooks(plugins), NO_ROWS, clock, tmp_path)
            plugins.register(name, made(context))
        plugins.finish()
        return plugins

    return build
