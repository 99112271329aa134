"""Stripe's Customers: one per account of ours, which its payments and stored methods belong to."""

from __future__ import annotations

from plugins.payments.stripe_client import StripeApi
from puesto import Customer


def customer_of(api: StripeApi, buyer: Customer | str) -> str:
    """The id of the Customer of an account, made where there is none; its name and e-mail are kept as the `buyer`'s.

    buyer: or only the account's id.

    The search finds what is older than some minutes, and the key covers what is younger than 24 hours, so that two at once make one.
    """
    account = buyer if isinstance(buyer, str) else buyer.account
    found = api.call(api.v1.customers.search, {"query": f"metadata['account']:'{account}'", "limit": 1})["data"]
    customer = found[0] if found else api.call(api.v1.customers.create, {"metadata": {"account": account}}, key=f"customer-{account}")
    wanted = {} if isinstance(buyer, str) else {"name": buyer.name, "email": buyer.email}
    if any(customer.get(field) != value for field, value in wanted.items()):
        api.call(api.v1.customers.update, customer["id"], wanted)
    return str(customer["id"])
