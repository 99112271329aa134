"""From the document as the API has it to what stands on paper: words, amounts and days in the reader's language, nothing else.

Sentences are English here and translated by `<language>.po` beside this file (gettext).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from babel import Locale
from babel.dates import format_date
from babel.numbers import format_decimal, format_percent
from babel.support import NullTranslations

from plugins.notifications.rendering import choose_locale, compiled_catalogue, harmless
from puesto import Money

FOLDER = Path(__file__).parent
Row = list[str]


class Printer:
    """What is printed, in every language that has a catalogue here."""

    def __init__(self) -> None:
        self._catalogues: dict[str, NullTranslations] = {"en": NullTranslations()}
        self._catalogues |= {path.stem: compiled_catalogue(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.po")}

    def view(self, document: Mapping[str, Any], locale: str) -> dict[str, Any]:
        """Texts by their place on the page, of an invoice or credit note; in English where there is no catalogue of `locale`."""
        chosen = choose_locale(locale, set(self._catalogues))
        return _Page(harmless(document), chosen, self._catalogues[chosen.language].gettext).view()


@dataclass(frozen=True)
class _Page:
    document: Mapping[str, Any]
    locale: Locale
    _: Callable[[str], str]

    def view(self) -> dict[str, Any]:
        document, _ = self.document, self._
        credit = document["kind"] == "credit_note"
        return {
            "language": self.locale.language,
            "title": _("Credit note") if credit else _("Invoice"),
            "number": document["number"],
            "facts": self._facts(),
            "seller": self._seller(),
            "buyer": self._buyer(),
            "columns": [_("Description"), _("Seats"), _("Unit price"), _("VAT"), _("Net")],
            "lines": [self._line(line) for line in document["lines"]],
            "tax_columns": [_("VAT rate"), _("Taxable amount"), _("VAT amount")],
            "taxes": self._taxes(),
            "totals": self._totals(),
            "final": self._final(),
            "payment": self._payment(),
            "notes": document["notes"],
            "page": _("Page {page} of {pages}"),
        }

    def _facts(self) -> list[Row]:
        document, _ = self.document, self._
        facts = [[_("Number"), document["number"]], [_("Date of issue"), self.day(document["issued_on"])]]
        if document["due_on"]:
            facts.append([_("Due date"), self.day(document["due_on"])])
        for each in document.get("corrects", []):  # Directive 2006/112/EC, art. 219
            day = self.day(each["issued_on"], style="medium")
            facts.append([_("Corrects invoice"), _("{number} of {day}").format(number=each["number"], day=day)])
        if document["purchase_order"]:
            facts.append([_("Your purchase order"), document["purchase_order"]])
        return facts

    def _seller(self) -> dict[str, Any]:
        seller, _ = self.document["seller"], self._
        lines = [part.strip() for part in seller["address"].split(",")]
        return {
            "label": _("From"),
            "name": seller["name"],
            "lines": [*lines, self.country(seller["country"]), seller["email"]],
            "tax_id": _("VAT number {number}").format(number=seller["tax_id"]),
        }

    def _buyer(self) -> dict[str, Any]:
        buyer, _ = self.document["buyer"], self._
        address = buyer["address"] or {}
        town = " ".join(filter(None, [address.get("postcode"), address.get("city")]))
        lines = [address.get("line1"), address.get("line2"), town, address.get("region"), self.country(buyer["country"])]
        tax_id = _("VAT number {number}").format(number=buyer["tax_id"]["value"]) if buyer["tax_id"] else ""
        return {"label": _("To"), "name": buyer["name"], "lines": [line for line in lines if line], "tax_id": tax_id}

    # --- what it is for

    def _line(self, line: Mapping[str, Any]) -> dict[str, Any]:
        _, period = self._, line["period"]
        details = [_("{first} to {last}").format(first=self.day(period["start"]), last=self.day(period["end"], less=1))]
        if line["kind"] == "credit" and self.document.get("credits") is None:
            details.append(_("Credit for unused time"))
        steps = line.get("prices") or []
        plain = len(steps) == 1 and steps[0]["included"] is None
        if steps and not plain:
            details.append(" + ".join(map(self._step, steps)))
        taken_off = line.get("discount", {"amount": 0})["amount"]
        if abs(line["net"]["amount"] + taken_off) < sum(each["count"] * each["unit_amount"]["amount"] for each in steps):
            details += filter(None, [self._part(line)])
        if taken_off:
            details.append(_("Discount {amount}").format(amount=self.minor(-taken_off)))
        return {
            "description": line["description"],
            "details": details,
            "seats": format_decimal(line["seats"], locale=self.locale),
            "unit": self._unit(line, steps) if plain else "",
            "tax": self.percent(line["rate"]),
            "net": self.money(line["net"]),
        }

    def _part(self, line: Mapping[str, Any]) -> str | None:
        """That it is not the price of a whole interval: how many days of it, where the line tells. None: it is, at a discount."""
        _ = self._
        for step in line.get("explanation") or []:
            if step["days"] is not None:
                return _("{days} of {whole} days").format(days=step["days"], whole=step["denominator"])
        if line.get("explanation"):
            return None
        return _("Part of the price of a year") if line["interval"] == "year" else _("Part of the price of a month")

    def _unit(self, line: Mapping[str, Any], steps: list[Any]) -> str:
        words = self._("{price} / year") if line["interval"] == "year" else self._("{price} / month")
        return words.format(price=self.money(steps[0]["unit_amount"]))

    def _step(self, step: Mapping[str, Any]) -> str:
        price = self.money(step["unit_amount"])
        if step["included"] is None:
            return f"{step['count']} × {price}"
        return self._("{price} ({seats} seats included)").format(price=price, seats=step["included"])

    # --- what it comes to

    def _taxes(self) -> list[Row]:
        """A row per rate and category, of which there may be several without tax."""
        sums: dict[tuple[str, str], tuple[int, int]] = {}
        for line in self.document["lines"]:
            net, tax = sums.get((line["category"], line["rate"]), (0, 0))
            sums[line["category"], line["rate"]] = (net + line["net"]["amount"], tax + line["tax"]["amount"])
        return [[self._rate(*key), self.minor(net), self.minor(tax)] for key, (net, tax) in sums.items()]

    def _rate(self, category: str, rate: str) -> str:
        return self.percent(rate) if category == "standard" else f"{self.percent(rate)} · {self._category(category)}"

    def _category(self, category: str) -> str:
        _ = self._
        words = {"reverse_charge": _("Reverse charge"), "exempt": _("Exempt"), "out_of_scope": _("Not subject to VAT")}
        return words.get(category, category)

    def _totals(self) -> list[Row]:
        document, _ = self.document, self._
        labels = {"net": _("Net"), "tax": _("VAT"), "total": _("Total")}
        rows = [[label, self.money(document[name])] for name, label in labels.items()]
        used = (document.get("settlement") or {}).get("credit_used")
        return [*rows, [_("Credit of your account used"), self.minor(-used["amount"])]] if used and used["amount"] else rows

    def _final(self) -> Row:
        """What becomes of the total, in words and figures."""
        _, settlement = self._, self.document.get("settlement")
        if settlement is None:
            return []
        words = {
            "paid": _("Paid"),
            "set_aside": _("Reserved at your bank, to be charged later"),
            "on_terms": _("Amount due"),
            "credit": _("Paid with the credit of your account"),
            "refunded": _("Refunded"),
            "reduced": _("Not to be paid any more"),
        }
        if self.document["kind"] == "credit_note" and settlement["kind"] == "credit":
            return [_("Added to the credit of your account"), self.money(settlement["amount"])]
        return [words[settlement["kind"]], self.money(settlement["amount"])]

    def _payment(self) -> dict[str, Any] | None:
        """How to pay what is due; None where there is nothing to do."""
        document, _ = self.document, self._
        settlement = document.get("settlement") or {}
        if settlement.get("kind") != "on_terms":
            return None
        labels = {
            "account_name": _("Account holder"),
            "iban": "IBAN",
            "bic": "BIC",
            "reference": _("Payment reference"),
            "amount": _("Amount"),
        }
        told = settlement["instructions"] or {}
        rows = [[labels.get(name, name), self.money(value) if isinstance(value, Mapping) else str(value)] for name, value in told.items()]
        until = _("Please pay {amount} by {day}.").format(amount=self.money(settlement["amount"]), day=self.day(document["due_on"]))
        return {"label": _("How to pay"), "sentence": until, "rows": rows}

    # --- figures

    def money(self, amount: Mapping[str, Any]) -> str:
        return Money(**amount).format(str(self.locale))

    def minor(self, amount: int) -> str:
        return Money(amount, self.document["currency"]).format(str(self.locale))

    def day(self, iso: str, less: int = 0, style: Literal["long", "medium"] = "long") -> str:
        return format_date(date.fromisoformat(iso) - timedelta(days=less), style, self.locale)

    def percent(self, rate: str) -> str:
        return format_percent(Decimal(rate) / 100, locale=self.locale, decimal_quantization=False)

    def country(self, code: str) -> str:
        return str(self.locale.territories.get(code, code))
