"""Settings: `puesto.toml`, over it the environment; validated by schemas, secrets by reference only.

A name that no schema knows stops the start: a misspelt setting is worse than a missing one.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel.numbers import is_currency
from marshmallow import RAISE, Schema, ValidationError, fields, validate

from core.errors import SettingsInvalid

ENVIRONMENT_PREFIX = "PUESTO_"
# These steer where settings come from, or how we are watched; they are no settings themselves.
NOT_SETTINGS = {"PUESTO_CONFIG", "PUESTO_TRACE"}
ACCOUNT_KINDS = ("self_service", "corporate")


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
        # What stands behind the colon is not repeated in an error: it may be the secret itself, by mistake.
        kind, _, where = value.partition(":") if isinstance(value, str) else ("", "", "")
        if kind == "env" and where:
            if where not in os.environ:
                raise ValidationError("the environment variable that it names is not set")
            return Secret(os.environ[where])
        if kind == "file" and where:
            try:
                return Secret(Path(where).read_text().strip())
            except (OSError, ValueError):
                raise ValidationError("the file that it names can't be read as text") from None
        raise ValidationError("write a secret as env:NAME or file:/path, never its value")


def _check_currency(value: str) -> None:
    if not is_currency(value):
        raise ValidationError("write an ISO 4217 code such as EUR")


def _check_time_zone(value: str) -> None:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValidationError("write an IANA name such as Europe/Madrid") from None


def _check_tables(value: Mapping[str, Any]) -> None:
    for name, table in value.items():
        if not isinstance(table, Mapping):
            raise ValidationError({name: ["the settings of a plugin are a table"]})


_check_country = validate.Regexp(r"[A-Z]{2}\Z", error="write an ISO 3166-1 code such as ES")


class SellerSettings(Schema):
    """Who sells: printed on invoices, and the home country of tax.

    series: what the numbers of this seller's invoices begin with, where several sellers share a database: ACME-2026-000001.
    """

    name = fields.String(load_default="Puesto Demo, S.L.")
    country = fields.String(load_default="ES", validate=_check_country)
    address = fields.String(load_default="Calle Mayor 1, 28013 Madrid")
    email = fields.Email(load_default="billing@puesto.example")
    tax_id = fields.String(load_default="ESB99286320")
    series = fields.String(load_default="", validate=validate.Regexp(r"[A-Z0-9]{0,6}\Z", error="write up to six of A-Z and 0-9"))
    time_zone = fields.String(load_default="Europe/Madrid", validate=_check_time_zone)
    currency = fields.String(load_default="EUR", validate=_check_currency)


class ProviderRuleSettings(Schema):
    """When a provider is offered, beyond what it says of itself: `[payments.rules.NAME]`. Amounts in minor units by currency."""

    currencies = fields.List(fields.String(validate=_check_currency), load_default=None)
    countries = fields.List(fields.String(validate=_check_country), load_default=None)
    minimum = fields.Dict(fields.String(validate=_check_currency), fields.Integer(strict=True), load_default=dict)
    maximum = fields.Dict(fields.String(validate=_check_currency), fields.Integer(strict=True), load_default=dict)
    accounts = fields.List(fields.String(validate=validate.OneOf(ACCOUNT_KINDS)), load_default=list(ACCOUNT_KINDS))


class PaymentsSettings(Schema):
    """How carts are paid.

    capture:   `automatic` takes the money as an order is placed; `manual` only sets it aside, where the provider can.
    providers: names of those that new payments go to, the preferred one first; null: all that plugins bring, in the plugins' order.
    rules:     by a provider's name, when it is offered.
    """

    capture = fields.String(load_default="automatic", validate=validate.OneOf(["automatic", "manual"]))
    providers = fields.List(fields.String(), load_default=None, allow_none=True)
    rules = fields.Dict(fields.String(), fields.Nested(ProviderRuleSettings), load_default=dict)


class SubscriptionsSettings(Schema):
    """How subscriptions end, and when their accounts are reminded.

    unused:              what becomes of the unused days of one that is cancelled now, where its plan does not say: `none`, `credit` or
                         `refund`.
    trial_days_at_most:  how many free days a trial has in all, where staff extend it.
    trial_ending_days:   how many days before a trial ends its account is told; 0: it is not.
    renewal_coming_days: the same before a subscription that is paid by the year is renewed.
    """

    unused = fields.String(load_default="none", validate=validate.OneOf(["none", "credit", "refund"]))
    trial_days_at_most = fields.Integer(load_default=90, validate=validate.Range(1, 3650))
    trial_ending_days = fields.Integer(load_default=3, validate=validate.Range(0, 90))
    renewal_coming_days = fields.Integer(load_default=14, validate=validate.Range(0, 90))


class CoreSettings(Schema):
    """The settings of the engine itself; `plugins` holds a table per plugin, checked by that plugin's own schema.

    enabled:  names of plugins, in the order in which they are asked; null: all that are installed, by name.
    disabled: names of plugins that are installed but left out.
    base_url: where the API is reached from outside; null: where `puesto serve` listens.
    data:     the folder for files of plugins; null: beside an SQLite database, else `puesto-data` in the current directory.
    jobs:     the queue of the worker, redis://...; null: a file beside an SQLite database, else tables in PostgreSQL.
    """

    class Meta:
        unknown = RAISE

    mode = fields.String(load_default="sandbox", validate=validate.OneOf(["sandbox", "live"]))
    database = fields.String(load_default="sqlite:///puesto.db")
    data = fields.String(load_default=None, allow_none=True)
    jobs = fields.String(load_default=None, allow_none=True)
    base_url = fields.Url(load_default=None, allow_none=True, require_tld=False)
    enabled = fields.List(fields.String(), load_default=None, allow_none=True)
    disabled = fields.List(fields.String(), load_default=list)
    quote_minutes = fields.Integer(load_default=30, validate=validate.Range(1, 24 * 60))
    cart_days = fields.Integer(load_default=30, validate=validate.Range(1, 365))
    seller = fields.Nested(SellerSettings, load_default=lambda: SellerSettings().load({}))
    payments = fields.Nested(PaymentsSettings, load_default=lambda: PaymentsSettings().load({}))
    subscriptions = fields.Nested(SubscriptionsSettings, load_default=lambda: SubscriptionsSettings().load({}))
    plugins = fields.Dict(keys=fields.String(), load_default=dict, validate=_check_tables)


def base_url_of(settings: Mapping[str, Any]) -> str:
    """Where the API is reached: as it is set, else where `puesto serve` listens if nobody says otherwise."""
    return str(settings["base_url"] or "http://127.0.0.1:8000")


def load_settings(path: Path | None = None, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The engine's settings from a TOML file (default: PUESTO_CONFIG, else ./puesto.toml if there is one) and the environment.

    Raises SettingsInvalid, in one line that names the setting.
    """
    environ = os.environ if environ is None else environ
    given = environ.get("PUESTO_CONFIG")
    path = path or (Path(given) if given else Path("puesto.toml"))
    raw: dict[str, Any] = {}
    if path.exists():
        raw = _read(path)
    elif given:
        raise SettingsInvalid("PUESTO_CONFIG names {path}, which does not exist", path=path)
    for variable in sorted(environ):
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in NOT_SETTINGS:
            _put(raw, variable, environ[variable])
    return check_settings(CoreSettings(), raw)


def check_settings(schema: Schema, raw: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """`raw` as the schema loads it; a list may be given as text with commas, as the environment does.

    where: the table it stands in, for the message. Raises SettingsInvalid.
    """
    try:
        loaded: dict[str, Any] = schema.load(_split_lists(schema, raw), unknown=RAISE)
    except ValidationError as error:
        name, problem = _first(error.messages, where)
        raise SettingsInvalid("setting {name}: {problem}", name=name, problem=problem) from None
    return loaded


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsInvalid("{path} can't be read: {error}", path=path, error=error.strerror) from None
    except ValueError as error:  # TOMLDecodeError, UnicodeDecodeError
        raise SettingsInvalid("{path} is no TOML: {error}", path=path, error=error) from None


def _put(raw: dict[str, Any], variable: str, value: str) -> None:
    """Place a variable: PUESTO_SELLER__NAME is `name` in the table `seller`."""
    *tables, name = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
    for depth, table in enumerate(tables, 1):
        raw = raw.setdefault(table, {})
        if not isinstance(raw, dict):
            whole = ".".join(tables[:depth])
            raise SettingsInvalid("setting {name}: it has a value, and {variable} names a part of it", name=whole, variable=variable)
    raw[name] = value


def _split_lists(schema: Schema, raw: Mapping[str, Any]) -> dict[str, Any]:
    table = dict(raw)
    for name, field in schema.load_fields.items():
        key = field.data_key or name
        value = table.get(key)
        if isinstance(field, fields.List) and isinstance(value, str):
            table[key] = [item.strip() for item in value.split(",") if item.strip()]
        elif isinstance(field, fields.Nested) and isinstance(value, Mapping):
            table[key] = _split_lists(field.schema, value)
    return table


def _first(problem: Any, path: str) -> tuple[str, str]:
    """The first of marshmallow's messages, as the path of the setting and the words."""
    while not isinstance(problem, str):
        if isinstance(problem, list):
            problem = problem[0]
        else:
            name, problem = next(iter(problem.items()))
            # A table whose names are free, as of providers, has its messages one level down, under `value`.
            path = path if name in ("_schema", "value") else f"{path}.{name}".lstrip(".")
    return path, "there is no such setting" if problem == "Unknown field." else problem
