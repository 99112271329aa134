"""The first released schema. Frozen: what changes is another migration; whatever imported a live model would change with it."""

from peewee import (
    SQL,
    BigAutoField,
    BigIntegerField,
    BooleanField,
    CharField,
    Check,
    Database,
    DateField,
    DateTimeField,
    DoubleField,
    ForeignKeyField,
    IntegerField,
    Model,
    SchemaManager,
    TextField,
)


class Table(Model):
    class Meta:
        legacy_table_names = False


class ClockOffset(Table):
    id = IntegerField(primary_key=True)
    seconds = DoubleField()


class ApiKey(Table):
    id = CharField(primary_key=True, max_length=40)
    name = CharField(max_length=200)
    hash = CharField(max_length=64, unique=True)
    scopes = TextField()
    created_at = DateTimeField()
    revoked_at = DateTimeField(null=True)


class AccountToken(Table):
    hash = CharField(primary_key=True, max_length=64)
    account = CharField(max_length=40)
    user = CharField(max_length=40, index=True)
    role = CharField(max_length=16)
    expires_at = DateTimeField(index=True)


class Account(Table):
    id = CharField(primary_key=True, max_length=40)
    name = CharField(max_length=200)
    email = CharField(max_length=254)
    kind = CharField(max_length=16, constraints=[Check("kind IN ('self_service', 'corporate')")])
    country = CharField(max_length=2)
    address = TextField(null=True)
    currency = CharField(max_length=3)
    locale = CharField(max_length=16)
    time_zone = CharField(max_length=64)
    tax_id = TextField(null=True)
    representative = TextField(null=True)
    balance = BigIntegerField(constraints=[Check("balance >= 0")])
    ordered = BooleanField()
    version = IntegerField()
    created_at = DateTimeField()


class User(Table):
    id = CharField(primary_key=True, max_length=40)
    account = ForeignKeyField(Account, column_name="account", index=False)
    email = CharField(max_length=254)
    name = CharField(max_length=200)
    role = CharField(max_length=16, constraints=[Check("role IN ('billing_contact', 'member')")])
    version = IntegerField()
    created_at = DateTimeField()

    class Meta:
        indexes = ((("account", "email"), True), (("account", "id"), False))


class PaymentMethod(Table):
    id = CharField(primary_key=True, max_length=40)
    account = ForeignKeyField(Account, column_name="account", index=False)
    provider = CharField(max_length=64)
    reference = CharField(max_length=255)
    brand = CharField(max_length=40)
    last4 = CharField(max_length=4)
    expires = CharField(max_length=7, null=True)
    default = BooleanField()
    created_at = DateTimeField()
    deleted_at = DateTimeField(null=True)

    class Meta:
        indexes = ((("account", "provider", "reference"), True),)


class Cart(Table):
    id = CharField(primary_key=True, max_length=40)
    account = ForeignKeyField(Account, column_name="account", index=False, null=True)
    status = CharField(max_length=10, constraints=[Check("status IN ('open', 'ordering', 'ordered', 'merged')")])
    country = CharField(max_length=2)
    currency = CharField(max_length=3)
    order = CharField(max_length=40, null=True)
    secret_hash = CharField(max_length=64, null=True)
    version = IntegerField()
    created_at = DateTimeField()
    expires_at = DateTimeField()


Cart.add_index(Cart.index(Cart.expires_at, name="cart_to_sweep").where(Cart.status != SQL("'ordering'")))


class CartLine(Table):
    id = CharField(primary_key=True, max_length=40)
    cart = ForeignKeyField(Cart, column_name="cart", on_delete="CASCADE")
    account = CharField(max_length=40, null=True)
    mode = CharField(max_length=8, constraints=[Check("mode IN ('buy', 'trial', 'change')")])
    plan = CharField(max_length=64, null=True)
    interval = CharField(max_length=8, null=True, constraints=[Check("interval IN ('month', 'year')")])
    seats = IntegerField(null=True, constraints=[Check("seats > 0")])
    subscription = CharField(max_length=40, null=True)
    release = TextField(null=True)


class Order(Table):
    id = CharField(primary_key=True, max_length=40)
    account = ForeignKeyField(Account, column_name="account", index=False)
    cart = CharField(max_length=40, index=True)
    status = CharField(
        max_length=16,
        constraints=[Check("status IN ('pending','requires_action','processing','completed','failed','cancelled','refunded')")],
    )
    currency = CharField(max_length=3)
    net = BigIntegerField()
    tax = BigIntegerField()
    total = BigIntegerField(constraints=[Check("total = net + tax")])
    credit_used = BigIntegerField(constraints=[Check("credit_used >= 0")])
    due_now = BigIntegerField(constraints=[Check("due_now >= 0")])
    credit_left = BigIntegerField(constraints=[Check("credit_left >= 0")])
    locale = CharField(max_length=16)
    purchase_order = CharField(max_length=100, null=True)
    tax_decision = TextField()
    placed_by = CharField(max_length=40)
    problem = CharField(max_length=32, null=True)
    version = IntegerField()
    created_at = DateTimeField()
    completed_at = DateTimeField(null=True)

    class Meta:
        table_name = "orders"
        indexes = ((("account", "id"), False),)


Order.add_index(
    Order.index(Order.cart, unique=True, name="order_of_cart").where(Order.status.not_in([SQL("'failed'"), SQL("'cancelled'")]))
)


class OrderLine(Table):
    id = CharField(primary_key=True, max_length=40)
    account = CharField(max_length=40)
    order = ForeignKeyField(Order, column_name="order")
    subscription = CharField(max_length=40, null=True)
    net = BigIntegerField()
    tax = BigIntegerField()
    total = BigIntegerField(constraints=[Check("total = net + tax")])
    document = TextField()
    fulfilment = TextField()
    items = TextField()


class Payment(Table):
    id = CharField(primary_key=True, max_length=40)
    account = ForeignKeyField(Account, column_name="account", index=False)
    order = CharField(max_length=40, index=True)
    provider = CharField(max_length=64)
    status = CharField(
        max_length=16,
        constraints=[Check("status IN ('created','requires_action','processing','authorized','captured','declined','failed','canceled')")],
    )
    amount = BigIntegerField(constraints=[Check("amount >= 0")])
    refunded = BigIntegerField(constraints=[Check("refunded BETWEEN 0 AND amount")])
    currency = CharField(max_length=3)
    method = CharField(max_length=40, null=True)
    save_method = BooleanField()
    provider_ref = CharField(max_length=255, null=True)
    action = TextField(null=True)
    error = TextField(null=True)
    data = TextField()
    shown_method = TextField(null=True)
    due_on = CharField(max_length=10, null=True)
    problem = CharField(max_length=32, null=True)
    ask_at = DateTimeField(null=True)
    created_at = DateTimeField()


LIVE = [SQL(f"'{status}'") for status in ("created", "requires_action", "processing", "authorized", "captured")]
Payment.add_index(Payment.index(Payment.order, unique=True, name="payment_live").where(Payment.status.in_(LIVE)))
Payment.add_index(Payment.index(Payment.ask_at, name="payment_to_ask_about").where(Payment.ask_at.is_null(False)))


class Refund(Table):
    id = CharField(primary_key=True, max_length=40)
    account = ForeignKeyField(Account, column_name="account", index=False)
    order = CharField(max_length=40)
    payment = ForeignKeyField(Payment, column_name="payment")
    amount = BigIntegerField(constraints=[Check("amount > 0")])
    currency = CharField(max_length=3)
    status = CharField(max_length=12, constraints=[Check("status IN ('created','processing','succeeded','failed')")])
    reason = CharField(max_length=500)
    provider_ref = CharField(max_length=255, null=True)
    ask_at = DateTimeField(null=True)
    created_at = DateTimeField()


Refund.add_index(Refund.index(Refund.ask_at, name="refund_to_ask_about").where(Refund.ask_at.is_null(False)))


class Subscription(Table):
    id = CharField(primary_key=True, max_length=40)
    account = ForeignKeyField(Account, column_name="account", index=False)
    product = CharField(max_length=64)
    product_name = TextField()
    plan = CharField(max_length=64)
    plan_name = TextField()
    features = TextField()
    tier = IntegerField()
    interval = CharField(max_length=8, constraints=[Check("interval IN ('month', 'year')")])
    seats = IntegerField(constraints=[Check("seats > 0")])
    seats_assigned = IntegerField(constraints=[Check("seats_assigned BETWEEN 0 AND seats")])
    status = CharField(max_length=10, constraints=[Check("status IN ('trialing', 'active', 'past_due', 'paused', 'cancelled')")])
    currency = CharField(max_length=3)
    price = TextField()
    tax = TextField(null=True)
    term_amount = BigIntegerField()
    period_start = DateField()
    period_end = DateField(constraints=[Check("period_start < period_end")])
    anchor_day = IntegerField(constraints=[Check("anchor_day BETWEEN 1 AND 31")])
    trial_end = DateField(null=True)
    next_charge = BigIntegerField(null=True)
    cancel_at = DateField(null=True)
    cancel_reason = CharField(max_length=500, null=True)
    changing = CharField(max_length=40, null=True)
    version = IntegerField()
    created_at = DateTimeField()
    cancelled_at = DateTimeField(null=True)

    class Meta:
        indexes = ((("account", "id"), False), (("account", "product"), False))


for day in (Subscription.cancel_at, Subscription.trial_end):
    Subscription.add_index(Subscription.index(day, name=f"subscription_{day.name}").where(Subscription.cancelled_at.is_null()))
Subscription.add_index(Subscription.index(Subscription.changing, name="subscription_changing").where(Subscription.changing.is_null(False)))


class SubscriptionChange(Table):
    id = CharField(primary_key=True, max_length=40)
    account = CharField(max_length=40)
    subscription = ForeignKeyField(Subscription, column_name="subscription")
    effective_on = DateField()
    plan = CharField(max_length=64, null=True)
    interval = CharField(max_length=8, null=True, constraints=[Check("interval IN ('month', 'year')")])
    seats = IntegerField(null=True, constraints=[Check("seats > 0")])
    release = TextField()
    policy = TextField()
    created_at = DateTimeField()


class Trial(Table):
    id = CharField(primary_key=True, max_length=40)
    account = CharField(max_length=40)
    product = CharField(max_length=64)
    ordering = CharField(max_length=40, index=True, null=True)
    started_on = DateField()

    class Meta:
        indexes = ((("account", "product"), True),)


class SeatAssignment(Table):
    id = CharField(primary_key=True, max_length=40)
    account = CharField(max_length=40)
    subscription = ForeignKeyField(Subscription, column_name="subscription", index=False)
    user = ForeignKeyField(User, column_name="user")
    assigned_at = DateTimeField()

    class Meta:
        indexes = ((("subscription", "user"), True),)


class InvoiceSeries(Table):
    id = CharField(primary_key=True, max_length=16)
    last = IntegerField(constraints=[Check("last >= 0")])


class Invoice(Table):
    id = CharField(primary_key=True, max_length=40)
    account = ForeignKeyField(Account, column_name="account", index=False)
    order = CharField(max_length=40, unique=True)
    kind = CharField(max_length=12, constraints=[Check("kind IN ('invoice', 'credit_note')")])
    series = CharField(max_length=16)
    sequence = IntegerField(constraints=[Check("sequence > 0")])
    number = CharField(max_length=32, unique=True)
    status = CharField(max_length=8, constraints=[Check("status IN ('open', 'paid')")])
    currency = CharField(max_length=3)
    net = BigIntegerField()
    tax = BigIntegerField()
    total = BigIntegerField(constraints=[Check("total = net + tax")])
    seller = TextField()
    buyer = TextField()
    notes = TextField()
    locale = CharField(max_length=16)
    purchase_order = CharField(max_length=100, null=True)
    issued_on = DateField()
    due_on = DateField(null=True)
    created_at = DateTimeField()

    class Meta:
        indexes = ((("series", "sequence"), True), (("account", "id"), False))


class InvoiceLine(Table):
    id = CharField(primary_key=True, max_length=40)
    account = CharField(max_length=40)
    invoice = ForeignKeyField(Invoice, column_name="invoice")
    subscription = CharField(max_length=40)
    item = CharField(max_length=40)
    kind = CharField(max_length=8)
    description = CharField(max_length=500)
    seats = IntegerField()
    period_start = DateField()
    period_end = DateField(constraints=[Check("period_start < period_end")])
    net = BigIntegerField()
    tax = BigIntegerField()
    rate = CharField(max_length=12)
    category = CharField(max_length=16)

    class Meta:
        indexes = ((("subscription", "item", "period_start", "kind"), True),)


class Event(Table):
    sequence = BigAutoField()
    id = CharField(max_length=40, unique=True)
    account = CharField(max_length=40, index=True)
    type = CharField(max_length=64)
    subject = CharField(max_length=40)
    data = TextField()
    occurred_at = DateTimeField()
    fanned_out = BooleanField()


Event.add_index(Event.index(Event.sequence, name="event_to_fan_out").where(Event.fanned_out == SQL("FALSE")))


class Delivery(Table):
    id = BigAutoField()
    event = ForeignKeyField(Event, column_name="event", on_delete="CASCADE")
    account = CharField(max_length=40, index=True)
    subject = CharField(max_length=40)
    plugin = CharField(max_length=64)
    hook = CharField(max_length=64)
    status = CharField(max_length=8, constraints=[Check("status IN ('waiting','done','parked')")])
    attempts = IntegerField(constraints=[Check("attempts >= 0")])
    next_at = DateTimeField()
    claimed_until = DateTimeField(null=True)
    error = TextField(null=True)

    class Meta:
        indexes = ((("event", "plugin", "hook"), True),)


Delivery.add_index(Delivery.index(Delivery.plugin, Delivery.next_at, name="delivery_due").where(Delivery.status == SQL("'waiting'")))
Delivery.add_index(Delivery.subject, Delivery.plugin, Delivery.event)


class IdempotencyKey(Table):
    id = CharField(primary_key=True, max_length=64)
    account = CharField(max_length=40, null=True)
    fingerprint = CharField(max_length=64)
    resource = CharField(max_length=40, null=True)
    answer = TextField(null=True)
    created_at = DateTimeField(index=True)


TABLES = (
    ClockOffset, ApiKey, AccountToken, Account, User, PaymentMethod, Cart, CartLine, Order, OrderLine, Payment, Refund, Subscription,
    SubscriptionChange, Trial, SeatAssignment, InvoiceSeries, Invoice, InvoiceLine, Event, Delivery, IdempotencyKey,
)  # fmt: skip


def up(migrator: object, db: Database) -> None:
    for table in TABLES:
        SchemaManager(table, db).create_all(safe=False)
