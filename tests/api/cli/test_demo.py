"""What `puesto demo` tells, held against figures that are worked out here, by hand and from the dates it names."""

import re
from calendar import monthrange
from contextlib import closing
from datetime import date, timedelta
from fractions import Fraction

import pytest

from api.cli.narration import Client, Narrator
from api.cli.output import Failure
from api.cli.running import run_puesto
from tests.conftest import serving

pytestmark = pytest.mark.only_on("sqlite", reason="the demo brings a file of its own")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo, run where a puesto.toml would stop any other command; its temporary files go to a folder of ours."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "puesto.toml").write_text('flavour = "mint"')
    (folder / "temporary").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder / "temporary"))
        finished = run_puesto(folder, "demo")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert list((folder / "temporary").iterdir()) == []
    return finished.stdout


def scene(demo, number):
    """The text of a scene."""
    return re.search(rf"^{number}  .*?(?=^{number + 1}  |\Z)", demo, re.DOTALL | re.MULTILINE).group()


def figures(text, name):
    """What stands at the right of `name`, each time that it comes."""
    return re.findall(rf"^ +{re.escape(name)} +(\S.*)$", text, re.MULTILINE)


def period(text):
    """The first period that a review names."""
    return [date.fromisoformat(day) for day in re.search(r"from (\S+) to (\S+)", text).groups()]


def euro(cents):
    sign, cents = "-" if cents < 0 else "", abs(cents)
    return f"{sign}€{cents // 100:,}.{cents % 100:02}"


def half_away(value):
    return int(abs(value) + Fraction(1, 2)) * (1 if value >= 0 else -1)


def a_month_after(day):
    year, month = day.year + day.month // 12, day.month % 12 + 1
    return date(year, month, min(day.day, monthrange(year, month)[1]))


def on_day(month, anchor):
    """That day of the month, or its last one before it."""
    return month.replace(day=min(anchor, monthrange(month.year, month.month)[1]))


def test_it_fits_a_terminal_and_a_pipe(demo):
    assert max(map(len, demo.splitlines())) <= 80
    assert [character for character in demo if not character.isprintable() and character not in "\n\N{NO-BREAK SPACE}"] == []
    assert "Traceback" not in demo


def test_a_trial_asks_for_no_payment(demo):
    trial = scene(demo, 2)

    assert "GoToAssist" in trial and "3 seats" in trial
    assert "No payment is asked for" in trial and figures(trial, "Due now") == ["€0.00"]
    assert figures(trial, "Subscription") == ["trialing"]


def test_five_seats_by_the_month_with_spanish_vat(demo):
    bought = scene(demo, 3)
    start, end = period(bought)

    assert figures(bought, "Net") == ["€70.00"]  # 5 x 14.00
    assert figures(bought, "VAT 21 % (domestic)") == ["€14.70"]
    assert figures(bought, "Due now") == figures(bought, f"Next charge, on {end}") == ["€84.70"]
    assert end == a_month_after(start)
    assert "/checkout -> 201" in bought and figures(bought, "Order completed, payment captured by sandbox") == ["€84.70"]


def test_a_german_vat_number_turns_the_tax_and_a_declined_card_leaves_the_cart(demo):
    german = scene(demo, 4)

    assert figures(german, "Net") == ["€9,400.00"] * 2  # 10 x 940.00
    assert figures(german, "VAT 19 % (other state consumer)") == ["€1,786.00"]
    assert figures(german, "VAT 0 % (reverse charge)") == ["€0.00"]
    assert figures(german, "Due now") == ["€11,186.00", "€9,400.00"]
    assert "/checkout -> 402" in german and figures(german, "decline_code") == ["card_declined"]
    assert figures(german, "Order completed, payment captured by sandbox") == ["€9,400.00"]
    assert "Steuerschuldnerschaft des Leistungsempfängers" in german


def test_three_seats_more_after_ten_days_credit_what_was_not_used(demo):
    (start, end), changed = period(scene(demo, 3)), scene(demo, 5)
    today, days = start + timedelta(days=10), (end - start).days
    credit = half_away(Fraction(7000 * (days - 10), days))
    tax = 2352 - half_away(Fraction(credit * 21, 100))  # 21 % of 8 x 14.00, less that of the credit
    due = 11200 - credit + tax

    assert period(changed) == [today, a_month_after(today)]
    assert figures(changed, "Credit for unused time") == [euro(-credit)]
    assert figures(changed, "Net") == [euro(11200 - credit)]
    assert figures(changed, "VAT 21 % (domestic)") == [euro(tax)]
    assert figures(changed, "Due now") == figures(changed, "Order completed, payment captured by sandbox") == [euro(due)]
    assert figures(changed, f"Next charge, on {a_month_after(today)}") == ["€135.52"]  # 8 x 14.00, and 21 %
    assert figures(changed, "The new billing date") == [str(a_month_after(today))]
    assert f"70.00 x {days - 10}/{days}" in changed


def test_seats_run_out_and_only_who_has_one_is_entitled(demo):
    seats, use = scene(demo, 6), scene(demo, 7)

    assert figures(seats, "Seats assigned") == ["8 of 8"]
    assert "-> 409" in seats and figures(seats, "Problem") == ["/problems/no-seat-left"]
    assert figures(use, "May Ana use GoToMeeting?") == ["yes (seat_assigned)"]
    assert figures(use, "May Irene use GoToMeeting?") == ["no (no_seat)"]


def test_a_month_later_it_is_charged_as_the_review_said(demo):
    changed, renewed = scene(demo, 5), scene(demo, 8)
    today, billed_until = period(changed)

    assert figures(renewed, "It was to be charged") == ["€135.52"]
    assert f"{billed_until}  1 order.completed, 1 subscription.renewed" in renewed
    assert figures(renewed, "Order completed, payment captured by sandbox") == ["€135.52"]
    assert figures(renewed, "Billed until") == [str(on_day(a_month_after(billed_until), today.day))]


def test_the_mails_are_listed_and_one_is_shown(demo):
    mails = scene(demo, 9)
    listed, shown = mails.split("The first confirmation")

    to = re.findall(r"^ +(\S+@\S+)", listed, re.MULTILINE)
    assert to.count("compras@rueda.example") == 6  # of the trial confirmation, welcome and end; two orders, the renewal
    assert to.count("einkauf@spreewerk.example") == 2  # the card that was declined, the order
    assert len([address for address in to if address.endswith("@rueda.example")]) == 6 + 8
    assert "Su pedido está confirmado" in listed and "Su suscripción continúa" in listed and "Your payment did not go through" in listed
    assert "| Base imponible: 70,00\N{NO-BREAK SPACE}€" in shown


def test_an_answer_that_the_story_does_not_expect_stops_it(shop, capsys):
    refused = pytest.raises(Failure, match="GET /v1/orders answered 401 instead of 200")

    with serving(shop) as address, closing(Client(address, "sk_unknown", Narrator())) as client, refused:
        client.get("/v1/orders")
