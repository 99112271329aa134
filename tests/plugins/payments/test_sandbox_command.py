"""The command `sandbox-gateway`: what it refuses to start with, and how it says so."""

import socket

import pytest
from click.testing import CliRunner

from plugins.payments.sandbox_command import sandbox_gateway
from tests.plugins.payments.gateway import SECRET, WEBHOOK_SECRETS, running_gateway


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "Missing option '--secret' (env var: 'SANDBOX_GATEWAY_SECRET')"),
        (["--secret", SECRET, "--webhook-url", "http://127.0.0.1:9"], "--webhook-url needs a --webhook-secret to sign with"),
        (["--secret", SECRET, "--webhook-secret", "whsec_c2hvcnQ="], "whsec_ and base64 of 24 bytes or more"),
        (["--secret", SECRET, "--webhook-secret", "no base64"], "--webhook-secret"),
        (["--secret", SECRET, "--port", "70000"], "--port"),
    ],
)
def test_it_does_not_start_with(arguments, problem):
    result = CliRunner().invoke(sandbox_gateway, arguments)

    assert result.exit_code == 2
    assert problem in result.output
    assert "c2hvcnQ" not in result.output and "no base64" not in result.output


def test_a_port_in_use_is_named(tmp_path, capfd):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        with pytest.raises(RuntimeError, match="has not started"), running_gateway(tmp_path, "--port", port):
            pass

    assert f"Port {port} is in use by another program" in capfd.readouterr().err


def test_it_says_where_it_listens_and_what_the_shop_needs_but_no_secret(tmp_path, capfd):
    options = ["--port", "0", "--webhook-url", "http://127.0.0.1:9/hook", "--webhook-secret", WEBHOOK_SECRETS[0]]
    with running_gateway(tmp_path, *options) as gateway:
        assert gateway.provider().charges() == []
        said = "".join(gateway.process.stdout.readline() for _ in range(4))

    assert f"PUESTO_PLUGINS__SANDBOX__GATEWAY_URL={gateway.url}\n" in said
    assert "http://127.0.0.1:9/hook" in said
    assert SECRET not in said and WEBHOOK_SECRETS[0] not in said
    assert capfd.readouterr().err == ""
