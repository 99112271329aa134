"""VAT on electronically supplied services, for a seller established in the EU.

Standard rates and, across borders, either reverse charge or the customer's rate (one-stop shop, without the threshold of
10,000 EUR of art. 59c: every consumer pays the rate of their own country). What the tax law of a place outside the EU
wants from a seller who is not listed as registered there, IGIC in the Canary Islands or the French overseas VAT for a
French seller, is for a plugin of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from marshmallow import Schema, fields, validate

from plugins.tax_vat.territories import member_state, place_of, vat_country
from puesto import CartView, CartWarning, LineTax, Message, Party, PluginContext, TaxDecision, TaxId, TaxRequest, hookimpl

# Directive 2006/112/EC, art. 226(11a) wants the words "Reverse charge" on the invoice, in its language.
REVERSE_CHARGE_NOTE = {
    "en": "Reverse charge: VAT to be accounted for by the recipient (Directive 2006/112/EC, art. 196)",
    "es": "Inversión del sujeto pasivo: el destinatario debe declarar el IVA (Directiva 2006/112/CE, art. 196)",
    "de": "Steuerschuldnerschaft des Leistungsempfängers (Richtlinie 2006/112/EG, Art. 196)",
}

NUMBER_WARNINGS = {
    "invalid": "The registry does not know the VAT number: VAT is charged as without one. Correct the number.",
    "unverified": "The VAT number could not be confirmed yet: VAT is charged as without one until it is.",
}

_Category = Literal["standard", "reverse_charge", "out_of_scope"]
_Treatment = tuple[_Category, str, dict[str, str] | None]  # category, source, note

_UNTAXED: dict[str, _Treatment] = {
    "reverse_charge": ("reverse_charge", "Directive 2006/112/EC, art. 44 and 196", REVERSE_CHARGE_NOTE),
    "outside_eu": ("out_of_scope", "Directive 2006/112/EC, art. 44 and 58", None),
}


class VatSettings(Schema):
    """registered_in: countries outside the EU where the seller is registered and charges tax: ["GB", "CH", "NO"]."""

    registered_in = fields.List(fields.String(validate=validate.Regexp(r"[A-Z]{2}$")), load_default=list)


class Vat:
    """Decides by the first rule that applies; the trace names those tried."""

    settings_schema = VatSettings

    def __init__(self, context: PluginContext) -> None:
        self.context = context

    @hookimpl
    def calculate_tax(self, request: TaxRequest) -> TaxDecision | None:
        """None for a seller outside the EU, for anything but electronic services, and where no plugin knows the rate."""
        home = member_state(place_of(request.seller))
        if home is None or any(line.tax_category != "electronic_service" for line in request.lines):
            return None
        rules = list(self._rules(home, request.buyer))
        chosen = next(index for index, (_, applies, _) in enumerate(rules) if applies)
        trace = [(reason, f"{'yes' if applies else 'no'}: {facts}") for reason, applies, facts in rules[: chosen + 1]]
        return self._decide(request, rules[chosen][0], trace)

    @hookimpl
    def find_cart_warnings(self, cart: CartView) -> list[CartWarning]:
        """Say that a VAT number does not count, and why: it stands in no registry, or none has confirmed it yet."""
        status = cart.buyer.tax_id.status if cart.buyer.tax_id else "valid"
        if status == "valid":
            return []
        return [CartWarning(f"tax-id-{status}", "/account/tax_id", Message(NUMBER_WARNINGS[status]))]

    def _rules(self, home: str, buyer: Party) -> Iterator[tuple[str, bool, str]]:
        place = place_of(buyer)
        state = member_state(place)
        number = f"buyer in {place}, {_words(buyer.tax_id)}"
        abroad = self.context.settings["registered_in"]
        yield "domestic", state == home, f"seller in {home}, buyer in {place}"
        yield "reverse_charge", state is not None and _is_business_in(state, buyer.tax_id), number
        yield "other_state_consumer", state is not None, number
        yield "registered_abroad", place in abroad, f"buyer in {place}, seller registered in {', '.join(abroad) or 'no such country'}"
        yield "outside_eu", True, f"buyer in {place}"

    def _decide(self, request: TaxRequest, reason: str, trace: list[tuple[str, str]]) -> TaxDecision | None:
        place = place_of(request.buyer)
        if reason in _UNTAXED:
            percent, treatment = Decimal(0), _UNTAXED[reason]
        else:
            rate = self.context.hooks.find_tax_rate(country=place, on=request.on)
            if rate is None:
                return None
            trace.append(("rate", f"{rate.rate} % in {rate.country} since {rate.valid_from}"))
            percent, treatment = rate.rate, ("standard", rate.source, None)
        category, source, note = treatment
        factor = Fraction(percent) / 100
        lines = (LineTax(line.id, percent, line.net.times(factor), category, place, reason, source, note) for line in request.lines)
        return TaxDecision(tuple(lines), tuple(trace))


def _is_business_in(state: str, tax_id: TaxId | None) -> bool:
    return tax_id is not None and tax_id.status == "valid" and vat_country(tax_id.country) == state


def _words(tax_id: TaxId | None) -> str:
    return f"{tax_id.status} VAT number of {tax_id.country}" if tax_id else "no VAT number"
