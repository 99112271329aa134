"""How the bundled products learn who may use them: one HTTP call per grant, change or revocation.

Without a `provisioning_url` nothing is called, which is right for a product that asks the shop for entitlements instead.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from functools import cache
from ssl import SSLContext

import httpx
from marshmallow import Schema, ValidationError, fields, validate

from puesto import PluginContext, ProvisioningRequest, Secret, SecretField, hookimpl

TIMEOUT_SECONDS = 10.0


class ProvisioningFailed(Exception):
    """The product did not answer with 2xx. Names the status only: addresses, tokens and answers stay out of logs."""


@cache
def _certificates() -> SSLContext:
    """Read once: it takes longer than a call."""
    return httpx.create_ssl_context()


def _fits_a_header(token: Secret) -> None:
    # Refused at the start, since an HTTP library would quote the whole header in its error.
    if not re.fullmatch("[!-~]+", token.reveal()):
        raise ValidationError("a token is made of visible ASCII characters, at least one")


class ProvisioningSettings(Schema):
    """provisioning_url: where to POST; unset: no calls. provisioning_token: sent as a bearer token, if set."""

    provisioning_url = fields.Url(
        load_default=None,
        schemes={"http", "https"},
        require_tld=False,
        validate=validate.Regexp("[^@]*$", error="a credential belongs in provisioning_token"),
    )
    provisioning_token = SecretField(load_default=None, validate=_fits_a_header)


class ProvisionedOverHttp:
    """Base of a product plugin whose product listens at the `provisioning_url`."""

    settings_schema = ProvisioningSettings

    def __init__(self, context: PluginContext) -> None:
        self._url: str | None = context.settings["provisioning_url"]
        self._token: Secret | None = context.settings["provisioning_token"]

    @hookimpl
    def provision(self, request: ProvisioningRequest) -> None:
        """Raises httpx.HTTPError where no answer comes, and ProvisioningFailed for any answer but 2xx."""
        if self._url is None:
            return
        body = asdict(request)
        headers = {"Idempotency-Key": body.pop("key")}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.reveal()}"
        response = httpx.post(self._url, json=body, headers=headers, timeout=TIMEOUT_SECONDS, verify=_certificates())
        if not response.is_success:
            raise ProvisioningFailed(f"{request.product} answered {response.status_code} to {request.action}")
