"""The documents that the floor answers with and stores: of the shape and size of Puesto's, filled in by hand for one kind of line."""

from __future__ import annotations

from datetime import date
from typing import Any

PLANS = {
    "gotomeeting-professional": {
        "product": "gotomeeting",
        "product_name": {"en": "GoToMeeting", "es": "GoToMeeting"},
        "plan_name": {"en": "Professional", "es": "Profesional"},
        "features": {
            "en": ["Meetings of up to 150 people", "Screen sharing", "Cloud recording"],
            "es": ["Reuniones de hasta 150 personas", "Pantalla compartida", "Grabación en la nube"],
        },
        "tier": 2,
        "month": 1400,
        "currency": "EUR",
    }
}
SELLER = {
    "name": "Puesto Demo, S.L.",
    "country": "ES",
    "address": "Calle Mayor 1, 28013 Madrid",
    "email": "billing@puesto.example",
    "tax_id": "ESB99286320",
    "series": "",
    "time_zone": "Europe/Madrid",
    "currency": "EUR",
}
TAX = {
    "rate": "21",
    "category": "standard",
    "jurisdiction": "ES",
    "reason": "domestic",
    "source": "Ley 37/1992, art. 90.Uno",
    "note": None,
}
CURRENCY = "EUR"


def money(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": CURRENCY}


def a_month_from(day: date) -> date:
    """The benchmarks' clock says 1 March."""
    return day.replace(month=day.month % 12 + 1, year=day.year + day.month // 12, day=min(day.day, 28))


def priced(line_id: str, plan: str, seats: int, today: date) -> dict[str, Any]:
    sold = PLANS[plan]
    net = sold["month"] * seats
    tax = (net * 21 + 50) // 100
    end = a_month_from(today).isoformat()
    return {
        "id": line_id,
        "mode": "buy",
        "product": sold["product"],
        "product_name": sold["product_name"]["en"],
        "plan": plan,
        "plan_name": sold["plan_name"]["en"],
        "interval": "month",
        "seats": seats,
        "subscription": None,
        "period": {"start": today.isoformat(), "end": end},
        "unit_amount": money(sold["month"]),
        "subtotal": money(net),
        "discount": money(0),
        "credit": money(0),
        "net": money(net),
        "tax": money(tax),
        "total": money(net + tax),
        "taxes": [{"rate": "21", "amount": money(tax), "category": "standard", "reason": "domestic"}],
        "next_charge": {"date": end, "amount": money(net + tax)},
        "explanation": [_step("charge", net, f"{seats} x {sold['month'] / 100:.2f}"), _step("tax", tax, f"{net / 100:.2f} x 21 %")],
    }


def _step(rule: str, amount: int, formula: str) -> dict[str, Any]:
    exact = {"days": None, "denominator": None, "unrounded": str(amount), "rounding": "none"}
    return {"rule": rule, "amount": money(amount), "formula": formula, **exact}


def totals(lines: list[dict[str, Any]]) -> dict[str, Any]:
    net, tax = (sum(line[name]["amount"] for line in lines) for name in ("net", "tax"))
    due = {"total": money(net + tax), "credit_used": money(0), "due_now": money(net + tax), "credit_left": money(0)}
    return {"net": money(net), "tax": money(tax), **due}


def fulfilment(line: dict[str, Any]) -> dict[str, Any]:
    sold = PLANS[line["plan"]]
    price = {"interval": "month", "currency": CURRENCY, "model": "per_seat", "unit_amount": line["unit_amount"]}
    columns = {
        **{name: sold[name] for name in ("product", "product_name", "plan_name", "features", "tier")},
        **{name: line[name] for name in ("plan", "interval", "seats")},
        "currency": CURRENCY,
        "price": price,
        "tax": TAX,
        "next_charge": line["total"]["amount"],
        "period_start": line["period"]["start"],
        "period_end": line["period"]["end"],
        "status": "active",
        "trial_end": None,
        "term_amount": line["net"]["amount"],
        "anchor_day": int(line["period"]["start"][-2:]),
    }
    return {"action": "start", "columns": columns}


def item(line: dict[str, Any]) -> dict[str, Any]:
    same = {name: line[name] for name in ("seats", "period", "explanation", "net", "tax", "interval")}
    return {"kind": "charge", "description": f"{line['product_name']} – {line['plan_name']}", **same, **TAX, "prices": prices(line)}


def prices(line: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"count": line["seats"], "unit_amount": line["unit_amount"], "included": None}]


def settlement(total: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "paid", "amount": total, "credit_used": money(0), "instructions": None}


def decision(lines: list[dict[str, Any]]) -> dict[str, Any]:
    each = [{"line": f"{line['id']}{end}", "tax": line["tax"], **TAX} for line in lines for end in ("", "/next")]
    return {"lines": each, "trace": [["domestic", "yes: seller in ES, buyer in ES"], ["rate", "21 % in ES since 2012-09-01"]]}


def account_of(row: tuple[Any, ...]) -> dict[str, Any]:
    names = ("id", "name", "email", "kind", "country", "currency", "locale", "time_zone")
    return {**dict(zip(names, row, strict=False)), "address": None, "representative": None, "created_at": str(row[9]), "tax_id": None}


def order_of(order: dict[str, Any]) -> dict[str, Any]:
    """`order`: what the three steps have gathered."""
    due = order["totals"]["due_now"]
    return {
        "id": order["id"],
        "account": order["account"],
        "kind": "purchase",
        "status": "completed",
        "locale": "en",
        "purchase_order": None,
        "problem": None,
        "created_at": order["now"],
        "completed_at": order["now"],
        "cart": order["cart"],
        "lines": [{**line, "id": own, "subscription": sub} for line, own, sub in order["lines"]],
        **order["totals"],
        "payment": {
            "id": order["payment"],
            "provider": "sandbox",
            "status": "captured",
            "live": False,
            "amount": due,
            "captured": due,
            **{name: money(0) for name in ("refunded", "disputed", "lost")},
            **dict.fromkeys(("method", "error", "instructions")),
            "refunds": [],
            "disputes": [],
        },
        "next_action": None,
        "invoice": order["invoice"],
        "subscriptions": [sub for _, _, sub in order["lines"]],
    }


def subscription_of(line: dict[str, Any], own: str, account: str) -> dict[str, Any]:
    return {
        "id": own,
        "account": account,
        "product": line["product"],
        "plan": line["plan"],
        "seats": line["seats"],
        "seats_assigned": 0,
        "interval": "month",
        "status": "active",
        "anchor_day": 1,
        "trial_end": None,
        "cancel_at": None,
        "product_name": line["product_name"],
        "plan_name": line["plan_name"],
        "currency": CURRENCY,
        "current_period": line["period"],
        "next_charge": line["next_charge"],
        "past_due": None,
        "unused": None,
        "pending_changes": [],
    }


def invoice_of(order: dict[str, Any], number: str, buyer: dict[str, Any], issued_on: str) -> dict[str, Any]:
    lines = [
        {
            "kind": "charge",
            "description": f"{line['product_name']} – {line['plan_name']}",
            "seats": line["seats"],
            "subscription": sub,
            "rate": "21",
            "category": "standard",
            "prices": prices(line),
            **{name: line[name] for name in ("interval", "explanation", "period", "net", "tax", "total")},
        }
        for line, _, sub in order["lines"]
    ]
    return {
        "id": order["invoice"],
        "account": order["account"],
        "order": order["id"],
        "kind": "invoice",
        "number": number,
        "status": "paid",
        "currency": CURRENCY,
        "seller": SELLER,
        "buyer": buyer,
        "notes": [],
        "locale": "en",
        "purchase_order": None,
        "issued_on": issued_on,
        "due_on": None,
        "settlement": settlement(order["totals"]["total"]),
        **{name: order["totals"][name] for name in ("net", "tax", "total")},
        "paid": order["totals"]["total"],
        "due": money(0),
        "payment_instructions": None,
        "lines": lines,
        "credits": None,
        "corrects": [],
        "credit_notes": [],
    }
