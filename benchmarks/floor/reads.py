"""The floor of reads: a bare Flask app with one look-up by primary key, with the look-ups of an entitlement check, and with a text that
is ready."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

from flask import Flask, Response, request

from benchmarks.floor.rows import Rows

KEY = "SELECT id, scopes FROM api_key WHERE hash = ? AND revoked_at IS NULL"
ENTITLED = """SELECT u.account, a.time_zone, s.id, s.plan, s.features, s.status, t.id FROM "user" u JOIN account a ON a.id = u.account
LEFT JOIN subscription s ON s.account = u.account AND s.product = ? LEFT JOIN seat_assignment t ON t.subscription = s.id AND t."user" = ?
WHERE u.id = ? ORDER BY s.tier DESC, s.id DESC"""


def from_environment() -> Flask:
    return create_app(os.environ["FLOOR_DATABASE"], os.environ["FLOOR_CATALOG"])


def create_app(database: str, catalog: str) -> Flask:
    """catalog: the file with the text that is ready."""
    app, rows = Flask(__name__), Rows(database)
    ready = Path(catalog).read_bytes()
    app.add_url_rule("/healthz", view_func=lambda: "ok", endpoint="health")
    app.add_url_rule("/user", view_func=lambda: _user(rows), endpoint="user")
    app.add_url_rule("/entitled", view_func=lambda: _entitled(rows), endpoint="entitled")
    app.add_url_rule("/ready", view_func=lambda: Response(ready, mimetype="application/json"), endpoint="ready")
    return app


def _user(rows: Rows) -> dict[str, Any]:
    """One look-up by primary key."""
    [(id_, account, email)] = rows.run('SELECT id, account, email FROM "user" WHERE id = ?', (request.args["user"],)).fetchall()
    return {"id": id_, "account": account, "email": email}


def _entitled(rows: Rows) -> dict[str, Any]:
    """The look-ups of an entitlement check: whose key it is, and what the user has."""
    secret = request.headers["Authorization"].removeprefix("Bearer ")
    [_] = rows.run(KEY, (sha256(secret.encode()).hexdigest(),)).fetchall()
    product, user = request.args["product"], request.args["user"]
    [(_, _, subscription, plan, features, _, seat)] = rows.run(ENTITLED, (product, user, user)).fetchall()
    return {"entitled": seat is not None, "plan": plan, "features": json.loads(features)["en"], "subscription": subscription}
