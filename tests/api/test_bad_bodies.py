"""Bodies that are no JSON object of what is wanted: unreadable, too large, of another type, nested without end."""

import io
import json

import pytest

from tests.api.contract import operations
from tests.api.scene import SEAT
from tests.api.shared_shop import shared_shop
from tests.conftest import problem

shop, client, scene = shared_shop()

WITH_BODY = operations(lambda operation: "requestBody" in operation.spec)
UNREADABLE = "The body is no readable JSON."
CART = b'{"country": "ES", "currency": "EUR", "lines": [%s]}'
LINE = b'{"mode": "buy", "plan": "gotomeeting-professional", "interval": "month", "seats": %s}'
BODIES = {
    "no JSON": b"seats=5",
    "cut off": b'{"country": "ES", "curr',
    "two values": b"{} {}",
    "trailing comma": b'{"country": "ES",}',
    "comment": b'{"country": "ES"} // the home country',
    "single quotes": b"{'country': 'ES'}",
    "NaN": CART % (LINE % b"NaN"),
    "Infinity": CART % (LINE % b"Infinity"),
    "-Infinity": CART % (LINE % b"-Infinity"),
    "a number of 5,000 digits": CART % (LINE % (b"9" * 5_000)),
    "a member twice": b'{"country": "ES", "currency": "EUR", "currency": "USD"}',
    "a member twice, far down": CART % b'{"mode": "buy", "seats": 1, "seats": 100}',
    "half a surrogate pair": b'{"country": "ES", "currency": "\\ud83d"}',
    "half a surrogate pair as a name": b'{"\\udc00": 1}',
    "half a surrogate pair, raw": b'{"country": "\xed\xa0\xbd"}',
    "Latin-1": '{"country": "España"}'.encode("latin-1"),
    "a control character": b'{"country": "E\x01"}',
    "10,000 brackets": b"[" * 10_000 + b"]" * 10_000,
    "10,000 braces": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "1,000 brackets in a field": CART % (b"[" * 1_000 + b"]" * 1_000),
    "open brackets": b"[" * 100_000,
    "null bytes": b"\0" * 100,
    "gzip": b"\x1f\x8b\x08\x00" + b"\0" * 20,
}


def send(client, data, content_type="application/json", **options):
    return client.post("/v1/carts", data=data, content_type=content_type, **options)


@pytest.mark.parametrize("data", BODIES.values(), ids=BODIES)
def test_what_is_no_readable_json_is_refused(client, shop, data):
    before = shop.contents()

    answer = send(client, data)

    assert problem(answer) == (400, "validation-failed")
    assert answer.json["detail"] == UNREADABLE
    assert shop.contents() == before


@pytest.mark.parametrize(
    "data",
    [b'{"country": "ES\\u0000", "currency": "EUR"}', b'{"country\\u0000": 1}', b"[" * 400 + b'"\\u0000"' + b"]" * 400],
    ids=["in a text", "in a name", "deep down"],
)
def test_a_null_character_is_refused(client, shop, data):
    before = shop.contents()

    answer = send(client, data)

    assert problem(answer) == (400, "validation-failed")
    assert answer.json["detail"] == "The body has a text with a null character."
    assert shop.contents() == before


def test_a_deep_value_that_is_readable_is_a_wrong_field(client, shop):
    before = shop.contents()

    answer = send(client, b'{"country": "ES", "currency": "EUR", "lines": ' + b"[" * 400 + b"]" * 400 + b"}")

    assert problem(answer) == (422, "validation-failed", "/lines/0")
    assert shop.contents() == before


def test_a_number_beyond_all_floats_is_no_number_of_seats(client, shop):
    before = shop.contents()

    answer = send(client, CART % (LINE % b"1e400"))

    assert problem(answer) == (422, "validation-failed", "/lines/0/seats")
    assert shop.contents() == before


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
def test_ten_megabytes_are_too_many(shop, scene, operation):
    path, before = scene.path(operation), shop.contents()

    answer = scene.client.send(operation.method, path, data=b'{"name": "' + b"x" * 10_000_000 + b'"}', content_type="application/json")

    assert problem(answer) == (413, "validation-failed")
    assert shop.contents() == before


def test_a_body_that_does_not_tell_its_length_is_not_read_for_ever(client, shop):
    class Endless(io.RawIOBase):
        def readinto(self, buffer):
            return len(buffer)

    before = shop.contents()

    chunked = {"wsgi.input": Endless(), "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    answer = client.post("/v1/carts", content_type="application/json", environ_overrides=chunked)

    assert problem(answer) == (413, "validation-failed")
    assert shop.contents() == before


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "", "json", "x" * 1_000])
def test_another_content_type_is_refused(shop, scene, operation, content_type):
    path, data, before = scene.path(operation), json.dumps(scene.body(operation)), shop.contents()

    answer = scene.client.send(operation.method, path, data=data, content_type=content_type)

    assert problem(answer) == (415, "validation-failed")
    assert shop.contents() == before


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;odd"])
def test_json_is_json_however_it_is_labelled(client, content_type):
    assert send(client, b'{"country": "ES", "currency": "EUR"}', content_type).status_code == 201


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_json_comes_in_any_unicode_encoding(client, encoding):
    assert send(client, '{"country": "ES", "currency": "EUR"}'.encode(encoding)).status_code == 201


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", None])
def test_an_empty_body_is_no_body(client, shop, scene, content_type):
    before = shop.contents()
    needs_fields = send(client, b"", content_type)
    unchanged = shop.contents()

    needs_none = client.post(f"/v1/subscriptions/{scene.subscription.id}/cancel", data=b"", content_type=content_type)

    assert problem(needs_fields) == (422, "validation-failed", "/account")
    assert unchanged == before
    assert needs_none.status_code == 200


def test_a_body_where_none_is_read_is_still_json(client, shop, scene):
    path = f"/v1/subscriptions/{scene.subscription.id}/reactivate"

    assert problem(client.post(path, data=b"{", content_type="application/json")) == (400, "validation-failed")


def test_a_body_of_a_get_is_passed_over(client):
    assert client.get("/v1/products", data=b"{", content_type="text/plain").status_code == 200


def test_a_body_of_just_under_a_megabyte_is_read(client, shop):
    body = {"country": "ES", "currency": "EUR", "lines": [SEAT] * 50}
    before = shop.rows()

    answer = send(client, json.dumps(body).encode().ljust(1_000_000))
    too_large = send(client, json.dumps(body).encode().ljust(1_000_001))

    assert (answer.status_code, problem(too_large)) == (201, (413, "validation-failed"))
    assert shop.rows() == {**before, "cart": before["cart"] + 1, "cart_line": before["cart_line"] + 50}
