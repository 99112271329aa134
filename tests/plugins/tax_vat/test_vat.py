from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from marshmallow import ValidationError

from plugins.tax_vat.vat import REVERSE_CHARGE_NOTE, VatSettings
from puesto import Money, Party, TaxId, TaxLine, TaxRequest, eur

MADRID = Party("ES", "28013", TaxId("ES", "B99286320", "valid"))
TODAY = date(2026, 11, 24)


def business(country, number_country=None, status="valid", postcode=None):
    return Party(country, postcode, TaxId(number_country or country, "123456789", status))


def decide(plugins, buyer, *nets, seller=MADRID, on=TODAY, category="electronic_service"):
    nets = nets or (eur("100.00"),)
    lines = tuple(TaxLine(f"line-{i}", category, net) for i, net in enumerate(nets))
    return plugins.first("calculate_tax", request=TaxRequest(seller, buyer, lines, nets[0].currency, on))


def only_line(decision):
    (line,) = decision.lines
    return line


# --- domestic


@pytest.mark.parametrize("buyer", [Party("ES", "08001"), business("ES"), business("ES", status="invalid"), business("ES", "DE")])
def test_a_domestic_buyer_pays_the_seller_s_rate_with_or_without_a_valid_number(enable, buyer):
    line = only_line(decide(enable(), buyer, eur("121.45")))

    assert (line.rate, line.tax) == (Decimal("21"), eur("25.50"))  # 25.5045
    assert (line.category, line.jurisdiction, line.reason, line.note) == ("standard", "ES", "domestic", None)
    assert line.source == "Ley 37/1992, art. 90.Uno"


# --- another member state


def test_a_valid_number_of_the_buyer_s_own_state_means_reverse_charge(enable):
    line = only_line(decide(enable(), business("DE")))

    assert (line.rate, line.tax) == (Decimal(0), eur("0.00"))
    assert (line.category, line.jurisdiction, line.reason) == ("reverse_charge", "DE", "reverse_charge")
    assert line.source == "Directive 2006/112/EC, art. 44 and 196"
    assert line.note == REVERSE_CHARGE_NOTE


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", "Reverse charge"), ("es", "Inversión del sujeto pasivo"), ("de", "Steuerschuldnerschaft des Leistungsempfängers")],
)
def test_the_note_holds_the_words_that_the_directive_wants_in_each_language(language, words):
    assert REVERSE_CHARGE_NOTE[language].startswith(words)
    assert "2006/112/" in REVERSE_CHARGE_NOTE[language]


@pytest.mark.parametrize(
    "buyer",
    [
        Party("DE", "10115"),
        business("DE", status="invalid"),
        business("DE", status="unverified"),
        business("DE", "FR"),
        business("DE", "ES"),
        business("DE", "XI"),
        business("DE", "EU"),
    ],
)
def test_without_a_valid_number_of_the_own_state_a_buyer_pays_the_own_state_s_rate(enable, buyer):
    line = only_line(decide(enable(), buyer, eur("49.99")))

    assert (line.rate, line.tax) == (Decimal("19"), eur("9.50"))  # 9.4981
    assert (line.category, line.jurisdiction, line.reason) == ("standard", "DE", "other_state_consumer")
    assert line.source == "Umsatzsteuergesetz, § 12(1)"


@pytest.mark.parametrize("number_country", ["GR", "EL"])
def test_a_greek_number_is_one_of_gr_whatever_its_prefix(enable, number_country):
    line = only_line(decide(enable(), business("GR", number_country)))

    assert (line.reason, line.jurisdiction) == ("reverse_charge", "GR")


def test_a_greek_consumer_pays_24_percent(enable):
    line = only_line(decide(enable(), Party("GR", "105 57")))

    assert (line.rate, line.tax, line.reason) == (Decimal("24"), eur("24.00"), "other_state_consumer")


def test_monaco_counts_as_france(enable):
    consumer = only_line(decide(enable(), Party("MC", "98000")))
    verified = only_line(decide(enable(), business("MC", "FR")))

    assert (consumer.reason, consumer.jurisdiction, consumer.tax) == ("other_state_consumer", "FR", eur("20.00"))
    assert (verified.reason, verified.jurisdiction) == ("reverse_charge", "FR")


@pytest.mark.parametrize(
    ("postcode", "region", "rate"), [("9500-321", "PT-20", "16"), ("9000-018", "PT-30", "22"), ("1100-148", "PT", "23")]
)
def test_azores_and_madeira_have_their_own_rates(enable, postcode, region, rate):
    line = only_line(decide(enable(), Party("PT", postcode)))

    assert (line.reason, line.jurisdiction, line.rate) == ("other_state_consumer", region, Decimal(rate))


def test_a_business_on_madeira_has_a_portuguese_number(enable):
    assert only_line(decide(enable(), business("PT", postcode="9000-018"))).reason == "reverse_charge"


# --- outside


@pytest.mark.parametrize(
    "buyer", [Party("US"), business("US"), Party("GB"), business("GB"), business("GB", "XI"), Party("XI"), Party("IM")]
)
def test_a_buyer_outside_the_eu_is_out_of_scope(enable, buyer):
    line = only_line(decide(enable(), buyer))

    assert (line.rate, line.tax, line.category, line.reason) == (Decimal(0), eur("0.00"), "out_of_scope", "outside_eu")
    assert line.source == "Directive 2006/112/EC, art. 44 and 58"


@pytest.mark.parametrize(
    ("country", "rate", "tax"), [("GB", "20", "2.00"), ("IM", "20", "2.00"), ("CH", "8.1", "0.81"), ("NO", "25", "2.50")]
)
def test_where_the_seller_is_registered_abroad_that_country_s_rate_is_charged(enable, country, rate, tax):
    plugins = enable(vat={"registered_in": ["GB", "CH", "NO"]})

    line = only_line(decide(plugins, Party(country), eur("10.00")))

    assert (line.rate, line.tax) == (Decimal(rate), eur(tax))
    assert (line.category, line.reason) == ("standard", "registered_abroad")


def test_being_registered_in_one_country_says_nothing_of_another(enable):
    assert only_line(decide(enable(vat={"registered_in": ["GB"]}), Party("CH"))).reason == "outside_eu"


@pytest.mark.parametrize(
    ("country", "postcode", "place"),
    [
        ("ES", "35001", "ES-CN"),
        ("ES", "38001", "ES-CN"),
        ("ES", "51001", "ES-CE"),
        ("ES", "52001", "ES-ML"),
        ("DE", "27498", "DE-27498"),
        ("DE", "78266", "DE-78266"),
        ("FI", "22100", "FI-01"),
        ("FI", "AX-22100", "FI-01"),
        ("FR", "97400", "FR-97"),
        ("GR", "630 86", "GR-69"),
        ("IT", "22061", "IT-22061"),
        ("IT", "23041", "IT-23041"),
        ("AX", "22100", "AX"),
        ("FO", None, "FO"),
        ("SM", None, "SM"),
    ],
)
def test_territories_outside_eu_vat_are_told_by_their_postcode(enable, country, postcode, place):
    line = only_line(decide(enable(), business(country, postcode=postcode)))

    assert (line.reason, line.jurisdiction, line.tax) == ("outside_eu", place, eur("0.00"))


def test_a_postcode_that_only_begins_alike_stays_inside(enable):
    assert only_line(decide(enable(), Party("ES", "3800"))).reason == "domestic"
    assert only_line(decide(enable(), Party("DE", "35037"))).jurisdiction == "DE"


def test_a_registration_is_an_iso_code():
    with pytest.raises(ValidationError, match="registered_in"):
        VatSettings().load({"registered_in": ["gb"]})


# --- not our case


def test_a_seller_outside_the_eu_is_left_to_another_plugin(enable):
    assert decide(enable(), Party("DE"), seller=Party("US")) is None
    assert decide(enable(), Party("DE"), seller=Party("ES", "35001")) is None


def test_other_goods_are_left_to_another_plugin(enable):
    assert decide(enable(), Party("DE"), category="book") is None


def test_without_a_known_rate_there_is_no_decision(enable):
    assert decide(enable(without_rates=True), Party("DE")) is None
    assert decide(enable(), Party("CH"), on=date(2017, 12, 31)).lines[0].reason == "outside_eu"
    assert decide(enable(vat={"registered_in": ["CH"]}), Party("CH"), on=date(2017, 12, 31)) is None


# --- amounts and dates


def test_the_rate_is_that_of_the_tax_point(enable):
    plugins = enable()

    before = only_line(decide(plugins, Party("FI"), eur("19.99"), on=date(2024, 8, 31)))
    after = only_line(decide(plugins, Party("FI"), eur("19.99"), on=date(2024, 9, 1)))

    assert (before.rate, before.tax) == (Decimal("24"), eur("4.80"))  # 4.7976
    assert (after.rate, after.tax) == (Decimal("25.5"), eur("5.10"))  # 5.09745


@pytest.mark.parametrize(
    ("net", "tax"),
    [
        (Money(50, "EUR"), Money(11, "EUR")),  # 10.5 cents: a tie, away from zero
        (Money(-50, "EUR"), Money(-11, "EUR")),
        (Money(-12145, "EUR"), Money(-2550, "EUR")),
        (Money(0, "EUR"), Money(0, "EUR")),
        (Money(150, "JPY"), Money(32, "JPY")),  # 31.5 yen
        (Money(12345, "KWD"), Money(2592, "KWD")),  # 2.59245 dinar, three decimals
    ],
)
def test_tax_is_rounded_once_half_away_from_zero(enable, net, tax):
    assert only_line(decide(enable(), Party("ES"), net)).tax == tax


def test_each_line_is_taxed_on_its_own_in_the_order_of_the_request(enable):
    lines = decide(enable(), Party("ES"), eur("0.02"), eur("0.03"), eur("-0.05")).lines

    assert [(line.line, line.tax.amount) for line in lines] == [("line-0", 0), ("line-1", 1), ("line-2", -1)]


# --- the trace


def test_the_trace_names_each_rule_tried_and_the_rate(enable):
    assert decide(enable(), business("DE", status="unverified")).trace == (
        ("domestic", "no: seller in ES, buyer in DE"),
        ("reverse_charge", "no: buyer in DE, unverified VAT number of DE"),
        ("other_state_consumer", "yes: buyer in DE, unverified VAT number of DE"),
        ("rate", "19 % in DE since 2021-01-01"),
    )


def test_the_trace_ends_with_the_rule_that_applied(enable):
    assert decide(enable(), Party("US")).trace[-2:] == (
        ("registered_abroad", "no: buyer in US, seller registered in no such country"),
        ("outside_eu", "yes: buyer in US"),
    )


# --- for every request

places = st.sampled_from(["ES", "DE", "GR", "EL", "FI", "PT", "MC", "GB", "XI", "IM", "CH", "NO", "US", "AX"])
tax_ids = st.none() | st.builds(TaxId, places, st.just("123456789"), st.sampled_from(["valid", "invalid", "unverified"]))
buyers = st.builds(Party, places, st.none() | st.sampled_from(["35001", "9500-321", "10115", ""]), tax_ids)
nets = st.builds(Money, st.integers(-(10**12), 10**12), st.sampled_from(["EUR", "JPY", "KWD"]))
days = st.dates(date(2020, 1, 1), date(2030, 12, 31))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(buyer=buyers, net=nets, on=days)
def test_same_request_same_decision_and_the_tax_is_exact_to_half_a_minor_unit(enable, buyer, net, on):
    plugins = enable(vat={"registered_in": ["GB", "CH"]})

    decision = decide(plugins, buyer, net, on=on)

    assert decision == decide(plugins, buyer, net, on=on)
    line = only_line(decision)
    assert abs(line.tax.amount - net.amount * Fraction(line.rate) / 100) <= Fraction(1, 2)
    assert line.tax.amount * net.amount >= 0
    assert line.tax.currency == net.currency
    assert (line.rate == 0) == (line.category in ("reverse_charge", "out_of_scope"))
    assert line.source and decision.trace
