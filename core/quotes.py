"""The quote: the priced cart that the review shows and the order is made of.

Everything is computed from the cart, the catalog, the account and the day; nothing is written. What an order will do when it is
paid for stands in each line's `fulfilment` and `items`, so that what was shown is what is carried out and invoiced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any

from core.access import INTERNAL, Caller
from core.accounts import Account
from core.carts import Cart, CartLine, cart_warnings, plugin_warnings
from core.engine.clock import day_in
from core.engine.engine import Engine
from core.engine.values import to_json
from core.errors import CurrencyUnsupported, Message, QuoteChanged, QuoteExpired, ValidationFailed
from core.hooks.carts import CartView, CartWarning
from core.hooks.payments import PayableCart
from core.hooks.tax import Party, TaxDecision
from core.payment_methods import default_method
from core.providers import Choice, choose_providers
from core.quote_lines import Draft, QuoteLine, ask_tax, draft_change, draft_final, draft_line, draft_renewal, quote_line
from core.rules.money import Money, total, zero
from core.rules.seals import Shown, changes, seal, unseal
from core.subscriptions import Subscription, pending_changes
from core.tax import buyer_of
from core.terms import Terms


@dataclass(frozen=True)
class Quote:
    """The priced cart. `due_now` is what is paid today after `credit_used`; `credit_left` stays on the account.

    tax_decision: what the tax plugin answered, with its trace.
    """

    lines: tuple[QuoteLine, ...]
    net: Money
    tax: Money
    total: Money
    credit_used: Money
    due_now: Money
    credit_left: Money
    payment_required: bool
    needs_method: bool
    providers: Choice
    tax_decision: TaxDecision
    issued_at: datetime
    expires_at: datetime
    warnings: tuple[CartWarning, ...] = ()

    @cached_property
    def seal(self) -> str:
        """Names this quote: hand it back at checkout."""
        return seal(Shown(_figures(self), self.expires_at), self.issued_at)

    @property
    def payment_providers(self) -> tuple[str, ...]:
        return self.providers.offered


def make_quote(engine: Engine, cart: Cart, lines: Sequence[CartLine], account: Account | None, caller: Caller) -> Quote:
    """Price a cart as of now, for its account or, where it has none yet, for a buyer of the cart's country.

    Raises ValidationFailed for an empty cart, what the catalog raises for lines that are no longer sold so, TaxUnavailable,
    PluginFailed.
    """
    if not lines:
        raise ValidationFailed("The cart is empty: add a line first.", pointer="/lines")
    if account is not None and account.currency != cart.currency:
        raise CurrencyUnsupported(
            "The cart is in {theirs}, the account is billed in {ours} now. Make a new cart.",
            pointer="/currency",
            theirs=cart.currency,
            ours=account.currency,
        )
    zone = account.time_zone if account else engine.settings["seller"]["time_zone"]
    today = day_in(engine.clock.now(), zone)
    buyer = buyer_of(account) if account else Party(cart.country)
    drafts = [draft_line(engine, cart, line, today, f"/lines/{index}") for index, line in enumerate(lines)]
    return _sum_up(engine, drafts, account, buyer, today, caller, cart_warnings(engine, cart, lines, buyer))


def quote_change(engine: Engine, account: Account, subscription: Subscription, line: CartLine, terms: Terms, caller: Caller) -> Quote:
    """What a change without a cart costs now: `line` brings the subscription to `terms`.

    Raises TransitionInvalid where the running period is over, TaxUnavailable, PluginFailed.
    """
    today, buyer = account.today(engine), buyer_of(account)
    draft = draft_change(subscription, line, terms, today, "")
    view = CartView(account.id, buyer, subscription.currency, (terms.plan.id,))
    return _sum_up(engine, [draft], account, buyer, today, caller, plugin_warnings(engine, view))


def quote_renewal(engine: Engine, account: Account, subscriptions: Sequence[Subscription], on: date) -> Quote:
    """What the periods cost that follow those which end on the day `on`, taxed as on that day.

    Raises TaxUnavailable, PluginFailed.
    """
    drafts = [draft_renewal(engine, each, pending_changes(engine, each), f"/lines/{index}") for index, each in enumerate(subscriptions)]
    return _sum_up(engine, drafts, account, buyer_of(account), on, INTERNAL, [])


def quote_final(engine: Engine, account: Account, subscription: Subscription) -> Quote:
    """What was put off of a subscription that has ended, or is to end today: no renewal will collect it. Raises as `quote_renewal`."""
    today = account.today(engine)
    return _sum_up(engine, [draft_final(engine, subscription, today)], account, buyer_of(account), today, INTERNAL, [])


def _sum_up(
    engine: Engine,
    drafts: Sequence[Draft],
    account: Account | None,
    buyer: Party,
    on: date,
    caller: Caller,
    warnings: Sequence[CartWarning],
) -> Quote:
    now, locale, currency = engine.clock.now(), account.locale if account else "en", drafts[0].terms.price.currency
    decision = ask_tax(engine, buyer, drafts, currency, on)
    taxes = {tax.line: tax for tax in decision.lines}
    quoted = tuple(quote_line(draft, taxes, locale) for draft in drafts)
    net, tax = total((q.net for q in quoted), currency), total((q.tax for q in quoted), currency)
    balance, due = Money(account.balance if account else 0, currency), max(net + tax, zero(currency))
    used = min(balance, due)
    needs_method = any(q.needs_method for q in quoted) and not (account and default_method(engine, account.id))
    corporate = account is not None and account.kind == "corporate"
    payable = PayableCart(due - used, buyer.country, corporate, caller.staff, account.id if account else None)
    providers = choose_providers(engine, payable, needs_method=needs_method)
    return Quote(
        lines=quoted,
        net=net,
        tax=tax,
        total=net + tax,
        credit_used=used,
        due_now=due - used,
        credit_left=balance - used + max(-(net + tax), zero(currency)),
        payment_required=bool(due - used) or needs_method,
        needs_method=needs_method,
        providers=providers,
        tax_decision=decision,
        issued_at=now,
        expires_at=now + timedelta(minutes=engine.settings["quote_minutes"]),
        warnings=(*warnings, *map(_skipped, providers.failed)),
    )


def _skipped(provider: str) -> CartWarning:
    return CartWarning("plugin-skipped", "/payment_providers", Message("The plugin {plugin} failed.", {"plugin": provider}))


def quote_document(quote: Quote) -> dict[str, Any]:
    """The quote as the API shows it."""
    names = ("net", "tax", "total", "credit_used", "due_now", "credit_left", "payment_required", "payment_providers", "warnings")
    shown = {name: to_json(getattr(quote, name)) for name in names}
    lines = [line.document for line in quote.lines]
    return {"lines": lines, **shown, "quote": quote.seal, "expires_at": to_json(quote.expires_at)}


# --- the seal


def check_seal(quote: Quote, given: str) -> None:
    """Whether the quote that was shown under a seal still holds, given the present one.

    Raises ValidationFailed for a seal of no quote, QuoteExpired, QuoteChanged with `changes` [{pointer, was, now}] and `quote`.
    """
    try:
        shown = unseal(given)
    except ValueError:
        raise ValidationFailed("This is not the seal of a quote: hand back the member quote of GET .../quote.", pointer="/quote") from None
    moved = changes(shown.figures, _figures(quote))
    if moved:
        extra = {"changes": moved, "quote": quote_document(quote)}
        raise QuoteChanged("The amounts have changed since they were shown. Show the new quote, then order it.", extra=extra)
    if quote.issued_at >= shown.until:
        raise QuoteExpired("The quote has expired. Read the cart's quote again.", extra={"quote": quote_document(quote)})


def _figures(quote: Quote) -> dict[str, Any]:
    """Everything a buyer agrees to, flat: pointer -> value."""
    figures: dict[str, Any] = {
        name: getattr(quote, name).amount for name in ("net", "tax", "total", "credit_used", "due_now", "credit_left")
    }
    figures["currency"] = quote.total.currency
    for index, line in enumerate(quote.lines):
        document = line.document
        for name in ("id", "mode", "plan", "interval", "seats", "subscription", "period", "taxes", "next_charge", "put_off"):
            figures[f"lines/{index}/{name}"] = document[name]
        for name in ("subtotal", "discount", "credit", "net", "tax", "total"):
            figures[f"lines/{index}/{name}"] = document[name]["amount"]
    return {f"/{pointer}": value for pointer, value in figures.items()}
