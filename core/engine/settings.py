"""Settings: `puesto.toml`, over it the environment; validated by schemas, secrets by reference only.

A name that no schema knows stops the start: a misspelt setting is worse than a missing one.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from core.errors import SettingsInvalid

ENVIRONMENT_PREFIX = "PUESTO_"
# These steer where settings come from, or how we are watched; they are no settings themselves.
NOT_SETTINGS = {"PUESTO_CONFIG", "PUESTO_TRACE"}


class Secret:
    """A value that never shows itself: not in a repr, a log, an error or a listing. `reveal()` hands it out."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"


class SecretField(fields.Field[Secret]):
    """A secret, named by reference: `env:NAME` or `file:/path`. A value written out is refused."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Secret:
        kind, _, where = value.partition(":") if isinstance(value, str) else ("", "", "")
        if kind == "env" and where:
            if where not in os.environ:
                raise ValidationError(f"the environment has no {where}")
            return Secret(os.environ[where])
        if kind == "file" and where:
            try:
                return Secret(Path(where).read_text().strip())
            except OSError as error:
                raise ValidationError(f"can't read {where}: {error.strerror}") from None
        raise ValidationError("write a secret as env:NAME or file:/path, never its value")


class SellerSettings(Schema):
    """Who sells: printed on invoices, and the home country of tax."""

    name = fields.String(load_default="Puesto Demo, S.L.")
    country = fields.String(load_default="ES", validate=validate.Length(equal=2))
    address = fields.String(load_default="Calle Mayor 1, 28013 Madrid")
    email = fields.Email(load_default="billing@puesto.example")
    tax_id = fields.String(load_default="ESB99286320")
    time_zone = fields.String(load_default="Europe/Madrid")
    currency = fields.String(load_default="EUR", validate=validate.Length(equal=3))


class CoreSettings(Schema):
    """The settings of the engine itself; `plugins` holds a table per plugin, checked by that plugin's own schema.

    enabled:  names of plugins, in the order in which they are asked; null: all that are installed, by name.
    disabled: names of plugins that are installed but left out.
    """

    class Meta:
        unknown = RAISE

    mode = fields.String(load_default="sandbox", validate=validate.OneOf(["sandbox", "live"]))
    database = fields.String(load_default="sqlite:///puesto.db")
    base_url = fields.Url(load_default="http://127.0.0.1:8000", require_tld=False)
    enabled = fields.List(fields.String(), load_default=None, allow_none=True)
    disabled = fields.List(fields.String(), load_default=list)
    quote_minutes = fields.Integer(load_default=30, validate=validate.Range(1, 24 * 60))
    cart_days = fields.Integer(load_default=30, validate=validate.Range(1, 365))
    seller = fields.Nested(SellerSettings, load_default=lambda: SellerSettings().load({}))
    plugins = fields.Dict(keys=fields.String(), values=fields.Dict(keys=fields.String()), load_default=dict)


def load_settings(path: Path | None = None, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The engine's settings from a TOML file (default: PUESTO_CONFIG, else ./puesto.toml if there is one) and the environment.

    Raises SettingsInvalid, in one line that names the setting.
    """
    environ = os.environ if environ is None else environ
    given = environ.get("PUESTO_CONFIG")
    path = path or (Path(given) if given else Path("puesto.toml"))
    raw: dict[str, Any] = {}
    if path.exists():
        try:
            raw = tomllib.loads(path.read_text())
        except tomllib.TOMLDecodeError as error:
            raise SettingsInvalid("{path} is no TOML: {error}", path=path, error=error) from None
    elif given:
        raise SettingsInvalid("PUESTO_CONFIG names {path}, which does not exist", path=path)
    for name, value in environ.items():
        if name.startswith(ENVIRONMENT_PREFIX) and name not in NOT_SETTINGS:
            _put(raw, name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"), value)
    return check_settings(CoreSettings(), raw)


def check_settings(schema: Schema, raw: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """`raw` as the schema loads it. `where` is the table it stands in, for the message. Raises SettingsInvalid."""
    try:
        loaded: dict[str, Any] = schema.load(raw, unknown=RAISE)
    except ValidationError as error:
        name, problem = _first(dict(error.messages_dict), where)
        raise SettingsInvalid("setting {name}: {problem}", name=name, problem=problem) from None
    return loaded


def _put(raw: dict[str, Any], path: list[str], value: str) -> None:
    for part in path[:-1]:
        raw = raw.setdefault(part, {})
    # Lists are written with commas in the environment; nothing else needs structure there.
    raw[path[-1]] = [v.strip() for v in value.split(",") if v.strip()] if path[-1] in ("enabled", "disabled") else value


def _first(messages: Mapping[str, Any], where: str) -> tuple[str, str]:
    name, problem = next(iter(messages.items()))
    path = f"{where}.{name}" if where else str(name)
    if isinstance(problem, Mapping):
        return _first({str(k): v for k, v in problem.items()}, path)
    words = problem[0] if isinstance(problem, list) else str(problem)
    return path, "there is no such setting" if words == "Unknown field." else words
