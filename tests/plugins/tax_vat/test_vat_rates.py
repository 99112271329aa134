from datetime import date, timedelta
from decimal import Decimal

import eu_vat_rates_data
import pytest

from plugins.tax_vat.rates import STANDARD_RATES, find_tax_rate
from plugins.tax_vat.territories import MEMBER_STATES

CHANGES = [
    ("DE", "2020-07-01", "19", "16"),
    ("DE", "2021-01-01", "16", "19"),
    ("IE", "2020-09-01", "23", "21"),
    ("IE", "2021-03-01", "21", "23"),
    ("LU", "2023-01-01", "17", "16"),
    ("LU", "2024-01-01", "16", "17"),
    ("EE", "2024-01-01", "20", "22"),
    ("EE", "2025-07-01", "22", "24"),
    ("CH", "2024-01-01", "7.7", "8.1"),
    ("LI", "2024-01-01", "7.7", "8.1"),
    ("FI", "2024-09-01", "24", "25.5"),
    ("SK", "2025-01-01", "20", "23"),
    ("RO", "2025-08-01", "19", "21"),
    ("PT-20", "2021-07-01", "18", "16"),
]


@pytest.mark.parametrize(("country", "day", "before", "after"), CHANGES)
def test_a_rate_changes_on_its_day_and_not_the_day_before(enable, country, day, before, after):
    plugins, on = enable(), date.fromisoformat(day)

    old = plugins.first("find_tax_rate", country=country, on=on - timedelta(days=1))
    new = plugins.first("find_tax_rate", country=country, on=on)

    assert (old.rate, new.rate) == (Decimal(before), Decimal(after))
    assert old.valid_from < on == new.valid_from


def test_no_rate_has_changed_since_2020_but_those():
    changed = {(rate.country, str(rate.valid_from)) for rate in STANDARD_RATES if rate.valid_from > date(2020, 1, 1)}

    assert changed == {(country, day) for country, day, _, _ in CHANGES}


@pytest.mark.parametrize("country", sorted(MEMBER_STATES | {"GB", "CH", "LI", "NO"}))
def test_today_s_rate_is_the_one_that_the_commission_s_database_gives(country):
    ours = find_tax_rate(country, date.fromisoformat(eu_vat_rates_data.data_version))

    assert ours.rate == Decimal(str(eu_vat_rates_data.get_standard_rate(country)))


@pytest.mark.parametrize(("region", "percent"), [("PT-20", "16"), ("PT-30", "22")])
def test_the_rates_of_azores_and_madeira_are_among_those_of_portugal_in_the_commission_s_database(region, percent):
    ours = find_tax_rate(region, date.fromisoformat(eu_vat_rates_data.data_version))

    assert ours.rate == Decimal(percent)
    assert float(percent) in eu_vat_rates_data.get_rate("PT")["reduced"]


def test_the_member_states_are_those_of_the_commission_s_database():
    assert {code for code in eu_vat_rates_data.get_all_rates() if eu_vat_rates_data.is_eu_member(code)} == MEMBER_STATES


@pytest.mark.parametrize("country", sorted(MEMBER_STATES | {"GB", "CH", "LI", "NO"}))
def test_each_country_is_covered_from_2020(country):
    assert find_tax_rate(country, date(2020, 1, 1)).valid_from <= date(2020, 1, 1)


def test_every_rate_names_its_source():
    assert [rate for rate in STANDARD_RATES if len(rate.source) < 10] == []


@pytest.mark.parametrize(("code", "same_as"), [("MC", "FR"), ("IM", "GB")])
def test_monaco_and_the_isle_of_man_have_the_rate_of_their_neighbour(code, same_as):
    on = date(2026, 11, 24)

    assert find_tax_rate(code, on) == find_tax_rate(same_as, on)
    assert find_tax_rate(code, on).rate == Decimal("20")


def test_before_the_first_known_day_and_for_an_unknown_country_there_is_no_rate():
    assert find_tax_rate("CH", date(2018, 1, 1)).rate == Decimal("7.7")
    assert find_tax_rate("CH", date(2017, 12, 31)) is None
    assert find_tax_rate("US", date(2026, 11, 24)) is None
