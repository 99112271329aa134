"""References: made so that a typing error makes them none, and found however they were written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import iso11649

from plugins.payments.bank_transfer_matching import DIGITS, PAYMENT, REFUND, find_references, make_reference, show_reference
from tests.plugins.payments.transfers import REFERENCES

REFERENCE = REFERENCES["pay_1"]


@given(st.text(max_size=60), st.sampled_from([PAYMENT, REFUND]))
def test_a_reference_is_one_of_iso_11649_and_always_the_same(key, kind):
    reference = make_reference(kind, key)

    assert iso11649.is_valid(reference)
    assert (len(reference), reference[4]) == (4 + DIGITS, kind)
    assert reference == make_reference(kind, key) != make_reference(kind, key, 1)


@pytest.mark.parametrize(
    "text",
    [
        REFERENCE,
        "RF61 1233 4555 4188",
        "rf61 1233 4555 4188",
        "Rf61-1233-4555-4188.",
        "invoice 17, RF611233\n45554188 thank you",
        "SVWZ+RF61123345554188EREF+NOTPROVIDED",
        "RF6112334555418820260301",
        "/ROC/RF61 12334555 4188/URI/",
        "RF61123345554188 RF61123345554188",
        "R F 6 1 1 2 3 3 4 5 5 5 4 1 8 8",
        "surf RF61123345554188",
    ],
)
def test_it_is_found_however_it_was_written(text):
    assert find_references(text) == [REFERENCE]


@pytest.mark.parametrize(
    "text", ["", "RF61", "RF61123345554189", "RF16123345554188", "RF6112334555418", "61123345554188", "RFA1123345554188"]
)
def test_what_is_not_quite_it_is_none(text):
    assert find_references(text) == []


@given(st.integers(4, 15), st.integers(1, 9))
def test_one_wrong_digit_makes_it_none(position, by):
    wrong = str((int(REFERENCE[position]) + by) % 10)

    assert find_references(REFERENCE[:position] + wrong + REFERENCE[position + 1 :]) == []


def test_two_are_found_in_their_order():
    text = f"{REFERENCES['pay_2']} and {show_reference(REFERENCES['pay_1'])}"

    assert find_references(text) == [REFERENCES["pay_2"], REFERENCES["pay_1"]]
