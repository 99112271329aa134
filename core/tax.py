"""Tax: asks the tax hook, checks the answer, and keeps what a decision needs to be explained years later."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

from core.accounts import Account, seller_tax_id
from core.engine.engine import Engine
from core.engine.plugins import plugin_failed
from core.engine.values import to_json
from core.errors import TaxUnavailable
from core.hooks.tax import LineTax, Party, TaxDecision, TaxId, TaxLine, TaxRequest
from core.rules.money import Money


def decide_tax(engine: Engine, buyer: Party, lines: tuple[TaxLine, ...], currency: str, on: date) -> TaxDecision:
    """The tax of every line, from the first tax plugin that answers.

    Raises TaxUnavailable where none does, PluginFailed where an answer does not fit the question.
    """
    seller = Party(engine.settings["seller"]["country"], tax_id=seller_tax_id(engine))
    request = TaxRequest(seller, buyer, lines, currency, on)
    for plugin in engine.plugins.implementing("calculate_tax"):
        decision: TaxDecision | None = engine.plugins.call_plugin(plugin, "calculate_tax", request=request)
        if decision is None:
            continue
        if not _fits(decision, request):
            raise plugin_failed(plugin, "calculate_tax", "answered other lines or another currency than it was asked for")
        return decision
    raise TaxUnavailable("No tax plugin decides a sale from {seller} to {buyer}.", seller=seller.country, buyer=buyer.country)


def buyer_of(account: Account) -> Party:
    """The buyer, as tax plugins see it."""
    known = account.tax_id
    tax_id = TaxId(known["country"], known["number"], known["status"]) if known else None
    return Party(account.country, (account.address or {}).get("postcode"), tax_id)


def kept(line: LineTax) -> dict[str, Any]:
    """What a subscription keeps of the tax of its running period, so that a credit goes back at the same rate."""
    names = ("rate", "category", "jurisdiction", "reason", "source", "note")
    return {name: to_json(getattr(line, name)) for name in names}


def tax_at(net: Money, kept_tax: dict[str, Any]) -> Money:
    """The tax on `net` at a rate that was kept."""
    return net.times(Fraction(Decimal(kept_tax["rate"])) / 100)


def _fits(decision: TaxDecision, request: TaxRequest) -> bool:
    lines = decision.lines if isinstance(decision.lines, tuple | list) else ()
    if not all(isinstance(line, LineTax) and isinstance(line.tax, Money) and isinstance(line.rate, Decimal) for line in lines):
        return False
    return [(line.line, line.tax.currency) for line in lines] == [(line.id, request.currency) for line in request.lines]
