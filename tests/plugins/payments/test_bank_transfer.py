"""The provider `bank_transfer`: who may pay so, what the buyer is told, and what its books answer as money comes, goes back, or both."""

from datetime import UTC, datetime, timedelta

import peewee
import pytest
from marshmallow import ValidationError

from core.engine.clock import SystemClock, TestClock
from core.engine.plugin_rows import PluginDatabase
from core.engine.plugins import AskHooks, Plugins
from core.engine.sqlite import Sqlite
from plugins.payments.bank_transfer import BankTransferPlugin, BankTransferSettings
from plugins.payments.bank_transfer_desk import Desk, Refused
from plugins.payments.bank_transfer_ledger import TABLES, BankEntry, BankRefund, ExpectedPayment, Ledger
from puesto import Action, Money, PayableCart, PaymentReference, PaymentUnknown, PluginContext, RefundRequest, eur, usd
from puesto.testing.payments import PaymentProviderContract, lost_reference, reference
from tests.plugins.payments.transfers import REFERENCES, SETTINGS, booking

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Bank:
    """The provider with its books, and the desk where statements come in; `told` is what the engine heard."""

    def __init__(self, folder, clock=None, **settings):
        self.clock = clock or TestClock(frozen=True, start=START)
        self.database = Sqlite(f"sqlite:///{folder / 'shop.db'}")
        for table in TABLES.models:
            peewee.SchemaManager(table, self.database.raw()).create_all()
        self.told = []
        loaded = BankTransferSettings().load({**SETTINGS, **settings})
        rows, hooks = PluginDatabase(self.database), AskHooks(Plugins())
        context = PluginContext("bank_transfer", loaded, "live", "http://127.0.0.1:8000", hooks, rows, self.clock, folder, self.hear)
        [self.provider] = BankTransferPlugin(context).register_payment_providers()
        self.ledger = Ledger(rows, context.now)
        self.desk = Desk(self.ledger, lambda events: context.report("bank_transfer", events))

    def hear(self, provider, events):
        assert provider == "bank_transfer"
        told = [(event.type, event.payment_id, event.refund_id, str(event.amount)) for event in events]
        self.told += [each for each in told if each[0] != "payment.credited"]

    def entries(self):
        """Of each entry: amount, whose it is, why it is nobody's."""
        rows = self.database.all(BankEntry.select().order_by(BankEntry.amount.desc(), BankEntry.id))
        return [(row.amount, row.payment or row.refund, row.status, row.why) for row in rows]


@pytest.fixture
def make_bank(tmp_path):
    made = []

    def make(**settings):
        made.append(Bank(tmp_path, **settings))
        return made[-1]

    yield make
    for bank in made:
        bank.database.close_all()


@pytest.fixture
def bank(make_bank):
    return make_bank()


class TestBankTransfer(PaymentProviderContract):
    @pytest.fixture
    def bank(self, make_bank):
        return make_bank(clock=SystemClock())

    @pytest.fixture
    def provider(self, bank):
        return bank.provider

    def test_a_lost_answer_is_found_by_the_key(self, provider):
        request, result = self.pay(provider)

        assert provider.retrieve_payment(lost_reference(request)) == result

    def test_two_payments_that_would_have_one_reference_get_two(self, bank):
        _, first = self.pay(bank.provider, payment_id="pay_1", idempotency_key="pay_1")
        bank.database.execute(ExpectedPayment.update(key="another").where(ExpectedPayment.id == "pay_1"))

        _, second = self.pay(bank.provider, payment_id="pay_9", idempotency_key="pay_1")

        assert first.provider_ref != second.provider_ref
        assert bank.database.count(ExpectedPayment.select()) == 2


def test_the_buyer_is_told_where_to_send_the_money_and_with_what_reference(bank):
    _, result = PaymentProviderContract().pay(bank.provider, payment_id="pay_1", idempotency_key="pay_1")

    assert (result.status, result.amount, result.captured) == ("authorized", eur("100.00"), None)
    assert (result.provider_ref, result.due_on) == (REFERENCES["pay_1"], START.date() + timedelta(days=14))
    assert result.action == Action(
        "display",
        data={
            "account_name": "Acme, S.L.",
            "iban": "ES91 2100 0418 4502 0005 1332",
            "bic": "CAIXESBBXXX",
            "reference": "RF61 1233 4555 4188",
            "amount": {"amount": 100_00, "currency": "EUR"},
        },
    )


# --- who may pay so


@pytest.mark.parametrize(
    ("settings", "cart", "reason"),
    [
        ({}, PayableCart(eur("100.00"), "DE", corporate=True, staff=True), None),
        ({}, PayableCart(eur("100.00"), "DE", corporate=True, staff=False), "staff_only"),
        ({}, PayableCart(eur("100.00"), "DE", corporate=False, staff=False), "corporate_accounts_only"),
        ({"accounts": "all"}, PayableCart(eur("100.00"), "DE", corporate=False, staff=False), None),
        ({"accounts": "all"}, PayableCart(eur("100.00"), "DE", corporate=True, staff=False), "staff_only"),
        ({"accounts": "all"}, PayableCart(usd("100.00"), "US", corporate=False, staff=False), "currency_unsupported"),
        ({"accounts": "all", "max_amount": "100.00"}, PayableCart(eur("100.00"), "DE", corporate=False, staff=False), None),
        ({"accounts": "all", "max_amount": "99.99"}, PayableCart(eur("100.00"), "DE", corporate=False, staff=False), "amount_too_large"),
    ],
)
def test_who_may_pay_so(make_bank, settings, cart, reason):
    assert make_bank(**settings).provider.refusal(cart) == reason


def test_without_an_account_there_is_no_provider_and_it_says_so(tmp_path):
    context = PluginContext("bank_transfer", BankTransferSettings().load({}), "live", "", None, None, None, tmp_path)

    plugin = BankTransferPlugin(context)

    assert plugin.register_payment_providers() == []
    assert plugin.idle == "rests until plugins.bank_transfer.iban is set"


@pytest.mark.parametrize(
    ("wrong", "name", "problem"),
    [
        ({"iban": "ES9121000418450200051333"}, "iban", "'ES9121000418450200051333' is no IBAN"),
        ({"iban": "ES"}, "iban", "'ES' is no IBAN"),
        ({"bic": "CAIXES"}, "bic", "'CAIXES' is no BIC"),
        ({"max_amount": "10.001"}, "max_amount", "10.001 has more digits than EUR has"),
        ({"max_amount": "5", "currency": "XXY"}, "max_amount", "unknown currency 'XXY'"),
        ({"net_days": 91}, "net_days", "Must be"),
        ({"csv": {"amount": "Betrag", "text": ["Text"]}}, "csv", "Missing data"),
    ],
)
def test_settings_that_are_wrong_are_named(wrong, name, problem):
    with pytest.raises(ValidationError) as refused:
        BankTransferSettings().load({**SETTINGS, **wrong})

    assert name in refused.value.messages and problem in str(refused.value.messages)


def test_an_account_needs_a_holder():
    with pytest.raises(ValidationError, match="account holder"):
        BankTransferSettings().load({"iban": SETTINGS["iban"]})


# --- money comes


@pytest.fixture
def paid(bank):
    """pay_1 and pay_2 of 100.00 each, and how they stand."""
    kit = PaymentProviderContract()
    asked = {key: kit.pay(bank.provider, payment_id=key, idempotency_key=key) for key in ("pay_1", "pay_2")}

    def how(key="pay_1"):
        result = bank.provider.retrieve_payment(reference(*asked[key]))
        due = result.action.data["amount"]["amount"] if result.action else 0
        return result.status, result.captured.amount if result.captured else 0, due

    bank.asked, bank.kit = asked, kit
    return how


def test_all_of_it_at_once_captures_it(bank, paid):
    done = bank.desk.book([booking("100.00", "RF61 1233 4555 4188")])

    assert (len(done.matched), done.unmatched, done.known, done.others) == (1, [], 0, 0)
    assert (paid(), paid("pay_2")) == (("captured", 100_00, 0), ("authorized", 0, 100_00))
    assert bank.told == [("payment.received", "pay_1", None, "100.00 EUR")]


def test_parts_add_up_and_what_is_due_is_told(bank, paid):
    steps = []
    for number, part in enumerate(["30.00", "50.00", "20.00"]):
        bank.desk.book([booking(part, REFERENCES["pay_1"], str(number))])
        steps.append(paid())

    assert steps == [("partially_captured", 30_00, 70_00), ("partially_captured", 80_00, 20_00), ("captured", 100_00, 0)]


def test_the_same_file_again_and_one_that_overlaps_book_nothing_twice(bank, paid):
    first = [booking("30.00", REFERENCES["pay_1"], "1"), booking("20.00", "no reference", "2")]

    bank.desk.book(first)
    done = bank.desk.book([*first, booking("10.00", REFERENCES["pay_1"], "3")])

    assert (len(done.matched), len(done.unmatched), done.known) == (1, 0, 2)
    assert paid() == ("partially_captured", 40_00, 60_00)
    assert bank.told == [("payment.received", "pay_1", None, "30.00 EUR")] * 2 + [("payment.received", "pay_1", None, "10.00 EUR")]


def test_an_import_that_died_before_the_engine_heard_of_it_is_told_by_the_next(bank, paid):
    def dies(events):
        raise SystemExit

    with pytest.raises(SystemExit):
        Desk(bank.ledger, dies).book([booking("100.00", REFERENCES["pay_1"])])

    bank.desk.book([booking("100.00", REFERENCES["pay_1"])])

    assert (bank.told, paid()) == ([("payment.received", "pay_1", None, "100.00 EUR")], ("captured", 100_00, 0))


def test_more_than_was_asked_captures_all_and_the_rest_is_listed(bank, paid):
    bank.desk.book([booking("120.00", REFERENCES["pay_1"])])

    assert paid() == ("captured", 100_00, 0)
    assert bank.provider.retrieve_payment(reference(*bank.asked["pay_1"])).excess == eur("20.00")
    assert [(payment.id, beyond) for payment, beyond in bank.ledger.overpaid()] == [("pay_1", eur("20.00"))]


def test_what_was_too_much_is_gone_from_the_list_once_it_went_back(bank, paid):
    bank.desk.book([booking("120.00", REFERENCES["pay_1"], "1"), booking("-20.00", REFERENCES["pay_1"], "2")])

    assert (paid(), bank.ledger.overpaid()) == (("captured", 100_00, 0), [])
    assert bank.provider.retrieve_payment(reference(*bank.asked["pay_1"])).excess is None


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (booking("100.00", "thanks"), "no reference of ours"),
        (booking("100.00", "RF16210337497451"), "no reference of ours"),
        (
            booking("200.00", f"{REFERENCES['pay_1']} and {REFERENCES['pay_2']}"),
            "several references of ours: RF61 1233 4555 4188, RF56 1263 4102 8641",
        ),
        (booking("1.00", REFERENCES["pay_1"], reversal=True), "undoes money that went out with RF61 1233 4555 4188"),
        (booking("-1.00", REFERENCES["pay_1"]), "money went out with RF61 1233 4555 4188, and no refund of that amount waits"),
        (booking("-1.00", REFERENCES["pay_1"], reversal=True), "more than has come in for RF61 1233 4555 4188 went back"),
        (booking("-1.00", "returned", reversal=True), "no reference of ours"),
    ],
)
def test_what_is_not_beyond_doubt_waits_and_says_why(bank, paid, what, why):
    done = bank.desk.book([what])

    assert [entry.why for entry in done.unmatched] == [why]
    assert bank.entries() == [(what.amount.amount, None, "unmatched", why)]
    assert (bank.told, paid(), paid("pay_2")) == ([], ("authorized", 0, 100_00), ("authorized", 0, 100_00))


def test_another_currency_waits(bank, paid):
    bank.desk.book([booking(usd("100.00"), REFERENCES["pay_1"])])

    assert bank.entries() == [(100_00, None, "unmatched", "RF61 1233 4555 4188 is in EUR")]


def test_what_the_seller_spends_is_not_kept(bank, paid):
    done = bank.desk.book([booking("-750.00", "rent")])

    assert (done.others, done.unmatched, bank.entries()) == (1, [], [])


def test_a_second_payment_of_the_same_waits(bank, paid):
    bank.desk.book([booking("100.00", REFERENCES["pay_1"], "1")])
    [second] = bank.desk.book([booking("100.00", REFERENCES["pay_1"], "2")]).unmatched

    assert second.why == "nothing is due for RF61 1233 4555 4188 any more"
    assert paid() == ("captured", 100_00, 0)


def test_money_that_was_returned_is_due_again(bank, paid):
    bank.desk.book([booking("100.00", REFERENCES["pay_1"], "1")])
    bank.desk.book([booking("-100.00", REFERENCES["pay_1"], "2", reversal=True)])

    assert paid() == ("authorized", 0, 100_00)
    assert bank.told[1:] == [("payment.returned", "pay_1", None, "100.00 EUR")]


# --- a human decides


def entry_id(bank):
    [row] = bank.ledger.unmatched()
    return row.id


def test_an_entry_is_assigned_once_and_again_changes_nothing(bank, paid):
    bank.desk.book([booking("60.00", "invoice of March")])

    for _ in range(2):
        assigned = bank.desk.assign(bank.database.first(BankEntry.select()).id, "rf61 1233 4555 4188")

    assert (assigned.payment, assigned.account, assigned.status, assigned.why, assigned.version) == ("pay_1", "acc_1", "matched", None, 2)
    assert (paid(), bank.ledger.unmatched()) == (("partially_captured", 60_00, 40_00), [])
    assert bank.told == [("payment.received", "pay_1", None, "60.00 EUR")] * 2


def test_one_that_is_put_aside_does_not_count_any_more_and_can_be_assigned_anew(bank, paid):
    bank.desk.book([booking("100.00", REFERENCES["pay_1"])])
    entry = bank.database.first(BankEntry.select()).id

    aside = bank.desk.put_aside(entry, "meant for another")
    after = paid()
    bank.desk.assign(entry, REFERENCES["pay_2"])

    assert (aside.status, aside.why, after) == ("put_aside", "meant for another", ("authorized", 0, 100_00))
    assert (paid(), paid("pay_2")) == (("authorized", 0, 100_00), ("captured", 100_00, 0))
    assert [kind for kind, *_ in bank.told] == ["payment.received", "payment.returned", "payment.received"]


def test_a_bounced_transfer_without_the_bank_s_mark_is_assigned_by_hand(bank, paid):
    bank.desk.book([booking("100.00", REFERENCES["pay_1"], "1"), booking("-40.00", f"back {REFERENCES['pay_1']}", "2")])

    bank.desk.assign(entry_id(bank), REFERENCES["pay_1"])

    assert paid() == ("partially_captured", 60_00, 40_00)


@pytest.mark.parametrize(
    ("what", "given", "problem"),
    [
        (booking("60.00", ""), "RF00", "no payment and no refund has the reference RF00"),
        (booking("60.00", ""), " ".join(REFERENCES.values()), "no payment and no refund has the reference"),
        (booking("-60.00", "", reversal=True), REFERENCES["pay_1"], "60.00 EUR went out, and less has come in for RF61 1233 4555 4188"),
    ],
)
def test_an_assignment_that_does_not_fit_is_refused(bank, paid, what, given, problem):
    bank.desk.book([what])

    with pytest.raises(Refused, match=problem):
        bank.desk.assign(entry_id(bank), given)

    assert (len(bank.ledger.unmatched()), bank.told) == (1, [])


def test_what_is_matched_is_not_assigned_elsewhere(bank, paid):
    bank.desk.book([booking("100.00", REFERENCES["pay_1"])])

    with pytest.raises(Refused, match="is matched with pay_1: put it aside first"):
        bank.desk.assign(bank.database.first(BankEntry.select()).id, REFERENCES["pay_2"])

    assert (paid(), paid("pay_2")) == (("captured", 100_00, 0), ("authorized", 0, 100_00))


def test_of_two_who_decide_at_once_the_second_is_told(bank, paid):
    bank.desk.book([booking("100.00", "thanks")])
    stale = bank.database.first(BankEntry.select())
    bank.desk.assign(stale.id, REFERENCES["pay_1"])

    assert bank.ledger.change(stale, status="put_aside", why="mine") is False
    assert paid() == ("captured", 100_00, 0)


@pytest.mark.parametrize("act", [lambda desk: desk.assign("bte_0", "RF"), lambda desk: desk.put_aside("bte_0", "why")])
def test_an_entry_that_is_not_there_is_named(bank, act):
    with pytest.raises(Refused, match="there is no entry bte_0"):
        act(bank.desk)


# --- money goes back


def refund(bank, amount, refund_id="ref_1", key="pay_1"):
    request, result = bank.asked[key]
    return bank.provider.refund_payment(RefundRequest(reference(request, result), refund_id, eur(amount), "asked for", refund_id))


def test_a_refund_before_the_money_came_only_lowers_what_is_owed(bank, paid):
    assert refund(bank, "40.00").status == "succeeded"

    assert (paid(), bank.ledger.unsent()) == (("authorized", 0, 60_00), [])
    bank.desk.book([booking("60.00", REFERENCES["pay_1"])])
    assert (paid(), bank.ledger.overpaid()) == (("partially_captured", 60_00, 0), [])


def test_money_for_what_was_refunded_before_it_came_waits(bank, paid):
    refund(bank, "100.00")

    bank.desk.book([booking("100.00", REFERENCES["pay_1"])])

    assert [why for *_, why in bank.entries()] == ["nothing is due for RF61 1233 4555 4188 any more"]
    assert bank.told == []


@pytest.mark.parametrize("text", ["RF16 2103 3749 7451", "refund of RF61123345554188"])
def test_a_refund_waits_for_the_transfer_back_and_a_statement_shows_it(bank, paid, text):
    bank.desk.book([booking("100.00", REFERENCES["pay_1"], "1")])

    first = refund(bank, "40.00")
    bank.desk.book([booking("-40.00", text, "2")])

    assert (first.status, first.amount, first.provider_ref) == ("processing", eur("40.00"), "RF16210337497451")
    assert (refund(bank, "40.00").status, bank.ledger.unsent()) == ("succeeded", [])
    assert paid() == ("captured", 100_00, 0)
    assert bank.told[1:] == [("refund.succeeded", "pay_1", "ref_1", "40.00 EUR")]


def test_only_what_was_received_beyond_what_is_owed_then_is_sent_back(bank, paid):
    bank.desk.book([booking("70.00", REFERENCES["pay_1"])])

    refund(bank, "50.00")

    assert [(each.amount, each.transfer) for each in bank.database.all(BankRefund.select())] == [(50_00, 20_00)]
    assert (paid(), bank.ledger.overpaid()) == (("partially_captured", 70_00, 0), [])


def test_a_human_says_that_it_was_sent(bank, paid):
    bank.desk.book([booking("100.00", REFERENCES["pay_1"])])
    refund(bank, "40.00")

    for _ in range(2):
        bank.desk.mark_paid("ref_1")

    assert (refund(bank, "40.00").status, bank.ledger.unsent()) == ("succeeded", [])
    assert bank.told[1:] == [("refund.succeeded", "pay_1", "ref_1", "40.00 EUR")] * 2


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (booking("-39.00", "RF16210337497451", "2"), "the refund ref_1 (RF16 2103 3749 7451) is of 40.00 EUR"),
        (booking("40.00", "RF16210337497451", "2", reversal=True), "the refund ref_1 (RF16 2103 3749 7451) came back"),
    ],
)
def test_a_transfer_back_that_is_not_what_was_asked_waits(bank, paid, what, why):
    bank.desk.book([booking("100.00", REFERENCES["pay_1"], "1")])
    refund(bank, "40.00")

    [entry] = bank.desk.book([what]).unmatched

    assert (entry.why, len(bank.ledger.unsent())) == (why, 1)


def test_a_refund_is_sent_once(bank, paid):
    bank.desk.book([booking("100.00", REFERENCES["pay_1"], "1")])
    refund(bank, "40.00")
    bank.desk.book([booking("-40.00", "RF16210337497451", "2")])

    [entry] = bank.desk.book([booking("-40.00", "RF16210337497451", "3")]).unmatched

    assert entry.why == "the refund ref_1 (RF16 2103 3749 7451) was sent before"
    with pytest.raises(Refused, match="waits for no such transfer"):
        bank.desk.assign(entry.id, "RF16210337497451")


def test_what_has_carried_out_a_refund_is_not_put_aside(bank, paid):
    bank.desk.book([booking("100.00", REFERENCES["pay_1"], "1")])
    refund(bank, "40.00")
    [sent] = bank.desk.book([booking("-40.00", "RF16210337497451", "2")]).matched

    with pytest.raises(Refused, match="has carried out ref_1"):
        bank.desk.put_aside(sent.id, "mistake")

    assert bank.ledger.unsent() == []


@pytest.mark.parametrize("refund_id", ["ref_0", "ref_1"])
def test_what_need_not_be_sent_is_not_marked(bank, paid, refund_id):
    refund(bank, "40.00")  # nothing has come in yet

    with pytest.raises(Refused, match=f"there is no refund {refund_id} to transfer"):
        bank.desk.mark_paid(refund_id)


@pytest.mark.parametrize("amount", [eur(0), eur("-1.00"), eur("100.01"), usd("1.00")], ids=str)
def test_a_refund_must_fit_the_payment(bank, paid, amount):
    request, result = bank.asked["pay_1"]

    answer = bank.provider.refund_payment(RefundRequest(reference(request, result), "ref_1", amount, "asked for", "ref_1"))

    assert (answer.status, answer.amount) == ("failed", Money(0, amount.currency))
    assert bank.database.count(BankRefund.select()) == 0


def test_the_refund_of_what_nobody_expects_fails(bank):
    stranger = PaymentReference("pay_9", eur("100.00"), "pay_9")

    assert bank.provider.refund_payment(RefundRequest(stranger, "ref_1", eur("1.00"), "asked for", "ref_1")).status == "failed"
    with pytest.raises(PaymentUnknown):
        bank.provider.retrieve_payment(stranger)


# --- the same news, for who asks


def test_changes_are_listed_page_by_page_from_an_instant_on(bank, paid, monkeypatch):
    monkeypatch.setattr("plugins.payments.bank_transfer.PAGE", 2)
    for number in range(3):
        bank.desk.book([booking("10.00", REFERENCES["pay_1"], str(number)), booking("10.00", "nobody's", f"{number}x")])
    bank.clock.move_to(START + timedelta(hours=1))
    bank.desk.put_aside(bank.ledger.last_payer("pay_1").id, "mistake")

    pages = [bank.provider.list_changes(START, None)]
    while pages[-1].cursor:
        pages.append(bank.provider.list_changes(START, pages[-1].cursor))
    later = bank.provider.list_changes(START + timedelta(minutes=1), None)

    events = [event for page in pages for event in page.events]
    assert [len(page.events) for page in pages] == [2, 2, 1]
    assert sorted(event.type for event in events) == ["payment.authorized"] * 2 + ["payment.received"] * 2 + ["payment.returned"]
    assert len({event.event_id for event in events}) == 5
    assert [(event.type, event.occurred_at) for event in later.events] == [("payment.returned", START + timedelta(hours=1))]
