"""Paga Facil's gateway, to test against: a server of its own with its own books, started as `python gateway.py LEDGER [WEBHOOK_URL]`.

Its words are Spanish, its amounts decimal strings, its authentication Basic; a token of a card decides what happens. It prints its address.
"""

from __future__ import annotations

import base64
import hmac
import json
import sqlite3
import sys
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen
from uuid import uuid4

MERCHANT, PASSWORD = "comercio", "clave del comercio"
WEBHOOK_SECRETS = ("aviso nuevo", "aviso viejo")
REFUSALS = {"tarjeta_sin_fondos": "FONDOS", "tarjeta_caducada": "CADUCADA", "tarjeta_robada": "FRAUDE"}
GOOD, ASKS, ASKS_AND_REFUSES = "tarjeta_buena", "tarjeta_con_banco", "tarjeta_con_banco_que_no"
SCHEMA = """
CREATE TABLE cobro (
    id TEXT PRIMARY KEY, clave TEXT UNIQUE NOT NULL, referencia TEXT, tarjeta TEXT, guardada TEXT, guardar INTEGER,
    importe INTEGER NOT NULL, decimales INTEGER NOT NULL, divisa TEXT NOT NULL, estado TEXT NOT NULL, motivo TEXT, volver TEXT
);
CREATE TABLE devolucion (
    id TEXT PRIMARY KEY, clave TEXT UNIQUE NOT NULL, cobro TEXT NOT NULL, referencia TEXT, importe INTEGER, estado TEXT
);
CREATE TABLE guardada (id TEXT PRIMARY KEY, tarjeta TEXT NOT NULL);
"""


class Refused(Exception):
    """A request that can't be served: status and code."""


class Books:
    """What was charged and given back, on disk before anything is answered. One request at a time changes them."""

    def __init__(self, path: str, tell) -> None:
        self._path, self._tell, self._lock = path, tell, threading.Lock()
        with closing(self._open()) as rows:
            rows.executescript(f"PRAGMA journal_mode = WAL; {SCHEMA}")

    def _open(self) -> sqlite3.Connection:
        rows = sqlite3.connect(self._path, isolation_level=None)
        rows.execute("PRAGMA synchronous = NORMAL")
        rows.row_factory = sqlite3.Row
        return rows

    def change(self, work, *arguments):
        """Run `work(rows, ...)` in one transaction; what it tells goes out as webhooks afterwards."""
        with self._lock, closing(self._open()) as rows:
            rows.execute("BEGIN IMMEDIATE")
            with rows:
                answer, news = work(rows, *arguments)
        for each in news:
            self._tell(each)
        return answer


def charge(rows, key, wanted):
    """A charge, or with no amount the storing of a card. The same key answers the same charge."""
    known = rows.execute("SELECT * FROM cobro WHERE clave = ?", (key,)).fetchone()
    if known:
        return shown(rows, known), []
    card = wanted.get("tarjeta")
    if wanted.get("guardada"):
        stored = rows.execute("SELECT tarjeta FROM guardada WHERE id = ?", (wanted["guardada"],)).fetchone()
        card = stored["tarjeta"] if stored else None
    state, why = decide(card, wanted.get("presente", True))
    whole, _, part = wanted["importe"].partition(".")
    row = {
        "id": f"cob_{uuid4().hex}", "clave": key, "referencia": wanted["referencia"], "tarjeta": card,
        "guardada": wanted.get("guardada"), "guardar": bool(wanted.get("guardar")), "importe": int(whole + part),
        "decimales": len(part), "divisa": wanted["divisa"], "estado": state, "motivo": why, "volver": wanted["volver"],
    }  # fmt: skip
    rows.execute(f"INSERT INTO cobro VALUES ({', '.join(':' + name for name in row)})", row)
    return finish(rows, row["id"])


def decide(card, present):
    if card in (ASKS, ASKS_AND_REFUSES):
        return ("pendiente", None) if present else ("rechazado", "AUTENTICACION")
    return ("cobrado", None) if card == GOOD else ("rechazado", REFUSALS.get(card, "DENEGADA"))


def finish(rows, charge_id):
    """What a charge brings about as it stands: a stored card, and news."""
    row = rows.execute("SELECT * FROM cobro WHERE id = ?", (charge_id,)).fetchone()
    if row["estado"] == "cobrado" and row["guardar"]:
        stored = f"gua_{uuid4().hex}"
        rows.execute("INSERT INTO guardada VALUES (?, ?)", (stored, row["tarjeta"]))
        rows.execute("UPDATE cobro SET guardada = ? WHERE id = ?", (stored, charge_id))
        row = rows.execute("SELECT * FROM cobro WHERE id = ?", (charge_id,)).fetchone()
    news = {"tipo": f"cobro.{row['estado']}", "cobro": row["id"], "referencia": row["referencia"], "devolucion": None}
    return shown(rows, row), [news | {"importe": decimal(row["importe"], row), "divisa": row["divisa"]}]


def shown(rows, row):
    paid = row["importe"] if row["estado"] == "cobrado" else 0
    back = rows.execute("SELECT * FROM devolucion WHERE cobro = ? AND estado = 'hecha' ORDER BY rowid", (row["id"],)).fetchall()
    return {
        "id": row["id"],
        "referencia": row["referencia"],
        "estado": row["estado"],
        "cobrado": decimal(paid, row),
        "divisa": row["divisa"],
        "motivo": row["motivo"],
        "pagina": f"/pagina/{row['id']}" if row["estado"] == "pendiente" else None,
        "guardada": row["guardada"] if row["guardar"] and row["estado"] == "cobrado" else None,
        "devoluciones": [{"id": it["id"], "referencia": it["referencia"], "importe": decimal(it["importe"], row)} for it in back],
    }


def decimal(amount, row):
    digits = str(amount).rjust(row["decimales"] + 1, "0")
    return f"{digits[: -row['decimales']]}.{digits[-row['decimales'] :]}" if row["decimales"] else digits


def find(rows, by):
    column = "id" if by.get("id") else "clave"
    row = rows.execute(f"SELECT * FROM cobro WHERE {column} = ?", (by.get(column),)).fetchone()
    if row is None:
        raise Refused(404, "cobro_desconocido")
    return row


def look_up(rows, by):
    return shown(rows, find(rows, by)), []


def end(rows, by, state, why=None):
    """Settle what is pending; what has an end keeps it."""
    row = find(rows, by)
    if row["estado"] != "pendiente":
        return shown(rows, row), []
    rows.execute("UPDATE cobro SET estado = ?, motivo = ? WHERE id = ?", (state, why, row["id"]))
    return finish(rows, row["id"])


def decision(rows, charge_id, accepted):
    """The buyer's, on the page: where to go back to."""
    row = find(rows, {"id": charge_id})
    good = accepted and row["tarjeta"] == ASKS
    _, news = end(rows, {"id": charge_id}, "cobrado" if good else "rechazado", None if good else "AUTENTICACION")
    return f"{row['volver']}{'&' if '?' in row['volver'] else '?'}cobro={charge_id}", news


def give_back(rows, key, wanted):
    """All of a charge or part of it; more than is left is answered `rechazada`."""
    row = find(rows, wanted)
    known = rows.execute("SELECT * FROM devolucion WHERE clave = ?", (key,)).fetchone()
    news = []
    if known is None:
        amount = int(wanted["importe"].replace(".", ""))
        done = "SELECT coalesce(sum(importe), 0) FROM devolucion WHERE cobro = ? AND estado = 'hecha'"
        gone = rows.execute(done, (row["id"],)).fetchone()[0]
        fits = row["estado"] == "cobrado" and 0 < amount <= row["importe"] - gone
        values = (f"dev_{uuid4().hex}", key, row["id"], wanted["referencia"], amount, "hecha" if fits else "rechazada")
        rows.execute("INSERT INTO devolucion VALUES (?, ?, ?, ?, ?, ?)", values)
        known = rows.execute("SELECT * FROM devolucion WHERE clave = ?", (key,)).fetchone()
        news = [{"tipo": f"devolucion.{known['estado']}", "cobro": row["id"], "referencia": row["referencia"],
                 "devolucion": known["referencia"], "importe": decimal(amount, row), "divisa": row["divisa"]}]  # fmt: skip
    given = known["importe"] if known["estado"] == "hecha" else 0
    return {"id": known["id"], "estado": known["estado"], "importe": decimal(given, row), "divisa": row["divisa"]}, news


def forget(rows, stored):
    rows.execute("DELETE FROM guardada WHERE id = ?", (stored,))
    return {}, []


def every_charge(rows):
    return [shown(rows, row) for row in rows.execute("SELECT * FROM cobro ORDER BY rowid").fetchall()], []


def signature(secret, timestamp, body):
    mac = hmac.digest(secret.encode(), f"{timestamp}.".encode() + body, "sha256").hex()
    return f"t={timestamp},v1={mac}"


def webhook(news, secret=WEBHOOK_SECRETS[0]):
    """Headers and body of a message, signed just now."""
    now = int(time.time())
    body = json.dumps({"id": f"avi_{uuid4().hex}", "momento": now, **news}).encode()
    return {"Content-Type": "application/json", "Paga-Signature": signature(secret, now, body)}, body


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        address = urlsplit(self.path)
        if address.path.startswith("/pagina/"):
            return self.answer(200, b"<form method=post><button name=decision value=aceptar>Pagar</button></form>", "text/html")
        routes = {"/v2/cobros": (look_up, {n: v[0] for n, v in parse_qs(address.query).items()}), "/v2/libro": (every_charge,)}
        return self.serve(routes.get(address.path))

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/pagina/"):
            accepted = parse_qs(body.decode()).get("decision") == ["aceptar"]
            back = self.server.books.change(decision, self.path.removeprefix("/pagina/"), accepted)
            return self.answer(303, b"", "text/html", Location=back)
        wanted, key = json.loads(body), self.headers.get("Paga-Clave")
        routes = {
            "/v2/cobros": (charge, key, wanted),
            "/v2/devoluciones": (give_back, key, wanted),
            "/v2/anulaciones": (end, wanted, "anulado"),
            "/v2/olvidos": (forget, wanted.get("guardada")),
        }
        return self.serve(routes.get(self.path))

    def serve(self, route):
        expected = base64.b64encode(f"{MERCHANT}:{PASSWORD}".encode()).decode()
        try:
            if self.headers.get("Authorization") != f"Basic {expected}":
                raise Refused(401, "no_autorizado")
            if route is None:
                raise Refused(404, "no_existe")
            self.answer(200, json.dumps(self.server.books.change(*route)).encode())
        except Refused as refused:
            self.answer(refused.args[0], json.dumps({"error": refused.args[1]}).encode())

    def answer(self, status, body, kind="application/json", **headers):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *message):
        pass


def post(url, news):
    headers, body = webhook(news)
    with urlopen(Request(url, body, headers), timeout=10):
        pass


def main() -> None:
    ledger, url = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None

    def tell(news):
        if url:
            threading.Thread(target=post, args=(url, news), daemon=True).start()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.books = Books(ledger, tell)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
