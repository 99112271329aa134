"""Stripe's SDK as the providers use it: plain dictionaries come back, and what goes wrong is said in the contract's exceptions.

An exception of the SDK is never a cause of ours: its text repeats tokens and parts of keys, and tracebacks end up in logs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import stripe

from puesto import ProviderMisconfigured, ProviderTimeout, ProviderUnavailable

# The version for which stripe_results.py reads Stripe's objects, whatever the account is set to; it moves together with that file.
API_VERSION = "2026-10-28.endive"
# Pauses while another request with the same key is under way at Stripe, which answers 409 until that one is through.
CONFLICT_PAUSES = (0.1, 0.2, 0.4, 0.8)

stripe.enable_telemetry = False  # it would write an id into the home directory
logging.getLogger("stripe").setLevel(logging.WARNING)  # below that it logs requests whole, with their tokens


class StripeRefused(ProviderMisconfigured):
    """Stripe has understood the request and says no: a decline, or what can't be done. Where nobody catches it, it is our mistake.

    intent: the PaymentIntent or SetupIntent that it is about, as it stands now.
    """

    def __init__(self, error: stripe.StripeError) -> None:
        body = error.json_body if isinstance(error.json_body, dict) else {}
        said: Mapping[str, Any] = body.get("error") or {}
        self.status: int | None = error.http_status
        self.code: str | None = said.get("code")
        self.decline_code: str | None = said.get("decline_code")
        self.param: str | None = said.get("param")
        self.intent: dict[str, Any] | None = said.get("payment_intent") or said.get("setup_intent")
        super().__init__(f"Stripe refuses a request: {self.code or self.status} {self.param or ''}".strip() + _request_id(error))


class Transport(stripe.HTTPClient):
    """Talks to Stripe below httpx's client, which logs the address of each request, and with it the stored method that is deleted."""

    name = "httpx"

    def __init__(self, timeout: float) -> None:
        super().__init__()
        self._timeout = httpx.Timeout(timeout, connect=min(5, timeout)).as_dict()
        # A connection that Stripe has closed meanwhile would leave an outcome unknown for nothing: none is kept for long.
        self._http = httpx.HTTPTransport(limits=httpx.Limits(keepalive_expiry=2))

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[Any, int, Mapping[str, str]]:
        request = httpx.Request(method, url, headers=headers, content=post_data, extensions={"timeout": self._timeout})
        try:
            response = self._http.handle_request(request)
            content = response.read()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise ProviderUnavailable("Stripe can't be reached") from None
        except httpx.TransportError as error:
            raise ProviderTimeout(f"Stripe gave no answer: {type(error).__name__}") from None
        return content, response.status_code, response.headers

    def close(self) -> None:
        self._http.close()


class StripeApi:
    """One Stripe account. `v1` has the SDK's services; `call` asks one of them.

    Our own repetitions are the engine's to decide, so the SDK makes none: after an answer that got lost it could end in
    "can't be reached", which would say that nothing has happened.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        client = stripe.StripeClient(
            settings["secret_key"].reveal(),
            stripe_version=API_VERSION,
            base_addresses={"api": settings["api_base"]} if settings["api_base"] else None,
            max_network_retries=0,
            http_client=Transport(settings["timeout"]),
        )
        self.v1 = client.v1

    def call(self, method: Callable[..., Any], *arguments: Any, key: str | None = None) -> dict[str, Any]:
        """Raises StripeRefused, ProviderUnavailable, ProviderTimeout, ProviderMisconfigured."""
        return self.answer(method, *arguments, key=key)[0]

    def answer(self, method: Callable[..., Any], *arguments: Any, key: str | None = None) -> tuple[dict[str, Any], bool]:
        """As `call`, and whether it is an earlier answer to the same key: by now the object may stand otherwise."""
        found = self._patiently(lambda: method(*arguments, options={"idempotency_key": key} if key else {}))
        headers = found.last_response.headers if found.last_response else {}
        return found.to_dict(), headers.get("idempotent-replayed") == "true"

    def pages(self, method: Callable[..., Any], params: Mapping[str, Any], *arguments: Any) -> Iterator[dict[str, Any]]:
        """Every object of a list, as long as the caller goes on reading."""
        after: dict[str, Any] = {}
        while True:
            page = self.call(method, *arguments, {"limit": 100, **params, **after})
            yield from page["data"]
            if not page["has_more"] or not page["data"]:
                return
            after = {"starting_after": page["data"][-1]["id"]}

    def _patiently(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except stripe.StripeError as error:
            if error.http_status != 409:
                raise _translated(error) from None
        for pause in CONFLICT_PAUSES:
            time.sleep(pause)
            try:
                return ask()
            except ProviderUnavailable as error:  # the other request may have charged
                raise ProviderTimeout(str(error)) from None
            except stripe.StripeError as error:
                if error.http_status != 409:
                    raise _translated(error) from None
        raise ProviderTimeout("Stripe is still busy with another request of the same key")


def _translated(error: stripe.StripeError) -> Exception:
    if isinstance(error, stripe.CardError | stripe.InvalidRequestError):
        return StripeRefused(error)
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return ProviderMisconfigured(f"Stripe does not accept secret_key for this ({error.http_status})" + _request_id(error))
    if isinstance(error, stripe.RateLimitError):
        return ProviderUnavailable("Stripe has too much to do" + _request_id(error))
    # A server error, an answer that is no JSON, a key that was used for something else: nobody knows what has happened.
    return ProviderTimeout(f"Stripe gave no answer that says what has happened ({error.http_status})" + _request_id(error))


def _request_id(error: stripe.StripeError) -> str:
    return f" ({error.request_id})" if error.request_id else ""
