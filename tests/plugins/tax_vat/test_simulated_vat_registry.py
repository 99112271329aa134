from datetime import UTC, datetime

import pytest
from marshmallow import ValidationError

from plugins.tax_vat.simulated_registry import SimulatedRegistrySettings
from puesto import TaxId, TaxIdCheck, TaxIdRejected

SELLER = TaxId("ES", "B99286320", "valid")
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def check(plugins, country, number):
    return plugins.first("validate_tax_id", country=country, number=number, requester=SELLER)


def test_a_right_number_is_confirmed_with_a_consultation_number_that_repeats(enable):
    answer = check(enable(), "DE", "136695976")

    assert answer == TaxIdCheck("valid", NOON, "Simulated business DE136695976", "SIM-029CD1B6E623", "simulated registry")
    assert check(enable(), "DE", "DE 136 695 976") == answer


def test_another_number_has_another_consultation_number(enable):
    assert check(enable(), "GR", "094259216").consultation_number != check(enable(), "DE", "136695976").consultation_number


def test_a_listed_number_is_unknown_to_the_registry(enable):
    plugins = enable(simulated_vat_registry={"invalid": ["DE136695976", "EL094259216"]})

    assert check(plugins, "DE", "136.695.976") == TaxIdCheck("invalid", NOON, source="simulated registry")
    assert check(plugins, "GR", "094259216").status == "invalid"
    assert check(plugins, "IT", "00743110157").status == "valid"


def test_no_answer_is_unverified_and_not_invalid(enable):
    plugins = enable(simulated_vat_registry={"unavailable": ["DE136695976"], "invalid": ["DE136695976"]})

    assert check(plugins, "DE", "136695976") == TaxIdCheck("unverified", NOON, source="simulated registry")


def test_a_wrong_check_digit_is_refused_before_the_registry_is_asked(enable):
    plugins = enable(simulated_vat_registry={"unavailable": ["DE136695978"]})

    with pytest.raises(TaxIdRejected, match="check digits don't match"):
        check(plugins, "DE", "136695978")


@pytest.mark.parametrize("country", ["US", "LI", "EU"])
def test_a_country_without_a_known_format_is_unverified(enable, country):
    assert check(enable(), country, "372022452").status == "unverified"


@pytest.mark.parametrize("number", ["136695976", "136695978"])
def test_in_live_mode_it_says_nothing(enable, number):
    assert check(enable("live"), "DE", number) is None


def test_a_listed_number_has_its_prefix():
    with pytest.raises(ValidationError, match="invalid"):
        SimulatedRegistrySettings().load({"invalid": ["136695976"]})
