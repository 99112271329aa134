"""Tax: who decides the rate, who checks a VAT number, who knows the rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from core.hooks import hookspec
from core.rules.money import Money

Category = Literal["standard", "reverse_charge", "exempt", "out_of_scope"]
CheckStatus = Literal["valid", "invalid", "unverified"]


@dataclass(frozen=True)
class TaxId:
    """A buyer's VAT number and what is known of it. `number` has no spaces and no country prefix."""

    country: str
    number: str
    status: CheckStatus


@dataclass(frozen=True)
class Party:
    """Seller or buyer. `country` is ISO 3166-1 alpha-2 (GR, not EL); `tax_id` is None where no number is known."""

    country: str
    postcode: str | None = None
    tax_id: TaxId | None = None


@dataclass(frozen=True)
class TaxLine:
    """One line to be taxed: its net amount after discount, tax excluded, and the product's tax category."""

    id: str
    tax_category: str
    net: Money


@dataclass(frozen=True)
class TaxRequest:
    """Everything a decision is made of. `on` is the tax point: the billing day in the account's zone."""

    seller: Party
    buyer: Party
    lines: tuple[TaxLine, ...]
    currency: str
    on: date


@dataclass(frozen=True)
class LineTax:
    """The tax of one line.

    rate:    percent, exact: Decimal("21"), Decimal("25.5"); 0 under reverse charge and out of scope.
    reason:  a code for why: `domestic`, `other_state_consumer`, `reverse_charge`, `outside_eu` or a plugin's own.
    source:  where the rate is published: a law or an official page.
    note:    words that the law wants on the invoice, per language; None where there are none.
    """

    line: str
    rate: Decimal
    tax: Money
    category: Category
    jurisdiction: str
    reason: str
    source: str
    note: Mapping[str, str] | None = None


@dataclass(frozen=True)
class TaxDecision:
    """Per line, and the rules that were tried on the way: (rule, outcome), in order. Stored with the order."""

    lines: tuple[LineTax, ...]
    trace: tuple[tuple[str, str], ...] = field(default=())


@dataclass(frozen=True)
class TaxIdCheck:
    """What a registry said.

    status: `valid`; `invalid`: the registry does not know the number; `unverified`: no answer, which is not a no.
    consultation_number: the registry's proof of the consultation, where it gives one.
    """

    status: CheckStatus
    checked_at: datetime
    name: str | None = None
    consultation_number: str | None = None
    source: str = ""


@dataclass(frozen=True)
class TaxRate:
    """A country's standard rate in percent from `valid_from` on, until the next one."""

    country: str
    rate: Decimal
    valid_from: date
    source: str


class TaxHooks:
    """Hooks for tax plugins."""

    @hookspec(failure="closed", firstresult=True)
    def calculate_tax(self, request: TaxRequest) -> TaxDecision | None:
        """Decide the tax of an order, all lines at once.

        Called:  when a cart is quoted and again when it is ordered; no network calls here.
        request: seller, buyer with the checked VAT number, lines and the tax point; do not read the clock.
        Returns: a decision for every line of the request; the same request gets the same decision.
        None:    "not my case"; the next plugin is asked, and if nobody answers the engine raises TaxUnavailable.
        Errors:  anything raised is a bug of the plugin.
        Failure: closed - the request fails and names the plugin: nothing is sold without tax.
        """

    @hookspec(failure="closed", deadline=10.0, network=True, firstresult=True)
    def validate_tax_id(self, country: str, number: str, requester: TaxId | None) -> TaxIdCheck | None:
        """Check a VAT number: its format, its check digits, and whether the registry knows it.

        Called:    when an account's VAT number is set; outside any transaction.
        country:   ISO 3166-1 alpha-2 of the number's prefix (GR for EL).
        number:    as given, without spaces and prefix.
        requester: the seller's own number, which registries want for a consultation number.
        Returns:   valid, invalid or unverified.
        None:      "not my country"; the next plugin is asked, and if nobody answers it stays unverified.
        Errors:    raise TaxIdRejected for a wrong format or check digit; anything else is a bug of the plugin.
        Failure:   closed - the request fails and names the plugin.
        """

    @hookspec(failure="closed", firstresult=True)
    def find_tax_rate(self, country: str, on: date) -> TaxRate | None:
        """The standard rate of a country on a day.

        Called:  by tax plugins, through `PluginContext.hooks`, while they decide; no network calls here.
        country: ISO 3166-1 alpha-2.
        on:      the tax point.
        Returns: the rate with its source.
        None:    "I don't know that country on that day"; the next plugin is asked.
        Errors:  anything raised is a bug of the plugin.
        Failure: closed - the request fails and names the plugin.
        """
