"""Format and check digits of VAT numbers, by python-stdnum; for every registry client to ask first."""

from __future__ import annotations

import re

from stdnum import get_cc_module
from stdnum.exceptions import InvalidChecksum, InvalidComponent, InvalidLength, ValidationError
from stdnum.util import clean

from plugins.tax_vat.territories import MEMBER_STATES, vat_country
from puesto import TaxIdRejected

_KNOWN = MEMBER_STATES | {"GB", "CH", "NO"}

# The first kind that fits gives the words.
_PROBLEMS: tuple[tuple[type[ValidationError], str], ...] = (
    (InvalidChecksum, "{number} can't be a VAT number of {country}: its check digits don't match. Look for a mistyped character."),
    (InvalidLength, "{number} can't be a VAT number of {country}: it has too few or too many characters."),
    (InvalidComponent, "{number} can't be a VAT number of {country}: a part of it is never given out. Compare it with your certificate."),
    (ValidationError, "{number} can't be a VAT number of {country}: letters and digits are not where they must be."),
)


def full_number(country: str, number: str) -> str | None:
    """A number in the form that registries use, prefix first, nothing between: ESB58378431, EL094259216, CHE107787577IVA.

    country: ISO 3166-1 alpha-2 of the prefix; also XI, and EL for GR. Monaco's numbers are French, the Isle of Man's British.
    number:  with or without prefix, spaces, dots, hyphens and slashes.
    None:    no rule is known for that country, which says nothing against the number.
    Raises TaxIdRejected, at `/value`, for a wrong format or wrong check digits.
    """
    issuer = vat_country(country)
    module = get_cc_module(issuer, "vat") if issuer in _KNOWN else None
    if module is None:
        return None
    prefix = "XI" if country == "XI" else "EL" if issuer == "GR" else issuer
    given = prefix + re.sub(f"^({prefix}|{issuer})", "", clean(number, " ./-").upper())
    try:
        valid = module.validate(given)
    except ValidationError as error:
        template = next(words for kind, words in _PROBLEMS if isinstance(error, kind))
        raise TaxIdRejected(template, pointer="/value", number=given, country=country) from None
    return prefix + valid.removeprefix(prefix)
