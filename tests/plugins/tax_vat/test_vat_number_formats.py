"""The numbers are the documented examples of python-stdnum."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.tax_vat.formats import full_number
from plugins.tax_vat.territories import MEMBER_STATES
from puesto import TaxIdRejected

VALID = {
    "AT": ("U13585627", "ATU13585627"),
    "BE": ("0428759497", "BE0428759497"),
    "BG": ("175074752", "BG175074752"),
    "CY": ("10259033P", "CY10259033P"),
    "CZ": ("25123891", "CZ25123891"),
    "DE": ("136695976", "DE136695976"),
    "DK": ("13585628", "DK13585628"),
    "EE": ("100594102", "EE100594102"),
    "ES": ("B64717838", "ESB64717838"),
    "FI": ("20774740", "FI20774740"),
    "FR": ("23334175221", "FR23334175221"),
    "GR": ("094259216", "EL094259216"),
    "HR": ("33392005961", "HR33392005961"),
    "HU": ("12892312", "HU12892312"),
    "IE": ("6433435F", "IE6433435F"),
    "IT": ("00743110157", "IT00743110157"),
    "LT": ("119511515", "LT119511515"),
    "LU": ("15027442", "LU15027442"),
    "LV": ("40003521600", "LV40003521600"),
    "MT": ("11679112", "MT11679112"),
    "NL": ("004495445B01", "NL004495445B01"),
    "PL": ("8567346215", "PL8567346215"),
    "PT": ("501964843", "PT501964843"),
    "RO": ("18547290", "RO18547290"),
    "SE": ("123456789701", "SE123456789701"),
    "SI": ("50223054", "SI50223054"),
    "SK": ("2022749619", "SK2022749619"),
    "GB": ("980780684", "GB980780684"),
    "XI": ("980780684", "XI980780684"),
    "EL": ("094259216", "EL094259216"),
    "MC": ("23334175221", "FR23334175221"),
    "IM": ("980780684", "GB980780684"),
    "CH": ("E107787577IVA", "CHE107787577IVA"),
    "NO": ("995525828MVA", "NO995525828MVA"),
}
WRONG_CHECK_DIGIT = {
    "AT": "U13585626",
    "BE": "431150351",
    "BG": "175074751",
    "CY": "10259033Z",
    "CZ": "25123890",
    "DE": "136695978",
    "DK": "13585627",
    "EE": "100594103",
    "ES": "B64717839",
    "FI": "20774741",
    "FR": "84323140391",
    "GR": "123456781",
    "HR": "33392005962",
    "HU": "12892313",
    "IE": "6433435E",
    "IT": "00743110158",
    "LT": "100001919018",
    "LU": "15027443",
    "LV": "40003521601",
    "MT": "11679113",
    "NL": "123456789B90",
    "PL": "8567346216",
    "PT": "501964842",
    "RO": "18547291",
    "SE": "123456789101",
    "SI": "50223055",
    "SK": "2022749618",
    "GB": "802311781",
    "CH": "E107787578IVA",
    "NO": "995525829MVA",
}


def refusal(country, number):
    with pytest.raises(TaxIdRejected) as refused:
        full_number(country, number)
    return refused.value


def test_every_member_state_is_covered_here():
    assert VALID.keys() >= MEMBER_STATES
    assert WRONG_CHECK_DIGIT.keys() >= MEMBER_STATES


@pytest.mark.parametrize(("country", "number", "full"), [(country, *pair) for country, pair in VALID.items()])
def test_a_right_number_gets_its_full_form_with_or_without_its_prefix(country, number, full):
    assert full_number(country, number) == full
    assert full_number(country, full) == full
    assert full_number(country, full.lower()) == full


@pytest.mark.parametrize(("country", "number"), WRONG_CHECK_DIGIT.items())
def test_wrong_check_digits_are_refused_at_the_value(country, number):
    error = refusal(country, number)

    assert error.code == "tax-id-rejected"
    assert [field.pointer for field in error.errors] == ["/value"]
    assert str(error).endswith("its check digits don't match. Look for a mistyped character.")


def test_a_refusal_says_which_number_what_is_wrong_and_stays_translatable():
    error = refusal("DE", "136 695 978")

    assert str(error) == "DE136695978 can't be a VAT number of DE: its check digits don't match. Look for a mistyped character."
    assert error.message.params == {"number": "DE136695978", "country": "DE"}


@pytest.mark.parametrize(
    ("country", "number", "words"),
    [
        ("DE", "1366959", "it has too few or too many characters."),
        ("FR", "2333417522", "it has too few or too many characters."),
        ("ES", "", "letters and digits are not where they must be."),
        ("AT", "13585627", "letters and digits are not where they must be."),
        ("NO", "995525828", "letters and digits are not where they must be."),
        ("GB", "GD500", "a part of it is never given out. Compare it with your certificate."),
    ],
)
def test_a_wrong_form_is_refused_in_words(country, number, words):
    assert str(refusal(country, number)).endswith(words)


@pytest.mark.parametrize(
    ("country", "number", "full"),
    [
        ("DE", " 136 695 976 ", "DE136695976"),
        ("DE", "DE 136.695.976", "DE136695976"),
        ("NL", "NL 0044.95.445.B01", "NL004495445B01"),
        ("GR", "EL 094 259 216", "EL094259216"),
        ("GR", "GR 094259216", "EL094259216"),
        ("CH", "CHE-107.787.577 IVA", "CHE107787577IVA"),
        ("NO", "NO 995.525.828 MVA", "NO995525828MVA"),
    ],
)
def test_spaces_dots_and_hyphens_are_tolerated(country, number, full):
    assert full_number(country, number) == full


@pytest.mark.parametrize("country", ["US", "LI", "EU", "ZZ", ""])
def test_a_country_without_a_known_rule_is_not_refused(country):
    assert full_number(country, "372022452") is None


@given(country=st.sampled_from(sorted(VALID)), number=st.text(max_size=16) | st.from_regex(r"[A-Z]?[0-9]{7,11}[A-Z]{0,3}", fullmatch=True))
def test_whatever_is_typed_is_a_number_or_a_refusal(country, number):
    try:
        full = full_number(country, number)
    except TaxIdRejected:
        return
    assert full_number(country, full) == full
