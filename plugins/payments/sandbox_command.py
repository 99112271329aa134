"""puesto sandbox-gateway: the gateway that the sandbox provider talks to where its setting `gateway_url` is given."""

from __future__ import annotations

from pathlib import Path

import click

from plugins.payments.sandbox_gateway import serve_gateway
from plugins.payments.sandbox_webhooks import read_secret

STARTED = """\
Sandbox gateway at {url}, ledger {ledger}
  Shop      PUESTO_PLUGINS__SANDBOX__GATEWAY_URL={url}
            PUESTO_PLUGINS__SANDBOX__GATEWAY_SECRET=env:SANDBOX_GATEWAY_SECRET
  Webhooks  {webhooks}
Ctrl-C stops it."""


def _check(ctx: click.Context, param: click.Parameter, secrets: tuple[str, ...]) -> tuple[str, ...]:
    try:
        for secret in secrets:
            read_secret(secret)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return secrets


@click.command("sandbox-gateway")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", default=8010, show_default=True, type=click.IntRange(0, 65535), help="0: any that is free.")
@click.option("--ledger", default="sandbox-gateway.db", show_default=True, type=click.Path(path_type=Path), help="What it has charged.")
@click.option("--secret", envvar="SANDBOX_GATEWAY_SECRET", show_envvar=True, required=True, help="What its callers authenticate with.")
@click.option("--webhook-url", help="Where it tells of changes. A shop's is .../v1/payment-webhooks/sandbox.")
@click.option(
    "--webhook-secret", envvar="SANDBOX_WEBHOOK_SECRET", show_envvar=True, multiple=True, callback=_check,
    help="whsec_<base64>: what they are signed with. Several while keys are rotated.",
)  # fmt: skip
@click.option("--slow-seconds", default=3.0, show_default=True, type=click.FloatRange(0), help="How long tok_slow takes.")
def sandbox_gateway(
    host: str, port: int, ledger: Path, secret: str, webhook_url: str | None, webhook_secret: tuple[str, ...], slow_seconds: float
) -> None:
    """Run the sandbox payment gateway as a process of its own, until Ctrl-C.

    A charge is on disk before it is answered: kill it at any moment, and start it again on the same ledger.
    """
    if webhook_url and not webhook_secret:
        raise click.UsageError("--webhook-url needs a --webhook-secret to sign with")
    ledger.parent.mkdir(parents=True, exist_ok=True)
    serve_gateway(
        host,
        port,
        ledger,
        secret,
        webhook_url=webhook_url,
        webhook_secrets=webhook_secret,
        slow_seconds=slow_seconds,
        started=lambda url: click.echo(STARTED.format(url=url, ledger=ledger.absolute(), webhooks=webhook_url or "not sent")),
    )


if __name__ == "__main__":
    sandbox_gateway()
