"""A registry of VAT numbers for sandbox mode: what VIES and its kin would say, without asking them."""

from __future__ import annotations

from hashlib import sha256
from typing import Literal

from marshmallow import Schema, fields, validate

from plugins.tax_vat.formats import full_number
from puesto import PluginContext, TaxId, TaxIdCheck, hookimpl

_FullNumber = fields.String(validate=validate.Regexp(r"[A-Z]{2}[0-9A-Z+*]+$"))


class SimulatedRegistrySettings(Schema):
    """Full numbers, prefix first, such as DE136695976.

    invalid:     these the registry does not know.
    unavailable: for these it gives no answer.
    """

    invalid = fields.List(_FullNumber, load_default=list)
    unavailable = fields.List(_FullNumber, load_default=list)


class SimulatedRegistry:
    """Confirms every number that is formally right, but for those in the settings."""

    settings_schema = SimulatedRegistrySettings

    def __init__(self, context: PluginContext) -> None:
        self.context = context

    @hookimpl
    def validate_tax_id(self, country: str, number: str, requester: TaxId | None) -> TaxIdCheck | None:
        """None in live mode: a simulation must not prove a reverse charge. `unverified` where no format is known."""
        if self.context.mode == "live":
            return None
        full = full_number(country, number)
        if full is None or full in self.context.settings["unavailable"]:
            return self._check("unverified")
        if full in self.context.settings["invalid"]:
            return self._check("invalid")
        consultation = f"SIM-{sha256(full.encode()).hexdigest()[:12].upper()}"
        return self._check("valid", name=f"Simulated business {full}", consultation_number=consultation)

    def _check(self, status: Literal["valid", "invalid", "unverified"], **proof: str) -> TaxIdCheck:
        return TaxIdCheck(status, self.context.now(), source="simulated registry", **proof)
