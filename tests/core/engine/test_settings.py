import os

import pytest
from marshmallow import Schema, fields, validate, validates_schema
from marshmallow.exceptions import ValidationError

from core.engine.settings import CoreSettings, Secret, SecretField, check_settings, load_settings
from core.errors import SettingsInvalid

SELLER = {
    "name": "Puesto Demo, S.L.",
    "country": "ES",
    "address": "Calle Mayor 1, 28013 Madrid",
    "email": "billing@puesto.example",
    "tax_id": "ESB99286320",
    "time_zone": "Europe/Madrid",
    "currency": "EUR",
    "series": "",
}


class Limits(Schema):
    most = fields.Integer(load_default=3)
    countries = fields.List(fields.String(), load_default=list)


class OwnSettings(Schema):
    """A plugin's settings, of every kind that the environment has to express."""

    slow_seconds = fields.Float(load_default=3.0, validate=validate.Range(min=0))
    active = fields.Boolean(load_default=False)
    registered_in = fields.List(fields.String(validate=validate.Regexp(r"[A-Z]{2}\Z")), load_default=list)
    ports = fields.List(fields.Integer(), load_default=list)
    from_ = fields.List(fields.String(), data_key="from", load_default=list)
    limits = fields.Nested(Limits, load_default=lambda: Limits().load({}))
    key = SecretField(load_default=None)

    @validates_schema
    def _check_pair(self, data, **kwargs):
        if data["active"] and not data["registered_in"]:
            raise ValidationError("an active shop is registered somewhere")


@pytest.fixture
def load(tmp_path):
    """load(toml, PUESTO_X="...") are the settings of a file and an environment."""

    def make(toml="", **environ):
        path = tmp_path / "puesto.toml"
        path.write_text(toml)
        return load_settings(path, environ)

    return make


def refusal(call, *args, **kwargs):
    """What one is told: a single line."""
    with pytest.raises(SettingsInvalid) as refused:
        call(*args, **kwargs)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def plugin_settings(raw):
    return check_settings(OwnSettings(), raw, "plugins.shop")


def test_without_file_and_environment_everything_has_a_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert load_settings(environ={}) == {
        "mode": "sandbox",
        "database": "sqlite:///puesto.db",
        "data": None,
        "jobs": None,
        "base_url": None,
        "enabled": None,
        "disabled": [],
        "quote_minutes": 30,
        "cart_days": 30,
        "seller": SELLER,
        "payments": {"capture": "automatic", "providers": None, "rules": {}},
        "subscriptions": {"unused": "none", "trial_days_at_most": 90, "trial_ending_days": 3, "renewal_coming_days": 14},
        "plugins": {},
    }


def test_the_environment_overrides_the_file_value_by_value(load):
    settings = load(
        'mode = "live"\nquote_minutes = 10\n[seller]\nname = "Ñandú"\ncountry = "PT"\n[plugins.sandbox]\nslow_seconds = 1\n',
        PUESTO_QUOTE_MINUTES="45",
        PUESTO_SELLER__COUNTRY="DE",
        PUESTO_PLUGINS__SANDBOX__SLOW_SECONDS="0.1",
        PUESTO_PLUGINS__STRIPE__RETRY__TIMES="2",
        OTHER="ignored",
        PUESTO_TRACE="1",
    )

    assert (settings["mode"], settings["quote_minutes"]) == ("live", 45)
    assert settings["seller"] == SELLER | {"name": "Ñandú", "country": "DE"}
    assert settings["plugins"] == {"sandbox": {"slow_seconds": "0.1"}, "stripe": {"retry": {"times": "2"}}}


def test_the_file_is_the_one_that_puesto_config_names_or_puesto_toml_of_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "puesto.toml").write_text("cart_days = 1")
    (tmp_path / "other.toml").write_text("cart_days = 2")

    assert load_settings(environ={})["cart_days"] == 1
    assert load_settings(environ={"PUESTO_CONFIG": str(tmp_path / "other.toml")})["cart_days"] == 2


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"mode = ", "is no TOML: Invalid value (at end of document)"),
        (b'mode = "\xff"', "is no TOML: 'utf-8' codec can't decode byte 0xff in position 8: invalid start byte"),
        (None, "can't be read: Is a directory"),
    ],
    ids=["syntax", "encoding", "folder"],
)
def test_a_file_that_is_no_toml_is_named(tmp_path, content, problem):
    path = tmp_path / "puesto.toml"
    path.mkdir() if content is None else path.write_bytes(content)

    assert refusal(load_settings, path, {}) == f"{path} {problem}"


def test_a_file_that_puesto_config_names_must_be_there(tmp_path):
    path = tmp_path / "no.toml"

    assert refusal(load_settings, environ={"PUESTO_CONFIG": str(path)}) == f"PUESTO_CONFIG names {path}, which does not exist"


@pytest.mark.parametrize(
    ("toml", "environ", "told"),
    [
        ("moed = 'live'", {}, "setting moed: there is no such setting"),
        ("", {"PUESTO_DATABSE": "x"}, "setting databse: there is no such setting"),
        ("[seller]\nnom = 'x'", {}, "setting seller.nom: there is no such setting"),
        ("", {"PUESTO_PAYMENTS__CAPTURE": "later"}, "setting payments.capture: Must be one of: automatic, manual."),
        ("", {"PUESTO_MODE": "production"}, "setting mode: Must be one of: sandbox, live."),
        ("", {"PUESTO_QUOTE_MINUTES": "soon"}, "setting quote_minutes: Not a valid integer."),
        ("", {"PUESTO_SELLER__TIME_ZONE": "Europe/Atlantis"}, "setting seller.time_zone: write an IANA name such as Europe/Madrid"),
        ("", {"PUESTO_SELLER__CURRENCY": "euro"}, "setting seller.currency: write an ISO 4217 code such as EUR"),
        ("", {"PUESTO_SELLER__COUNTRY": "es"}, "setting seller.country: write an ISO 3166-1 code such as ES"),
        ("enabled = ['vat', 5]", {}, "setting enabled.1: Not a valid string."),
        ("", {"PUESTO_SELLER": "x"}, "setting seller: Invalid input type."),
        ("", {"PUESTO_PLUGINS": "x"}, "setting plugins: Not a valid mapping type."),
        ("", {"PUESTO_PLUGINS__VAT": "x"}, "setting plugins.vat: the settings of a plugin are a table"),
        (
            "",
            {"PUESTO_SELLER__NAME": "y", "PUESTO_SELLER": "x"},
            "setting seller: it has a value, and PUESTO_SELLER__NAME names a part of it",
        ),
        (
            "[plugins.vat]\nregistered_in = ['GB']",
            {"PUESTO_PLUGINS__VAT__REGISTERED_IN__GB": "1"},
            "setting plugins.vat.registered_in: it has a value, and PUESTO_PLUGINS__VAT__REGISTERED_IN__GB names a part of it",
        ),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(load, toml, environ, told):
    assert refusal(load, toml, **environ) == told


def test_lists_are_written_with_commas_wherever_the_schema_has_a_list(load):
    core = load("", PUESTO_ENABLED="vat, vat_rates,", PUESTO_DISABLED="")

    own = plugin_settings({"registered_in": "GB,CH", "ports": "80, 443", "from": "a", "limits": {"countries": "ES,PT"}})

    assert (core["enabled"], core["disabled"]) == (["vat", "vat_rates"], [])
    assert (own["registered_in"], own["ports"], own["from_"]) == (["GB", "CH"], [80, 443], ["a"])
    assert own["limits"] == {"most": 3, "countries": ["ES", "PT"]}


def test_a_comma_splits_nothing_but_lists(load):
    assert load("", PUESTO_SELLER__NAME="Puesto, S.L.")["seller"]["name"] == "Puesto, S.L."


def test_numbers_and_switches_are_read_from_text():
    own = plugin_settings({"slow_seconds": "0.1", "active": "true", "registered_in": "GB"})

    assert (own["slow_seconds"], own["active"]) == (0.1, True)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({"slow_second": 1}, "setting plugins.shop.slow_second: there is no such setting"),
        ({"slow_seconds": -1}, "setting plugins.shop.slow_seconds: Must be greater than or equal to 0."),
        ({"registered_in": "GB,x"}, "setting plugins.shop.registered_in.1: String does not match expected pattern."),
        ({"limits": {"most": "many"}}, "setting plugins.shop.limits.most: Not a valid integer."),
        ({"active": True}, "setting plugins.shop: an active shop is registered somewhere"),
    ],
)
def test_a_wrong_setting_of_a_plugin_is_named_with_its_table(raw, told):
    assert refusal(plugin_settings, raw) == told


def test_the_raw_settings_are_left_as_they_were():
    raw = {"registered_in": "GB,CH", "limits": {"countries": "ES"}}

    plugin_settings(raw)

    assert raw == {"registered_in": "GB,CH", "limits": {"countries": "ES"}}


def test_a_secret_comes_from_the_environment_or_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_KEY", "hunter2")
    (tmp_path / "key").write_text("hunter3\n")

    assert plugin_settings({"key": "env:SHOP_KEY"})["key"].reveal() == "hunter2"
    assert plugin_settings({"key": f"file:{tmp_path / 'key'}"})["key"].reveal() == "hunter3"


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("sk_hunter2", "write a secret as env:NAME or file:/path, never its value"),
        ("env:", "write a secret as env:NAME or file:/path, never its value"),
        ({"sk": "hunter2"}, "write a secret as env:NAME or file:/path, never its value"),
        ("env:sk_hunter2", "the environment variable that it names is not set"),
        ("file:sk_hunter2", "the file that it names can't be read as text"),
        ("file:\0hunter2", "the file that it names can't be read as text"),
        (f"file:{os.sep}", "the file that it names can't be read as text"),
    ],
)
def test_a_secret_given_in_any_other_way_is_refused_without_showing_it(written, problem):
    with pytest.raises(SettingsInvalid) as refused:
        plugin_settings({"key": written})

    assert str(refused.value) == f"setting plugins.shop.key: {problem}"
    assert "hunter2" not in repr(refused.value) + repr(vars(refused.value))
    assert refused.value.__suppress_context__


def test_a_file_that_is_no_text_is_no_secret(tmp_path):
    (tmp_path / "key").write_bytes(b"\xff\xfe\x00")

    told = refusal(plugin_settings, {"key": f"file:{tmp_path / 'key'}"})

    assert told == "setting plugins.shop.key: the file that it names can't be read as text"


def test_a_secret_shows_itself_nowhere_but_in_reveal():
    secret = Secret("hunter2")

    assert f"{secret} {secret!r} {[secret]} {secret!s}" == "Secret(...) Secret(...) [Secret(...)] Secret(...)"
    assert secret.reveal() == "hunter2"


def test_nothing_is_shared_between_two_loads():
    first, second = (check_settings(CoreSettings(), {}) for _ in range(2))

    first["disabled"].append("vat")
    first["seller"]["name"] = "Other"

    assert (second["disabled"], second["seller"]["name"]) == ([], "Puesto Demo, S.L.")
