"""puesto demo: the main job from opening an account to the last seat, over HTTP against a server of its own.

The scenes hold requests and sentences; every figure comes from the answers.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import click

from api.cli.narration import Client, Narrator, amount
from api.cli.output import Failure
from api.cli.running import run_puesto, running_server
from core.access import SCOPES

MAIL_SECONDS = 30
PEOPLE = ("Ana", "Blas", "Cleo", "Dario", "Elsa", "Fran", "Gala", "Hugo", "Irene")
Json = dict[str, Any]


@dataclass
class Story:
    """What the scenes share. `mails_due`: how many e-mails they have set off."""

    api: Client
    tell: Narrator
    folder: Path
    mails_due: int = 0


@click.command()
@click.option("--keep", is_flag=True, help="Keep the database, the e-mails and the server's log, and say where they are.")
def demo(keep: bool) -> None:
    """Watch the whole main job, narrated.

    An account is opened; seats are tried, bought, added and assigned; the e-mails are read. Starts a server of its own on a free
    port, in a temporary directory, and talks to it over HTTP. Needs no settings and no internet access, leaves nothing behind.
    """
    tell = Narrator()
    with _folder(keep, tell) as folder:
        with _story(folder, tell) as story:
            customer = open_account(story)
            try_first(story, customer)
            subscription = buy(story, customer)
            buy_from_germany(story)
            add_seats_later(story, customer, subscription)
            users = assign_seats(story, customer, subscription)
            use_it(story, users)
            renew(story, customer, subscription)
            read_mail(story)
        where_next(tell)


# --- the scenes


def open_account(story: Story) -> Json:
    story.tell.scene("Marta opens an account for a company in Madrid")
    story.tell.say(
        """Shop pages, mobile apps and back offices speak to Puesto over HTTP. Each call is shown with its answer's status, and each POST
        carries a random Idempotency-Key: sent again after a broken connection, it does nothing twice."""
    )
    place = {"country": "ES", "currency": "EUR", "locale": "es", "time_zone": "Europe/Madrid"}
    account = story.api.post("/v1/accounts", {"name": "Taller Rueda, S.L.", "email": "compras@rueda.example", **place})
    contact = {"name": "Marta Rueda", "email": "marta@rueda.example", "role": "billing_contact"}
    story.api.post(f"/v1/accounts/{account['id']}/users", contact)
    return account


def try_first(story: Story, account: Json) -> None:
    story.tell.scene("She tries GoToAssist with 3 seats")
    story.tell.say("What she wants goes into a cart. The quote of the cart is the review that she sees before she orders.")
    cart = _cart(story, account, {"mode": "trial", "plan": "gotoassist-professional", "seats": 3})
    quote = _review(story, cart)
    _need(not quote["payment_required"], "payment_required: false")
    story.tell.say("No payment is asked for, so that the order needs no card.")
    order = _checkout(story, cart, quote)
    story.mails_due += 2
    trial = story.api.get(f"/v1/subscriptions/{order['subscriptions'][0]}")
    story.tell.figures(("Order", order["status"]), ("Subscription", trial["status"]), ("The trial ends on", trial["trial_end"]))


def buy(story: Story, account: Json) -> str:
    story.tell.scene("She buys GoToMeeting for 5 people, paid by the month")
    _show_prices(story, story.api.get("/v1/products/gotomeeting"))
    cart = _cart(story, account, {"mode": "buy", "plan": "gotomeeting-professional", "interval": "month", "seats": 5})
    quote = _review(story, cart)
    story.tell.say(
        """The order names this quote, and is refused if an amount has moved. A card form would give the token; in the sandbox it says
        how the bank decides. The card is saved for later."""
    )
    order = _checkout(story, cart, quote, payment={"provider": "sandbox", "token": "tok_ok", "save": True})
    story.mails_due += 1
    _show_order(story, order)
    return str(order["subscriptions"][0])


def buy_from_germany(story: Story) -> None:
    story.tell.scene("A company in Berlin has a VAT number, and trouble with a card")
    place = {"country": "DE", "currency": "EUR", "locale": "de", "time_zone": "Europe/Berlin"}
    account = story.api.post("/v1/accounts", {"name": "Spreewerk GmbH", "email": "einkauf@spreewerk.example", **place})
    cart = _cart(story, account, {"mode": "buy", "plan": "rescue-standard", "interval": "year", "seats": 10})
    _review(story, cart)
    story.tell.say("Now the VAT number is given. It is checked at once, and turns the tax of the same cart:")
    checked = story.api.put(f"/v1/accounts/{account['id']}/tax-id", {"value": "DE136695976"})
    story.tell.figures((f"The registry says of {checked['value']}", checked["status"]))
    quote = _review(story, cart)
    _need([part["reason"] for part in quote["lines"][0]["taxes"]] == ["reverse_charge"], "a reverse charge")
    refused = _checkout(story, cart, quote, payment={"provider": "sandbox", "token": "tok_card_declined"}, expect=402)
    story.mails_due += 1
    _show_problem(story, refused, "decline_code")
    story.tell.say("Nothing is lost: the cart is still open, and another card pays.")
    order = _checkout(story, cart, quote, payment={"provider": "sandbox", "token": "tok_ok"})
    story.mails_due += 1
    _show_order(story, order)


def add_seats_later(story: Story, account: Json, subscription: str) -> None:
    story.tell.scene("Ten days later, Madrid needs 3 seats more")
    before = story.api.get(f"/v1/subscriptions/{subscription}")
    day = date.fromisoformat(before["current_period"]["start"]) + timedelta(days=10)
    now = story.api.post("/v1/test-clock", {"now": f"{day}T12:00:00Z"}, expect=200)
    story.tell.figures(("The time is now", now["now"]), ("Billed until", before["current_period"]["end"]))
    cart = _cart(story, account, {"mode": "change", "subscription": subscription, "seats": 8})
    quote = _review(story, cart)
    story.tell.say("A new period begins today, and the unused days of the old one are credited. This is how each amount comes about:")
    _explain(story, quote)
    methods = story.api.get(f"/v1/accounts/{account['id']}/payment-methods")
    order = _checkout(story, cart, quote, payment={"provider": "sandbox", "payment_method": methods["data"][0]["id"]})
    story.mails_due += 1
    _show_order(story, order)
    after = story.api.get(f"/v1/subscriptions/{subscription}")
    story.tell.figures(("Seats", str(after["seats"])), ("The new billing date", after["next_charge"]["date"]))


def assign_seats(story: Story, account: Json, subscription: str) -> list[Json]:
    story.tell.scene("The seats are given to people, until there are none")
    people = [{"name": name, "email": f"{name.lower()}@rueda.example"} for name in PEOPLE]
    users = story.api.post_each(f"/v1/accounts/{account['id']}/users", people)
    ids = [user["id"] for user in users]
    assigned = story.api.post(f"/v1/subscriptions/{subscription}/seats", {"users": ids[:8]}, expect=200)
    story.mails_due += 8
    story.tell.figures(("Seats assigned", f"{assigned['seats_assigned']} of {assigned['seats']}"))
    story.tell.say(f"And one for {users[8]['name']}?")
    _show_problem(story, story.api.put(f"/v1/subscriptions/{subscription}/seats/{ids[8]}", expect=409))
    return users


def use_it(story: Story, users: list[Json]) -> None:
    story.tell.scene("The product asks who may use it")
    for user, expected in ((users[0], True), (users[8], False)):
        answer = story.api.get(f"/v1/entitlements?user={user['id']}&product=gotomeeting")
        _need(answer["entitled"] is expected, f"entitled: {expected}")
        story.tell.figures((f"May {user['name']} use GoToMeeting?", f"{'yes' if answer['entitled'] else 'no'} ({answer['reason']})"))


def renew(story: Story, account: Json, subscription: str) -> None:
    story.tell.scene("A month later the subscription goes on by itself")
    following = story.api.get(f"/v1/subscriptions/{subscription}")["next_charge"]
    now = story.api.post("/v1/test-clock", {"now": f"{following['date']}T12:00:00Z"}, expect=200)
    story.tell.figures(("The time is now", now["now"]), ("It was to be charged", amount(following["amount"])))
    story.tell.say("A sandbox's clock can be moved. What falls due on the way is done in the order of date:")
    story.tell.rows([(each["day"], _counted(each["events"])) for each in now["days"]])
    story.tell.say("The stored card is charged with nobody there. A renewal is an order too, with an invoice of its own:")
    order = story.api.get(f"/v1/orders?account={account['id']}&limit=1")["data"][0]
    _need((order["kind"], order["total"]) == ("renewal", following["amount"]), "a renewal of that amount")
    story.mails_due += 2  # and that the trial ends
    _show_order(story, order)
    after = story.api.get(f"/v1/subscriptions/{subscription}")
    story.tell.figures(("Billed until", after["current_period"]["end"]))


def read_mail(story: Story) -> None:
    story.tell.scene("Meanwhile, e-mails went out")
    mails = _wait_for_mail(story)
    story.tell.say(f"{len(mails)} of them. As no mail server is set, they are files:")
    story.tell.rows([(str(mail["To"]), f"{mail['Subject']}{_attached(mail)}") for mail in mails.values()])
    story.tell.say("The first confirmation of a purchase, in the language of its account:")
    confirmations = [mail for name, mail in mails.items() if "purchase_confirmation" in name]
    story.tell.text(_plain_text(confirmations[0]))


def where_next(tell: Narrator) -> None:
    tell.scene("Where to go next")
    tell.rows(
        [
            ("puesto serve", "a shop of your own, in the current directory; its page /docs has every call, to read and to try"),
            ("puesto plugins", "what brings products, payments, tax and e-mail"),
            ("README.md, docs/", "how to bring your own"),
        ]
    )


# --- what scenes are made of


def _cart(story: Story, account: Json, line: Json) -> str:
    cart = story.api.post("/v1/carts", {"account": account["id"], "lines": [line]})
    return str(cart["id"])


def _review(story: Story, cart: str) -> Json:
    quote: Json = story.api.get(f"/v1/carts/{cart}/quote")
    line = quote["lines"][0]
    story.tell.figures(
        *_line_figures(line),
        ("Net", amount(quote["net"])),
        *((f"VAT {part['rate']} % ({part['reason'].replace('_', ' ')})", amount(part["amount"])) for part in line["taxes"]),
        ("Total", amount(quote["total"])),
        ("Due now", amount(quote["due_now"])),
        _next_charge(line),
    )
    return quote


def _next_charge(line: Json) -> tuple[str, str]:
    following = line["next_charge"]
    return (f"Next charge, on {following['date']}", amount(following["amount"])) if following else ("Next charge", "none")


def _line_figures(line: Json) -> list[tuple[str, str]]:
    rows = [
        (f"{line['product_name']} {line['plan_name']}, {line['seats']} seats", amount(line["subtotal"])),
        (f"  from {line['period']['start']} to {line['period']['end']}", ""),
    ]
    if line["unit_amount"]:
        rows.append((f"  {amount(line['unit_amount'])} per seat and {line['interval']}", ""))
    if line["credit"]["amount"]:
        rows.append(("  Credit for unused time", f"-{amount(line['credit'])}"))
    return rows


def _checkout(story: Story, cart: str, quote: Json, *, payment: Json | None = None, expect: int = 201) -> Json:
    body = {"quote": quote["quote"]} | ({"payment": payment} if payment else {})
    answer: Json = story.api.post(f"/v1/carts/{cart}/checkout", body, expect)
    return answer


def _show_prices(story: Story, product: Json) -> None:
    for plan in product["plans"]:
        monthly = {price["currency"]: price for price in plan["prices"] if price["interval"] == "month"}["EUR"]
        name = f"{plan['name']}, a seat by the month"
        if "unit_amount" in monthly:
            story.tell.figures((name, amount(monthly["unit_amount"])))
        for tier in monthly.get("tiers", ()):
            limit = f"up to {tier['up_to']}" if tier["up_to"] else "beyond"
            story.tell.figures((f"{name}, {limit}", amount(tier["unit_amount"])))


def _show_order(story: Story, order: Json) -> None:
    payment = order["payment"]
    story.tell.figures((f"Order {order['status']}, payment {payment['status']} by {payment['provider']}", amount(payment["amount"])))
    invoice = story.api.get(f"/v1/invoices/{order['invoice']}")
    story.tell.figures((f"Invoice {invoice['number']} of {invoice['issued_on']}", amount(invoice["total"])))
    for note in invoice["notes"]:
        story.tell.figures((note, ""))


def _counted(events: list[Json]) -> str:
    return ", ".join(f"{each['count']} {each['type']}" for each in events)


def _show_problem(story: Story, problem: Json, *members: str) -> None:
    story.tell.figures(("Problem", problem["type"]), *((name, str(problem[name])) for name in members))
    story.tell.say(problem["detail"])


def _explain(story: Story, quote: Json) -> None:
    for step in quote["lines"][0]["explanation"]:
        rounding = "" if step["rounding"] == "none" else f" (rounded from {step['unrounded']} cents)"
        story.tell.figures((f"{step['rule'].replace('_', ' ')}: {step['formula']}{rounding}", amount(step["amount"])))


def _wait_for_mail(story: Story) -> dict[str, EmailMessage]:
    """Every e-mail by the name of its file, in the order of the events they tell of. Raises Failure where some do not come."""
    deadline = time.monotonic() + MAIL_SECONDS
    with story.tell.waiting("The background worker delivers ..."):
        while len(files := sorted(story.folder.rglob("*.eml"))) < story.mails_due:
            if time.monotonic() > deadline:
                raise Failure(f"the story stops: {len(files)} of {story.mails_due} e-mails went out in {MAIL_SECONDS} s")
            time.sleep(0.1)
    parser = BytesParser(policy=policy.default)
    return {file.name: parser.parsebytes(file.read_bytes()) for file in files}


def _attached(mail: EmailMessage) -> str:
    return "".join(f" + {part.get_filename()}" for part in mail.iter_attachments())


def _plain_text(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    return str(body.get_content()) if body else ""


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise Failure(f"the story stops: the last answer should say {what}")


# --- around the scenes


@contextmanager
def _folder(keep: bool, tell: Narrator) -> Iterator[Path]:
    folder = Path(mkdtemp(prefix="puesto-demo-"))
    try:
        yield folder
    finally:
        if keep:
            tell.say(f"Everything is kept in {folder}: run puesto serve there to look around.")
        else:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _story(folder: Path, tell: Narrator) -> Iterator[Story]:
    """A server in `folder`, a key for it, and a client that has both. Raises Failure where the server does not start."""
    tell.say("Puesto sells software by the seat. This starts a shop of its own and uses it, from the first visit to the last seat.")
    create = ("keys", "create", "--name", "demo", "--scopes", ",".join(SCOPES))
    with ExitStack() as stack:
        with tell.waiting("Starting a server ..."):
            made = run_puesto(folder, *create)
            if made.returncode:
                raise Failure(f"no key could be made: {made.stderr}")
            server = stack.enter_context(running_server(folder))
        tell.say(f"$ puesto {' '.join(create)}")
        tell.say("$ puesto serve")
        tell.rows([("API", f"{server.url}/v1"), ("Data", str(folder))])
        client = stack.enter_context(closing(Client(server.url, made.stdout.strip(), tell)))
        try:
            yield Story(client, tell, folder)
        except (KeyError, IndexError, TypeError) as error:
            raise Failure(f"the story stops: the last answer is not what it needs: {error!r}") from error
