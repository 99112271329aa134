"""The reference that a buyer writes on a transfer, and how it is found again, however bank and buyer have written it.

It is a creditor reference of ISO 11649: `RF`, two check digits, and here twelve digits. A typing error makes it none.
"""

from __future__ import annotations

import re
from hashlib import sha256

from stdnum import iso11649
from stdnum.iso7064 import mod_97_10

# The first of the twelve digits: what the reference is of.
PAYMENT, REFUND = "1", "2"
DIGITS = 12
OURS = re.compile(rf"(?=(RF\d{{{DIGITS + 2}}}))")


def make_reference(kind: str, key: str, attempt: int = 0) -> str:
    """The reference for a key, the same each time; another `attempt` gives another, for the rare case that somebody has it already."""
    number = int(sha256(f"{key}/{attempt}".encode()).hexdigest(), 16) % 10 ** (DIGITS - 1)
    digits = f"{kind}{number:0{DIGITS - 1}d}"
    return f"RF{mod_97_10.calc_check_digits(digits + 'RF')}{digits}"


def show_reference(reference: str) -> str:
    """In groups of four, as people read and banks print it."""
    return str(iso11649.format(reference))


def find_references(text: str) -> list[str]:
    """What may be references of ours in a text, each once: split by spaces, lines or punctuation, in any case, glued to other words."""
    solid = re.sub(r"[^0-9A-Z]", "", text.upper())
    return list(dict.fromkeys(found for found in OURS.findall(solid) if iso11649.is_valid(found)))
