"""Carts: what plugins may tell a buyer about one, without refusing it."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import Message
from core.hooks import hookspec
from core.hooks.tax import Party


@dataclass(frozen=True)
class CartWarning:
    """What is no error, but worth knowing: a code for programs, a JSON pointer to what it is about, and a sentence for people."""

    code: str
    pointer: str
    message: Message


@dataclass(frozen=True)
class CartView:
    """A cart, as plugins see it. `plans` are the ids of the plans bought or tried; buyer: the account's, or just the cart's country."""

    account: str | None
    buyer: Party
    currency: str
    plans: tuple[str, ...]


class CartHooks:
    """Hooks that hear of carts."""

    @hookspec(failure="skip")
    def find_cart_warnings(self, cart: CartView) -> list[CartWarning] | None:
        """Tell the buyer what is no error: a number that could not be checked, a plan that is about to go.

        Called:  whenever a cart or its quote is shown; no network calls here.
        cart:    what is in it, and for whom.
        Returns: warnings, in the order in which they are shown.
        None:    nothing to say.
        Errors:  anything raised is a bug of the plugin.
        Failure: skip - the answer says that the plugin was skipped, and goes on without it.
        """
