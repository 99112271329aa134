import sys

import pytest


@pytest.fixture
def install(tmp_path, monkeypatch):
    """install("shop", source, plugin="shop:Shop") is a distribution of its own on the path, with one plugin and one module."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    modules = []

    def make(distribution, source, *, plugin, name=None):
        module = plugin.partition(":")[0]
        modules.append(module)
        (site / f"{module}.py").write_text(source)
        metadata = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[puesto]\n{name or distribution} = {plugin}\n")

    yield make
    for module in modules:
        sys.modules.pop(module, None)
