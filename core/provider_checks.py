"""Looking over payment providers for the operator: whether one is ready, and what a swap from one to another would leave behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import peewee

from core.accounts import Account
from core.captures import Capture
from core.disputes import OPENED, Dispute
from core.engine.engine import Engine, inspect_plugins
from core.engine.settings import base_url_of
from core.hooks.payments import Capabilities, PayableCart, PaymentProvider, ProviderTimeout, ProviderUnavailable, beyond
from core.payment_methods import PaymentMethod
from core.payment_webhooks import PaymentWebhookEvent
from core.payments import SUCCEEDED, Payment, Refund
from core.providers import call_provider
from core.rules.money import Money


@dataclass(frozen=True)
class Finding:
    """A line of a check. `fail`: it can't be used so; `warn`: it can, but look."""

    level: Literal["ok", "warn", "fail"]
    about: str
    detail: str


@dataclass(frozen=True)
class Use:
    """Something that is in use with one provider: how often, and whether the other can do it (None: nobody knows, it is not there)."""

    what: str
    count: int
    able: bool | None


@dataclass(frozen=True)
class Swap:
    """What a swap comes to. stays: what goes on at the old provider, by name and how many; missing: settings, in words."""

    uses: list[Use]
    stays: dict[str, int]
    missing: list[str]


def webhook_address(engine: Engine, provider: PaymentProvider) -> str | None:
    """Where a provider tells of what happens; None: it does not."""
    return f"{base_url_of(engine.settings)}/v1/payment-webhooks/{provider.name}" if provider.capabilities.webhooks else None


def claims(provider: PaymentProvider) -> list[str]:
    """What a provider says it can do, in the contract's words."""
    return [name for name, value in vars(provider.capabilities).items() if value is True]


def moves_money(engine: Engine, provider: PaymentProvider) -> bool:
    """Whether real money moves. A provider's test keys show by its answers alone: `Payment.live`."""
    return not (engine.sandbox or provider.capabilities.sandbox)


# --- one provider


def check_provider(engine: Engine, name: str) -> Iterator[Finding]:
    """Everything that can be looked at without charging anybody. The provider is asked once, for its health."""
    provider = engine.providers.get(name)
    if provider is None:
        yield Finding("fail", "plugin", _why_absent(engine, name))
        return
    yield Finding("ok", "settings", "complete, and every secret can be read")
    yield _offer(engine, name)
    yield _mode(engine, provider)
    yield _health(engine, provider)
    yield from _webhooks(engine, provider)
    yield from _abilities(provider.capabilities)
    yield from _coverage(engine, provider)


def _why_absent(engine: Engine, name: str) -> str:
    """By the plugin of the same name, which most providers have."""
    plugin = next((info for info in inspect_plugins(engine.settings) if info.name == name), None)
    if plugin is None:
        return "no plugin brings it"
    return plugin.problem or plugin.idle or ("its plugin does not bring it in this mode" if plugin.enabled else "its plugin is not enabled")


def _offer(engine: Engine, name: str) -> Finding:
    if name in engine.offered:
        return Finding("ok", "offered", f"number {engine.offered.index(name) + 1} of {len(engine.offered)}")
    return Finding("warn", "offered", "not to new payments: refunds, webhooks and stored methods alone")


def _mode(engine: Engine, provider: PaymentProvider) -> Finding:
    if provider.capabilities.sandbox and not engine.sandbox:
        return Finding("fail", "mode", "it moves no money, and this shop is live")
    return Finding("ok", "mode", "live money" if moves_money(engine, provider) else "test money")


def _health(engine: Engine, provider: PaymentProvider) -> Finding:
    if type(provider).check_health is PaymentProvider.check_health:
        return Finding("ok", "health", "there is nothing to ask")
    began = perf_counter()
    try:
        call_provider(engine, provider, type(None), provider.check_health)
    except (ProviderUnavailable, ProviderTimeout) as error:
        return Finding("fail", "health", f"{type(error.__cause__ or error).__name__}: {error}")
    return Finding("ok", "health", f"answered in {(perf_counter() - began) * 1000:.0f} ms")


def _webhooks(engine: Engine, provider: PaymentProvider) -> Iterator[Finding]:
    address = webhook_address(engine, provider)
    if address is None:
        later = provider.capabilities.redirect or provider.capabilities.async_settlement
        detail = "none: what happens later is learnt by asking" if later else "none, and none are needed"
        yield Finding("warn" if later else "ok", "webhooks", detail)
        return
    reachable = engine.sandbox or str(engine.settings["base_url"]).startswith("https://")
    yield Finding("ok" if reachable else "fail", "webhooks", address if reachable else f"{address}: base_url must begin with https://")
    heard = PaymentWebhookEvent.select().where(PaymentWebhookEvent.provider == provider.name).order_by(PaymentWebhookEvent.id.desc())
    last = engine.db.first(heard)
    detail = f"the last came {last.received_at:%Y-%m-%d %H:%M} UTC" if last else "none has come so far"
    yield Finding("ok" if last else "warn", "webhooks", detail)


def _abilities(can: Capabilities) -> Iterator[Finding]:
    for name, without in (("refund", "money goes back by hand"), ("off_session", "renewals can't be charged to what it stores")):
        if not getattr(can, name) and not can.on_terms:
            yield Finding("warn", name.replace("_", " "), f"it can't: {without}")


def _coverage(engine: Engine, provider: PaymentProvider) -> Iterator[Finding]:
    """What is sold, and the accounts that there are, against what the provider takes."""
    can = provider.capabilities
    sold = {price.currency for _, plan in engine.products.plans.values() for price in plan.prices}
    lacking = sorted(sold - can.currencies) if can.currencies is not None else []
    level: Literal["ok", "warn", "fail"] = "fail" if sold and set(lacking) == sold else "warn" if lacking else "ok"
    yield Finding(level, "currencies", f"sold, and not taken: {', '.join(lacking)}" if lacking else "every one that is sold")
    outside = {
        (currency, country): count
        for currency, country, count in _accounts(engine)
        if beyond(can, PayableCart(Money(0, currency), country, corporate=False, staff=False)) is not None
    }
    detail = ", ".join(f"{count} in {country} ({currency})" for (currency, country), count in sorted(outside.items()))
    yield Finding("warn" if outside else "ok", "accounts", f"can't pay with it: {detail}" if outside else "all can pay with it")


def _accounts(engine: Engine) -> list[tuple[str, str, int]]:
    query = Account.select(Account.currency, Account.country, peewee.fn.COUNT(Account.id).alias("number"))
    rows: list[Any] = engine.db.all(query.group_by(Account.currency, Account.country))
    return [(row.currency, row.country, row.number) for row in rows]


# --- from one to another


def compare_providers(engine: Engine, old: str, new: str) -> Swap:
    """What is in use at `old`, counted from the rows, against what `new` claims. Either may be a name whose plugin is gone."""
    provider = engine.providers.get(new)
    uses = [Use(what, count, _able(provider, needs)) for what, count, needs in _in_use(engine, old) if count]
    uses += _amounts(engine, old, provider)
    return Swap(uses, _staying(engine, old), _missing(engine, old, new))


def _in_use(engine: Engine, name: str) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """What, how often, and the claims that it needs."""
    paid, count = Payment.provider == name, engine.db.count
    methods = PaymentMethod.select().where((PaymentMethod.provider == name) & PaymentMethod.deleted_at.is_null())
    refunds = Refund.select().join(Payment).where(paid)
    captures = Capture.select().join(Payment).where(paid)
    yield "stored methods, for renewals", count(methods), ("save_method", "off_session")
    yield "refunds", count(refunds), ("refund",)
    yield "partial refunds", count(refunds.where(Refund.amount < Payment.amount)), ("partial_refund",)
    yield "captures by hand", count(captures), ("authorize",)
    yield "partial captures", count(captures.where(Capture.amount.between(1, Payment.amount - 1))), ("partial_capture",)
    yield "payments on terms", count(Payment.select().where(paid & Payment.due_on.is_null(False))), ("on_terms",)
    yield "webhooks", count(PaymentWebhookEvent.select().where(PaymentWebhookEvent.provider == name)), ("webhooks",)


def _able(provider: PaymentProvider | None, needs: tuple[str, ...]) -> bool | None:
    return all(getattr(provider.capabilities, name) for name in needs) if provider is not None else None


def _amounts(engine: Engine, name: str, provider: PaymentProvider | None) -> list[Use]:
    """What was paid by currency and country of the account, and whether the smallest and the largest amount is taken."""
    low, high, number = peewee.fn.MIN(Payment.amount), peewee.fn.MAX(Payment.amount), peewee.fn.COUNT(Payment.id)
    query = Payment.select(Payment.currency, Account.country, low.alias("low"), high.alias("high"), number.alias("number")).join(Account)
    paid = (Payment.provider == name) & Payment.status.in_(SUCCEEDED) & (Payment.amount > 0)
    rows: list[Any] = engine.db.all(query.where(paid).group_by(Payment.currency, Account.country).objects())
    rows.sort(key=lambda row: (row.currency, row.country))
    return [Use(f"payments in {row.currency} from {row.country}", row.number, _takes(provider, row)) for row in rows]


def _takes(provider: PaymentProvider | None, row: Any) -> bool | None:
    if provider is None:
        return None
    carts = [PayableCart(Money(int(amount), row.currency), row.country, corporate=False, staff=False) for amount in (row.low, row.high)]
    return all(beyond(provider.capabilities, cart) is None for cart in carts)


def _staying(engine: Engine, name: str) -> dict[str, int]:
    """What is not moved: it goes on where it is, as long as the plugin is enabled."""
    paid, count = Payment.provider == name, engine.db.count
    methods = PaymentMethod.select().where((PaymentMethod.provider == name) & PaymentMethod.deleted_at.is_null())
    open_payments = Payment.select().where(paid & Payment.status.in_(("created", "requires_action", "processing")))
    set_aside = Payment.select().where(paid & Payment.status.in_(("authorized", "partially_captured")) & Payment.due_on.is_null())
    open_refunds = Refund.select().join(Payment).where(paid & Refund.status.in_(("created", "processing")))
    return {
        "open payments": count(open_payments),
        "set aside, not taken": count(set_aside),
        "open refunds": count(open_refunds),
        "open disputes": count(Dispute.select().join(Payment).where(paid & OPENED)),
        "stored methods": count(methods),
        "of these, default": count(methods.where(PaymentMethod.default == True)),  # noqa: E712
    }


def _missing(engine: Engine, old: str, new: str) -> list[str]:
    provider, missing = engine.providers.get(new), []
    if provider is None:
        return [f"the provider {new}: {_why_absent(engine, new)}"]
    if new not in engine.offered:
        missing.append(f"payments.providers does not name {new}")
    if old in engine.settings["payments"]["rules"] and new not in engine.settings["payments"]["rules"]:
        missing.append(f"payments.rules.{old} is there, payments.rules.{new} is not")
    if webhook_address(engine, provider) is None and (former := engine.providers.get(old)) and former.capabilities.webhooks:
        missing.append(f"{old} takes webhooks, {new} does not: are its webhook secrets set?")
    return missing
