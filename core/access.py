"""Who calls: API keys, account tokens, and whose rows each may see."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import peewee

from core.engine.database import Question
from core.engine.engine import ClockOffset, Engine
from core.engine.rows import InstantField, JsonField, Row
from core.engine.values import new_id
from core.errors import Forbidden, Missing, PreconditionFailed, Unauthorized, ValidationFailed

SCOPES = ("catalog:read", "accounts", "checkout", "billing", "staff", "metrics")
# What a person may do with a token, by role. A member may only look at the catalog and ask for entitlements.
TOKEN_SCOPES = {"billing_contact": frozenset({"catalog:read", "accounts", "checkout", "billing"}), "member": frozenset({"catalog:read"})}
TOKEN_LIFETIME = timedelta(hours=1)
R = TypeVar("R", bound=Row)


class ApiKey(Row):
    """A secret key of a back end. Only its hash is stored."""

    id = peewee.CharField(primary_key=True, max_length=40)
    name = peewee.CharField(max_length=200)
    hash = peewee.CharField(unique=True, max_length=64)
    scopes = JsonField()
    created_at = InstantField()
    revoked_at = InstantField(null=True)


class AccountToken(Row):
    """A short-lived token of one user of one account."""

    hash = peewee.CharField(primary_key=True, max_length=64)
    account = peewee.CharField(max_length=40)
    user = peewee.CharField(max_length=40, index=True)
    role = peewee.CharField(max_length=16)
    expires_at = InstantField(index=True)


@dataclass(frozen=True)
class Caller:
    """Who asks. `account` None: a back end that may see every account; `anonymous`: nobody, who sees the catalog only.

    cart_secret: what opens an anonymous cart.
    """

    id: str
    scopes: frozenset[str]
    account: str | None = None
    anonymous: bool = False
    cart_secret: str | None = None

    def owns(self, account: str | None) -> bool:
        return not self.anonymous and (self.account is None or self.account == account)

    def need(self, scope: str) -> None:
        """Raises Unauthorized for nobody, Forbidden where the scope is missing."""
        if scope in self.scopes:
            return
        if self.anonymous:
            raise Unauthorized("Send a key or an account token: Authorization: Bearer ...")
        raise Forbidden("This needs the scope {scope}, which this key or token lacks.", scope=scope)

    @property
    def staff(self) -> bool:
        return "staff" in self.scopes


INTERNAL = Caller("internal", frozenset(SCOPES))
NOBODY = Caller("anonymous", frozenset({"catalog:read"}), anonymous=True)


def digest(secret: str) -> str:
    """How secrets are stored. They are random and long, so a fast hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def find(engine: Engine, model: type[R], row_id: str, caller: Caller, *, lock: bool = False, version: int | None = None) -> R:
    """The row, if the caller may see its account.

    version: what the caller has read; None: whatever it is now.
    Raises Missing, alike for what is not there and what is another's, and PreconditionFailed for another version.
    """
    row: Any = engine.db.lock(model, row_id) if lock else engine.db.get(model, row_id)
    kind = model._meta.name
    if row is None or not caller.owns(row.id if kind == "account" else row.account):
        raise missing(kind, row_id)
    if version is not None:
        check_version(row.version, version)
    return row  # type: ignore[no-any-return]


def check_version(current: int, expected: int | None) -> None:
    """Raises PreconditionFailed where the caller has read another version than there is now."""
    if expected is not None and expected != current:
        raise PreconditionFailed("It has changed since you read it. Read it again, then repeat your change.")


def missing(kind: str, row_id: str, pointer: str | None = None) -> Missing:
    """The error for what is not there; `pointer`: the field that names it, where a body does."""
    return Missing("There is no {kind} {id}.", pointer=pointer, kind=kind.replace("_", " "), id=row_id[:64])


def create_key(engine: Engine, name: str, scopes: list[str]) -> tuple[ApiKey, str]:
    """A new key and its secret, which can't be read again. Raises ValidationFailed for an unknown scope."""
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise ValidationFailed("scopes are some of {known}; got {got}", pointer="/scopes", known=", ".join(SCOPES), got=", ".join(scopes))
    secret = f"sk_{secrets.token_urlsafe(32)}"
    now, kept = engine.clock.now(), sorted(set(scopes))
    key = ApiKey(id=new_id("key"), name=name, hash=digest(secret), scopes=kept, created_at=now, revoked_at=None)
    engine.db.insert(key)
    return key, secret


def list_keys(engine: Engine) -> list[ApiKey]:
    return engine.db.all(ApiKey.select().order_by(ApiKey.id))


def revoke_key(engine: Engine, key_id: str) -> ApiKey:
    """From now on the key opens nothing. Raises Missing."""
    with engine.db.transaction():
        key = engine.db.lock(ApiKey, key_id)
        if key is None:
            raise missing("key", key_id)
        engine.db.update(key, revoked_at=key.revoked_at or engine.clock.now())
    return key


def create_token(engine: Engine, account: str, user: str, role: str) -> tuple[str, datetime]:
    """A token for one user of one account, and when it expires. `role` says what it may do (TOKEN_SCOPES)."""
    secret, expires_at = f"at_{secrets.token_urlsafe(32)}", engine.clock.now() + TOKEN_LIFETIME
    engine.db.insert(AccountToken(hash=digest(secret), account=account, user=user, role=role, expires_at=expires_at))
    return secret, expires_at


class Beside:
    """A question that is asked together with who calls, in one statement. rows: the answer; None until then."""

    def __init__(self, *question: *Question) -> None:
        self.question = question
        self.rows: list[Any] | None = None


def identify(engine: Engine, bearer: str | None, cart_secret: str | None = None, beside: Beside | None = None) -> Caller:
    """Whom a bearer secret belongs to, at the time that a sandbox's clock shows now. None is nobody.

    beside: what else is to be asked; it is not asked for nobody.
    Raises Unauthorized for one that is unknown, expired or revoked.
    """
    if bearer is None:
        engine.refresh_clock()
        return Caller(NOBODY.id, NOBODY.scopes, anonymous=True, cart_secret=cart_secret)
    if bearer.startswith("sk_"):
        for key in _ask(engine, (_living_key, digest(bearer)), beside):
            engine.follow_clock(key.seconds)
            return Caller(key.id, frozenset(key.scopes), cart_secret=cart_secret)
    if bearer.startswith("at_"):
        for token in _ask(engine, (_token, digest(bearer)), beside):
            engine.follow_clock(token.seconds)
            if token.expires_at > engine.clock.now():
                return Caller(token.user, TOKEN_SCOPES[token.role], account=token.account, cart_secret=cart_secret)
    raise Unauthorized("This key or token is unknown, expired or revoked.")


def _ask(engine: Engine, question: Question, beside: Beside | None) -> list[Any]:
    if beside is None:
        return engine.db.ask(*question)
    found, beside.rows = engine.db.ask_both(question, beside.question)
    return found


def _living_key(hash_: str) -> Any:
    return _with_clock(ApiKey, ApiKey.id, ApiKey.scopes).where((ApiKey.hash == hash_) & ApiKey.revoked_at.is_null())


def _token(hash_: str) -> Any:
    return _with_clock(AccountToken, *AccountToken._meta.sorted_fields).where(AccountToken.hash == hash_)


def _with_clock(model: Any, *columns: Any) -> Any:
    """Both are asked for with each request: together."""
    return model.select(*columns, ClockOffset.seconds).join(ClockOffset, peewee.JOIN.LEFT_OUTER, on=(ClockOffset.id == 1))


def sweep_tokens(engine: Engine) -> int:
    """Forget expired tokens; how many."""
    return engine.db.execute(AccountToken.delete().where(AccountToken.expires_at < engine.clock.now()))


def revoke_tokens(engine: Engine, user: str) -> int:
    """Forget the tokens of a user who has left or whose role has changed; how many."""
    return engine.db.execute(AccountToken.delete().where(AccountToken.user == user))


def page(
    engine: Engine, model: type[R], caller: Caller, where: Any = None, *, account: str | None = None, limit: int, cursor: str | None
) -> tuple[list[R], str | None]:
    """A page of the rows that the caller may see, from the newest back, and the cursor of the next page (None: that was all).

    account: only its rows; of another account's, the caller sees none. where: a further condition.
    """
    if caller.anonymous:
        return [], None
    columns: Any = model
    conditions = [columns.account == owner for owner in (caller.account, account) if owner is not None]
    conditions += [] if where is None else [where]
    conditions += [] if cursor is None else [columns.id < cursor]
    query = model.select().where(*conditions) if conditions else model.select()
    rows: list[Any] = engine.db.all(query.order_by(columns.id.desc()).limit(limit + 1))
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None
