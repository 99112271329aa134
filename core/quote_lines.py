"""A line of a quote: what it stands for, priced and taxed, and what an order does with it.

A draft is a line between pricing and tax: tax is asked once for all lines of a quote. What an order will do when it is paid for stands
in a line's `fulfilment` and `items`, so that what was shown is what is carried out and invoiced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from core.accounts import Account
from core.carts import Cart, CartLine, line_terms
from core.catalog import price_document, price_from_document
from core.engine.engine import Engine
from core.engine.values import new_id, to_json
from core.hooks.products import text
from core.hooks.tax import LineTax, Party, TaxDecision, TaxLine
from core.rules import derivations
from core.rules.discounts import Discount
from core.rules.money import Money, total, zero
from core.rules.periods import Interval, Period
from core.rules.planner import Billing, Kind, Life, Line, plan
from core.rules.prices import Price
from core.subscriptions import CHANGEABLE, Subscription, SubscriptionChange
from core.tax import buyer_of, decide_tax, kept, tax_at
from core.terms import Terms, bill_terms, renewal_terms

RENEWAL = "renewal"
FINAL = "final"  # what was put off, collected as the subscription ends


@dataclass(frozen=True)
class QuoteLine:
    """One priced line. `document` is what is shown; the rest is what an order carries out.

    fulfilment: what is done when the order completes: start, change or schedule, with the columns to write.
    items:      what stands on the invoice: a charge and a credit, each with its own net and tax.
    """

    document: dict[str, Any]
    net: Money
    tax: Money
    fulfilment: dict[str, Any]
    items: tuple[dict[str, Any], ...]
    needs_method: bool


@dataclass(frozen=True)
class Draft:
    """A line between pricing and tax.

    subscription: what it changes; None: it begins one.
    billing:      what is charged and credited now; None: nothing, since it is a trial or one that goes on.
    period:       what runs from today, or goes on running; the next charge comes at its end.
    """

    line: CartLine
    terms: Terms
    subscription: Subscription | None
    billing: Billing | None
    period: Period

    @property
    def collects(self) -> bool:
        """Whether there is an invoice, on which also goes what was put off before."""
        return self.billing is not None and not self.billing.waits and not self.billing.life.put_off

    @property
    def lines(self) -> tuple[Line, ...]:
        """What is billed now, or put off by this."""
        return (*self.billing.lines, *self.billing.life.put_off) if self.billing else ()

    @property
    def earlier(self) -> list[dict[str, Any]]:
        """What was put off before, as items."""
        put_off = (self.subscription.put_off if self.subscription else None) or ()
        return [{**item, "net": Money(**item["net"]), "tax": Money(**item["tax"])} for item in put_off]

    def of(self, kind: Kind) -> list[Line]:
        return [line for line in self.lines if line.kind == kind]

    def part(self, number: int) -> str:
        """How the tax question names each charge of the line."""
        return f"{self.line.id}/{number}" if number else self.line.id


# --- drafts


def draft_line(engine: Engine, cart: Cart, line: CartLine, today: date, pointer: str) -> Draft:
    """A line of a cart. Raises as `core.carts.line_terms` does."""
    terms, subscription = line_terms(engine, cart, line, pointer)
    if subscription is not None:
        return draft_change(subscription, line, terms, today, pointer)
    if terms.trial:
        assert terms.plan.trial is not None
        return Draft(line, terms, None, None, Period(today, today + timedelta(days=terms.plan.trial.days)))
    billing = plan(Life(terms.deal), today)
    assert billing.life.term is not None
    return Draft(line, terms, None, billing, billing.life.term.period)


def draft_change(subscription: Subscription, line: CartLine, terms: Terms, today: date, pointer: str) -> Draft:
    """A change to `terms`. Raises TransitionInvalid where the running period is over."""
    billing = bill_terms(subscription, terms, today, f"{pointer}/subscription")
    running = (billing.life.term if billing is not None else None) or subscription.term
    return Draft(line, terms, subscription, billing, running.period)


def draft_renewal(engine: Engine, subscription: Subscription, changes: Sequence[SubscriptionChange], pointer: str) -> Draft:
    """The line of a renewal, which no cart has."""
    terms = renewal_terms(engine, subscription, changes, pointer)
    line = CartLine(id=new_id("lin"), mode=RENEWAL, subscription=subscription.id, release=list(terms.release))
    billing = plan(replace(subscription.life, waiting=terms.deal), subscription.period_end)
    assert billing.life.term is not None
    return Draft(line, terms, subscription, billing, billing.life.term.period)


def draft_final(engine: Engine, subscription: Subscription, on: date) -> Draft:
    """The line of what was put off, which bills no days of its own."""
    terms = replace(renewal_terms(engine, subscription, [], ""), next_amount=None)
    line = CartLine(id=new_id("lin"), mode=FINAL, subscription=subscription.id, release=[])
    return Draft(line, terms, subscription, Billing(on, subscription.life), subscription.term.period)


# --- lines


def renewal_line(engine: Engine, account: Account, subscription: Subscription, changes: Sequence[SubscriptionChange]) -> QuoteLine:
    """The line that `quote_renewal` has for a subscription, as it is or will be; `changes` are those that wait. Raises as that does."""
    return _one_line(engine, account, draft_renewal(engine, subscription, changes, ""), subscription.period_end)


def final_line(engine: Engine, account: Account, subscription: Subscription, on: date) -> QuoteLine:
    """The line that `quote_final` has for a subscription that ends on that day. Raises as that does."""
    return _one_line(engine, account, draft_final(engine, subscription, on), on)


def _one_line(engine: Engine, account: Account, draft: Draft, on: date) -> QuoteLine:
    decision = ask_tax(engine, buyer_of(account), [draft], draft.terms.price.currency, on)
    return quote_line(draft, {tax.line: tax for tax in decision.lines}, account.locale)


def ask_tax(engine: Engine, buyer: Party, drafts: Sequence[Draft], currency: str, today: date) -> TaxDecision:
    """One question for the whole cart: what is charged now, and what will be charged next."""
    asked: list[TaxLine] = []
    for draft in drafts:
        category, charges = draft.terms.product.tax_category, [line.amount for line in draft.of("charge")]
        asked.extend(TaxLine(draft.part(n), category, amount) for n, amount in enumerate(charges or [zero(currency)]))
        asked.append(TaxLine(f"{draft.line.id}/next", category, draft.terms.next_amount or zero(currency)))
    return decide_tax(engine, buyer, tuple(asked), currency, today)


def _items(draft: Draft, taxes: dict[str, LineTax], locale: str) -> list[dict[str, Any]]:
    """The lines of the invoice, each with its own net and tax; what was charged goes back at the rate at which it was."""
    charges = [(line, taxes[draft.part(n)]) for n, line in enumerate(draft.of("charge"))]
    items = [_item(draft, line, line.amount, tax.tax, kept(tax), locale) for line, tax in charges if line.amount]
    for line in draft.of("credit"):
        if line.amount:
            assert draft.subscription is not None
            back = tax_at(line.amount, draft.subscription.tax)
            items.append(_item(draft, line, -line.amount, -back, draft.subscription.tax, locale))
    return items


def _sum(items: Sequence[dict[str, Any]], part: str, currency: str, kind: str | None = None) -> Money:
    """The net or the tax of the items, or of those of a kind."""
    return total((item[part] for item in items if kind in (None, item["kind"])), currency)


def quote_line(draft: Draft, taxes: dict[str, LineTax], locale: str) -> QuoteLine:
    now, following, currency = taxes[draft.part(0)], taxes[f"{draft.line.id}/next"], draft.terms.price.currency
    own, earlier = _items(draft, taxes, locale), draft.earlier
    items, put_off = ([*earlier, *own], []) if draft.collects else ([], [*earlier, *({**item, "id": new_id("poi")} for item in own)])
    net, tax = _sum(items, "net", currency), _sum(items, "tax", currency)
    taken_off = total((_taken_off(draft, line) for line in draft.of("charge")), currency) if draft.collects else zero(currency)
    left_over = _sum(put_off, "net", currency) + _sum(put_off, "tax", currency)
    next_amount = draft.terms.next_amount + following.tax + left_over if draft.terms.next_amount is not None else None
    document = {
        **_names(draft, locale),
        "period": draft.period,
        "unit_amount": _unit_amount(draft.terms),
        "subtotal": _sum(items, "net", currency, "charge") + taken_off,
        "discount": taken_off,
        "credit": -_sum(items, "net", currency, "credit"),
        "net": net,
        "tax": tax,
        "total": net + tax,
        "taxes": _tax_parts(items, now),
        "put_off": left_over,
        "next_charge": {"date": draft.period.end, "amount": next_amount} if next_amount is not None else None,
        "explanation": _explain(draft, items or own),
    }
    shown = to_json(document)
    fulfilment = _fulfilment(draft, kept(now), next_amount.amount if next_amount is not None else None, put_off)
    return QuoteLine(shown, net, tax, fulfilment, tuple(to_json(items)), draft.terms.needs_method)


def _taken_off(draft: Draft, line: Line) -> Money:
    """What the discount takes off a line, or had taken off what goes back now."""
    price, _, discount = _sold_at(draft, line)
    part = Fraction(line.derivation.days or 1, line.derivation.denominator or 1)
    return price.amount(line.seats).times(part) - line.amount if discount else zero(line.amount.currency)


def _sold_at(draft: Draft, line: Line) -> tuple[Price, Interval, Discount | None]:
    """The terms of which the line is all or a part; what is credited was sold at its own."""
    if line.kind == "credit" and draft.subscription:
        return price_from_document(draft.subscription.price), draft.subscription.interval, draft.subscription.reduction
    return draft.terms.price, draft.terms.interval, draft.terms.discount


def _names(draft: Draft, locale: str) -> dict[str, Any]:
    line, terms = draft.line, draft.terms
    return {
        "id": line.id,
        "mode": line.mode,
        "product": terms.product.id,
        "product_name": text(terms.product.name, locale),
        "plan": terms.plan.id,
        "plan_name": text(terms.plan.name, locale),
        "interval": terms.interval,
        "seats": terms.seats,
        "subscription": line.subscription,
    }


def _unit_amount(terms: Terms) -> Money | None:
    """The price of one seat, where all seats cost the same."""
    steps = terms.price.steps(terms.seats)
    return steps[0].unit_amount if len(steps) == 1 and steps[0].included is None else None


def _item(draft: Draft, line: Line, net: Money, tax: Money, kept_tax: dict[str, Any], locale: str) -> dict[str, Any]:
    """A line of the invoice, with how its net and its tax come about. A credit names what it gives back, a charge what it pays for."""
    names = f"{text(draft.terms.product.name, locale)} – {text(draft.terms.plan.name, locale)}"
    if line.kind == "credit" and draft.subscription:
        names = f"{text(draft.subscription.product_name, locale)} – {text(draft.subscription.plan_name, locale)}"
    elif (discount := draft.terms.discount) is not None:
        names += f" ({discount.coupon}: −{discount.written})"
    explanation = [line.derivation, derivations.tax(net, to_json(kept_tax["rate"]), tax)]
    what = {"kind": line.kind, "description": names, "seats": line.seats, "period": line.period, "explanation": explanation}
    return {**what, "net": net, "tax": tax, **kept_tax, **_prices(draft, line)}


def _prices(draft: Draft, line: Line) -> dict[str, Any]:
    """What a whole interval costs, tax excluded, and what of the line's part of it was taken off."""
    price, interval, _ = _sold_at(draft, line)
    taken_off = _taken_off(draft, line)
    return {"interval": interval, "prices": price.steps(line.seats), "discount": -taken_off if line.kind == "credit" else taken_off}


def _tax_parts(items: Sequence[dict[str, Any]], now: LineTax) -> list[dict[str, Any]]:
    """Tax per rate and reason: a charge and a credit at the same rate are one part."""
    parts: dict[tuple[str, str, str], Money] = {}
    for item in items:
        key = (item["rate"], item["category"], item["reason"])
        parts[key] = parts.get(key, zero(now.tax.currency)) + item["tax"]
    shown = parts or {(to_json(now.rate), now.category, now.reason): now.tax}
    return [{"rate": rate, "amount": amount, "category": category, "reason": reason} for (rate, category, reason), amount in shown.items()]


def _explain(draft: Draft, items: Sequence[dict[str, Any]]) -> list[Any]:
    """How every amount of the line came about: the billing, then the tax. What was put off before comes first."""
    before = [item["explanation"][0] for item in items if "id" in item]
    return [*before, *(line.derivation for line in draft.lines), *(item["explanation"][1] for item in items)]


def _fulfilment(draft: Draft, tax: dict[str, Any], next_amount: int | None, put_off: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What an order does with the line, as JSON."""
    terms, subscription, billing = draft.terms, draft.subscription, draft.billing
    if subscription is None:
        return {"action": "start", "columns": {**_sold(terms), "tax": tax, "next_charge": next_amount, **_running(draft)}}
    if draft.line.mode == FINAL:
        return {"action": "collect"}
    change = {"changed": terms.changed, "release": list(draft.line.release or ())}
    if billing is not None and billing.waits:
        when = {"effective_on": to_json(billing.effective_on), "policy": to_json(terms.policy), "next_charge": next_amount}
        return {"action": "schedule", **change, **when}
    running = _running(draft) if billing else {}
    columns = {**_sold(terms), "tax": tax, "next_charge": next_amount, "put_off": to_json(put_off) or None, **running}
    before = {name: getattr(subscription, name) for name in CHANGEABLE}
    starts = subscription.trial_end is not None and not terms.trial
    done = {"columns": columns, "before": before, "starts": starts, "renews": draft.line.mode == RENEWAL, "held_back": terms.held_back}
    return {"action": "change", **change, **done}


def _running(draft: Draft) -> dict[str, Any]:
    """What a subscription keeps of the period that runs."""
    term = draft.billing.life.term if draft.billing else None
    columns = {"period_start": draft.period.start.isoformat(), "period_end": draft.period.end.isoformat()}
    if term is None:
        return {**columns, "status": "trialing", "trial_end": columns["period_end"], "term_amount": 0, "anchor_day": draft.period.end.day}
    return {**columns, "status": "active", "trial_end": None, "term_amount": term.full_amount.amount, "anchor_day": term.anchor_day}


def _sold(terms: Terms) -> dict[str, Any]:
    """What a subscription keeps of the catalog."""
    return {
        "product": terms.product.id,
        "product_name": dict(terms.product.name),
        "plan": terms.plan.id,
        "plan_name": dict(terms.plan.name),
        "features": {language: list(texts) for language, texts in terms.plan.features.items()},
        "tier": terms.plan.tier,
        "interval": terms.interval,
        "seats": terms.seats,
        "currency": terms.price.currency,
        "price": price_document(terms.price),
        "discount": to_json(terms.discount),
    }
