"""Where VAT is due: member states, and the places that a country code alone would put into the wrong one.

Places outside the VAT territory: Directive 2006/112/EC, art. 6. Monaco counts as France, the Isle of Man as the United
Kingdom: art. 7. Azores and Madeira are inside, with rates of their own: art. 105.
"""

from __future__ import annotations

import re
from functools import lru_cache

from puesto import Party

MEMBER_STATES = frozenset("AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split())  # noqa: SIM905
AZORES, MADEIRA = "PT-20", "PT-30"

_COUNTS_AS = {"EL": "GR", "MC": "FR", "IM": "GB", "XI": "GB"}

# country, its postcodes (digits only), place: the ISO 3166-2 code where there is one, else country and postcode.
_POSTCODES = (
    ("DE", "27498", "DE-27498"),  # Heligoland
    ("DE", "78266", "DE-78266"),  # Büsingen
    ("ES", r"3[58]\d{3}", "ES-CN"),  # Canary Islands
    ("ES", r"51\d{3}", "ES-CE"),  # Ceuta
    ("ES", r"52\d{3}", "ES-ML"),  # Melilla
    ("FI", r"22\d{3}", "FI-01"),  # Åland
    ("FR", r"97[1-8]\d{2}", "FR-97"),  # overseas departments and collectivities
    ("GR", "6308[67]", "GR-69"),  # Mount Athos
    ("IT", "2206[01]", "IT-22061"),  # Campione d'Italia; 22060 until 2019
    ("IT", "23041", "IT-23041"),  # Livigno
    ("PT", r"9[0-4]\d{2}(\d{3})?", MADEIRA),
    ("PT", r"9[5-9]\d{2}(\d{3})?", AZORES),
)


def vat_country(code: str) -> str:
    """The country whose VAT a code stands for: GR for the prefix EL, FR for MC, GB for IM and XI, else the code itself.

    XI counts as GB since Northern Ireland belongs to the VAT territory for goods only, and services are sold here
    (Protocol on Ireland and Northern Ireland, art. 8).
    """
    return _COUNTS_AS.get(code, code)


@lru_cache(maxsize=4096)
def place_of(party: Party) -> str:
    """A country code, or a region's where VAT differs there: ES, ES-CN, PT-20, US. Without a postcode, the country."""
    country = vat_country(party.country)
    digits = re.sub(r"\D", "", party.postcode or "")
    return next((place for code, postcodes, place in _POSTCODES if code == country and re.fullmatch(postcodes, digits)), country)


def member_state(place: str) -> str | None:
    """The member state that a place belongs to for VAT; None outside the VAT territory."""
    return place[:2] if place in MEMBER_STATES or place in (AZORES, MADEIRA) else None
