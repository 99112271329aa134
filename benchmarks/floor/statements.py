"""Every statement of the floor, written once."""

from __future__ import annotations


def _insert(table: str, columns: str) -> str:
    names = columns.split()
    quoted = ", ".join(f'"{name}"' for name in names)
    return f'INSERT INTO "{table}" ({quoted}) VALUES ({", ".join("?" * len(names))})'


KEY = "SELECT id FROM api_key WHERE hash = ? AND revoked_at IS NULL"
ACCOUNT = "SELECT id, name, email, kind, country, currency, locale, time_zone, balance, created_at, ordered FROM account WHERE id = ?"
CART = "SELECT account, status, country, currency FROM cart WHERE id = ?"
LINES = "SELECT id, plan, interval, seats FROM cart_line WHERE cart = ? ORDER BY id"

NEW_CART = _insert("cart", "id account status country currency order secret_hash version created_at expires_at")
NEW_CART_LINE = _insert("cart_line", "id cart account mode plan interval seats subscription release")
NEW_KEY = _insert("idempotency_key", "id account fingerprint resource answer created_at")
NEW_ORDER = _insert(
    "orders",
    "id account kind cart status currency net tax total credit_used due_now credit_left locale purchase_order tax_decision placed_by"
    " problem version created_at completed_at",
)
NEW_ORDER_LINE = _insert("order_line", "id account order subscription net tax total document fulfilment items")
NEW_PAYMENT = _insert(
    "payment",
    "id account order provider status amount captured refunded disputed lost currency method save_method provider_ref action error data"
    " shown_method due_on problem live ask_at tries trouble created_at",
)
NEW_SUBSCRIPTION = _insert(
    "subscription",
    "id account product product_name plan plan_name features tier interval seats seats_assigned status currency price tax term_amount"
    " period_start period_end anchor_day trial_end next_charge cancel_at cancel_reason changing retry_at version created_at cancelled_at",
)
NEW_INVOICE = _insert(
    "invoice",
    "id account order kind series sequence number status currency net tax total seller buyer notes locale purchase_order issued_on due_on"
    " credits cause settlement created_at",
)
NEW_INVOICE_LINE = _insert(
    "invoice_line",
    "id account invoice subscription item kind description seats period_start period_end net tax rate category credits interval prices"
    " explanation",
)
NEW_EVENT = _insert("event", "id account type subject data occurred_at position")

CART_ORDERING = "UPDATE cart SET status = 'ordering', \"order\" = ? WHERE id = ?"
CART_ORDERED = "UPDATE cart SET status = 'ordered' WHERE id = ?"
ACCOUNT_ORDERED = "UPDATE account SET balance = ?, ordered = ? WHERE id = ?"
PAID = "UPDATE payment SET status = 'captured', captured = amount, provider_ref = ?, ask_at = NULL WHERE id = ?"
COMPLETED = "UPDATE orders SET status = 'completed', completed_at = ?, version = version + 1 WHERE id = ?"
LINE_FULFILLED = "UPDATE order_line SET subscription = ? WHERE id = ?"
NEW_SERIES = "INSERT INTO invoice_series (id, last) VALUES (?, 0) ON CONFLICT DO NOTHING"
NEXT_NUMBER = "UPDATE invoice_series SET last = last + 1 WHERE id = ? RETURNING last"
ANSWERED = "UPDATE idempotency_key SET answer = ? WHERE id = ?"

GATEWAY_PAYMENT = "INSERT INTO payment VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
GATEWAY_EVENT = "INSERT INTO event VALUES (?, ?, 0, 0, 0)"
