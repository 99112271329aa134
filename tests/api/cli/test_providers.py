"""puesto payments list, check, diff."""

import pytest

from api.cli import shop as cli_shop
from core.payments import Payment
from core.refunds import write_refund
from puesto import Capabilities, PaymentProvider, ProviderMisconfigured, ProviderUnavailable, eur, hookimpl
from tests.core.gateway import GatewayPlugin, SparePlugin

SEAT = {"mode": "buy", "plan": "gotoassist-standard", "seats": 1, "interval": "month"}  # 12.00, with tax 14.52


class Plain(PaymentProvider):
    """Takes euros from Spain, up to 10.00, and does nothing else."""

    name = "plain"
    capabilities = Capabilities(currencies=frozenset({"EUR"}), countries=frozenset({"ES"}), maximum={"EUR": 1000})
    health: Exception | None = None

    def check_health(self):
        if self.health is not None:
            raise self.health


class PlainPlugin:
    def __init__(self):
        self.provider = Plain()

    @hookimpl
    def register_payment_providers(self):
        return [self.provider]


@pytest.fixture
def run(puesto, monkeypatch):
    """run(shop, "check", "sandbox"): exit status, cells of each line, and standard error of the command on that shop's engine."""

    def command(shop, *arguments):
        with monkeypatch.context() as patched:
            patched.setattr(cli_shop, "Engine", lambda: shop.engine)
            patched.setattr(shop.engine, "close", lambda: None)
            done = puesto("payments", *arguments)
        shown = [line for line in done.stdout.splitlines() if "│" in line or line.startswith("missing")]
        cells = [_cells(line) for line in shown]
        return done.exit_code, [row for row in cells if row[0]], done.stderr  # without what goes on from the line above

    return command


def _cells(line):
    return tuple(cell.strip() for cell in line.strip("│").split("│"))


def levels(found):
    return {(about, level) for level, about, _ in found}


# --- list


def test_list_shows_every_provider_and_where_new_payments_go(run, open_shop):
    shop = open_shop(plugins={"spare": SparePlugin, "plain": PlainPlugin()}, payments={"providers": ["plain", "sandbox"]})

    status, rows, _ = run(shop, "list")

    assert status == 0
    assert [row[:3] for row in rows] == [
        ("plain", "1", "test"),
        ("sandbox", "2", "test"),
        ("invoice_terms", "no", "test"),
        ("spare", "no", "test"),
    ]
    assert rows[0][3:] == ("-", "EUR", "ES", "-")


def test_list_says_why_a_cart_can_not_be_paid_with_the_others(run, open_shop):
    shop = open_shop(plugins={"plain": PlainPlugin()}, payments={"rules": {"sandbox": {"countries": ["DE"]}}})
    cart = shop.cart(SEAT)

    status, rows, _ = run(shop, "list", "--cart", cart.id)

    assert (status, {row[0]: row[-1] for row in rows}) == (
        0,
        {"plain": "amount_too_large", "sandbox": "country_unsupported", "invoice_terms": "corporate_accounts_only"},
    )
    assert run(shop, "list", "--cart", "crt_none")[0] == 2


# --- check


def test_a_provider_that_is_ready_is_all_ok(run, open_shop):
    shop = open_shop(enabled=["sandbox", "gotoassist", "vat", "vat_rates"])
    shop.order(shop.cart(SEAT))

    status, found, _ = run(shop, "check", "sandbox")

    assert status == 0
    assert {about for about, level in levels(found) if level == "ok"} == {"settings", "offered", "mode", "health", "currencies", "accounts"}
    assert {about for about, level in levels(found) if level == "warn"} == {"webhooks"}


def test_what_a_provider_lacks_is_told(run, open_shop):
    plain = PlainPlugin()
    shop = open_shop(plugins={"plain": plain}, payments={"providers": ["sandbox"]})
    shop.open_account(country="DE")
    plain.provider.health = ProviderMisconfigured("bad key")

    status, found, error = run(shop, "check", "plain")

    assert status == 1
    assert error == "puesto: plain is not ready\n"
    assert {(level, about): detail for level, about, detail in found} == {
        ("ok", "settings"): "complete, and every secret can be read",
        ("warn", "offered"): "not to new payments: refunds, webhooks and stored methods alone",
        ("ok", "mode"): "test money",
        ("fail", "health"): "ProviderMisconfigured: bad key",
        ("ok", "webhooks"): "none, and none are needed",
        ("warn", "refund"): "it can't: money goes back by hand",
        ("warn", "off session"): "it can't: renewals can't be charged to what it stores",
        ("warn", "currencies"): "sold, and not taken: GBP, USD",
        ("warn", "accounts"): "can't pay with it: 1 in DE (EUR)",
    }


@pytest.mark.parametrize("fault", [ProviderUnavailable("down"), RuntimeError("bug")])
def test_a_provider_that_gives_no_answer_is_not_ready(run, open_shop, fault):
    plain = PlainPlugin()
    shop = open_shop(plugins={"plain": plain})
    plain.provider.health = fault

    status, found, _ = run(shop, "check", "plain")

    assert (status, [about for about, level in levels(found) if level == "fail"]) == (1, ["health"])


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("stripe", "rests until plugins.stripe.secret_key is set"),
        ("sandbox", "its plugin is not enabled"),
        ("strype", "no plugin brings it"),
    ],
)
def test_a_provider_that_is_not_there_says_why(run, open_shop, name, why):
    shop = open_shop(disabled=["sandbox"])

    status, found, _ = run(shop, "check", name)

    assert (status, found) == (1, [("fail", "plugin", why)])


# --- diff


@pytest.fixture
def trading(open_shop):
    """Two purchases of 14.52, one on its way back and of the other 5.00, a stored method, and a buyer at the bank."""
    shop = open_shop(plugins={"sandbox": GatewayPlugin, "spare": SparePlugin, "plain": PlainPlugin()})
    shop.order(shop.cart(SEAT), token="tok_ok", save=True)
    shop.order(shop.cart(SEAT))
    for payment, amount in zip(shop.engine.db.all(Payment.select().order_by(Payment.id)), (eur("5.00"), None), strict=True):
        with shop.engine.db.transaction():
            write_refund(shop.engine, payment, amount, "goodwill")
    shop.order(shop.cart(SEAT), token="tok_3ds")
    return shop


def test_diff_counts_what_is_in_use_and_what_stays(run, trading):
    status, rows, error = run(trading, "diff", "sandbox", "plain")

    assert status == 1
    assert [row for row in rows if len(row) == 3] == [
        ("stored methods, for renewals", "1", "NO"),
        ("refunds", "2", "NO"),
        ("partial refunds", "1", "NO"),
        ("payments in EUR from ES", "2", "NO"),
    ]
    assert {row for row in rows if len(row) == 2} == {
        ("open payments", "1"),
        ("set aside, not taken", "0"),
        ("open refunds", "2"),
        ("open disputes", "0"),
        ("stored methods", "1"),
        ("of these, default", "1"),
    }
    assert error.startswith("puesto: plain does not take over yet: stored methods, for renewals; refunds; partial refunds; payments in EUR")


def test_a_provider_that_can_do_all_takes_over(run, trading):
    status, rows, _ = run(trading, "diff", "sandbox", "spare")

    assert (status, {row[2] for row in rows if len(row) == 3}) == (0, {"yes"})


def test_diff_names_what_is_missing_in_the_settings(run, open_shop):
    payments = {"providers": ["sandbox"], "rules": {"sandbox": {"currencies": ["EUR"]}}}
    shop = open_shop(plugins={"spare": SparePlugin}, payments=payments)

    status, rows, _ = run(shop, "diff", "sandbox", "spare")

    assert status == 1
    assert [row[0] for row in rows if row[0].startswith("missing")] == [
        "missing: payments.providers does not name spare",
        "missing: payments.rules.sandbox is there, payments.rules.spare is not",
    ]


def test_a_provider_whose_plugin_is_gone_can_still_be_compared(run, open_shop, trading):
    without = open_shop(folder=trading.folder, plugins={"spare": SparePlugin}, disabled=["sandbox"])

    status, rows, _ = run(without, "diff", "sandbox", "spare")

    assert (status, ("open payments", "1") in rows, ("stored methods, for renewals", "1", "yes") in rows) == (0, True, True)
    status, rows, _ = run(without, "diff", "spare", "nobody")
    assert (status, rows[-1]) == (1, ("missing: the provider nobody: no plugin brings it",))
