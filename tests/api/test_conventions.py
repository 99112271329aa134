"""What holds for every operation: request ids, locations, unknown fields, ids and methods."""

import json

import pytest

from tests.api.contract import operations
from tests.api.scene import BODIES, Scene, names
from tests.api.shared_shop import shared_shop
from tests.conftest import Client, problem

shop, client, scene = shared_shop()

WITH_BODY = operations(lambda operation: "requestBody" in operation.spec)
WITH_IDS = operations(lambda operation: bool(names(operation.path)))
ODD_IDS = ("nothing_1", "acc_", "é🛒", "%00", "..%2F..%2Fetc", "x" * 10_000, "'; DROP TABLE account; --", "%E2%80%AE", "%FF", "%20", "null")


def test_every_operation_with_a_body_is_in_the_tables():
    assert BODIES.keys() == {operation.id for operation in WITH_BODY}


@pytest.mark.parametrize("given", ["req_1", "a" * 64, "0b8e3f1c-1111-4c6e-9d6e-2f1d6a5b7c8d", "/", "key=value; other"])
def test_a_request_keeps_the_id_that_it_came_with(client, given):
    assert client.get("/v1/products", headers={"X-Request-Id": given}).headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "a" * 65, "é", "\t"])
def test_a_request_without_a_usable_id_gets_one_of_its_own(client, given):
    first, second = (client.get("/nothing", headers={"X-Request-Id": given}).headers["X-Request-Id"] for _ in range(2))

    assert first.startswith("req_") and second.startswith("req_")
    assert first != second


def test_what_was_made_can_be_read_at_its_location(open_shop):
    scene = Scene(Client(open_shop()))
    making = operations(lambda operation: "201" in operation.spec["responses"] and operation.id != "create_token")

    for operation in making:
        made = scene.send(operation)
        read = scene.client.get(made.headers["Location"])

        assert (made.status_code, read.status_code) == (201, 200), operation
        if operation.id not in ("capture_order", "refund_order"):  # these have no address of their own: they are read with the order
            assert read.json["id"] == made.json["id"]


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
def test_an_unknown_field_is_refused(shop, scene, operation):
    path, body = scene.path(operation), {**scene.body(operation), "odd/~field": 1}
    before = shop.contents()

    answer = scene.client.send(operation.method, path, body)

    assert problem(answer) == (422, "validation-failed", "/odd~1~0field")
    assert shop.contents() == before


@pytest.mark.parametrize("operation", operations(lambda operation: operation.method == "PATCH"), ids=str)
def test_a_change_of_nothing_changes_nothing(shop, scene, operation):
    known, before = scene.client.send("PATCH", scene.path(operation), scene.body(operation)).json, shop.contents()

    answer = scene.client.send("PATCH", scene.path(operation), {})

    assert (answer.status_code, answer.json) == (200, known)
    assert shop.contents() == before


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
@pytest.mark.parametrize("body", [[], "text", 5, None, True], ids=["list", "text", "number", "null", "boolean"])
def test_a_body_that_is_no_object_is_refused(shop, scene, operation, body):
    path = scene.path(operation)
    before = shop.contents()

    answer = scene.client.send(operation.method, path, data=json.dumps(body), content_type="application/json")

    assert problem(answer) == (422, "validation-failed", "")
    assert shop.contents() == before


@pytest.mark.parametrize("operation", WITH_IDS, ids=str)
def test_ids_of_nothing_are_not_found(shop, scene, operation):
    body, known = scene.body(operation), scene.path(operation).split("/")
    before = shop.contents()

    for name in names(operation.path):
        parts = operation.path.split("/")
        place = next(index for index, part in enumerate(parts) if f"{{{name}}}" in part)
        for odd in ODD_IDS:
            path = "/".join([*known[:place], parts[place].replace(f"{{{name}}}", odd), *known[place + 1 :]])
            assert problem(scene.client.send(operation.method, path, body))[:2] == (404, "not-found"), path[:100]

    assert shop.contents() == before


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v1/nothing", "/v1/orders/", "/v2/orders", "/docs/nothing.js", "/docs/../app.py"])
def test_a_path_of_nothing_is_not_found(client, path):
    answer = client.get(path)

    assert problem(answer) == (404, "not-found")
    assert answer.json["instance"] == path


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/products", "GET, HEAD, OPTIONS"),
        ("PUT", "/v1/carts", "OPTIONS, POST"),
        ("POST", "/v1/accounts/acc_1", "GET, HEAD, OPTIONS, PATCH"),
        ("PATCH", "/v1/subscriptions/sub_1/seats/usr_1", "DELETE, OPTIONS, PUT"),
        ("GET", "/v1/test-clock", "OPTIONS, POST"),
    ],
)
def test_a_method_that_is_not_there_names_those_that_are(client, method, path, allowed):
    answer = client.send(method, path)

    assert answer.status_code == 405
    assert answer.headers["Allow"] == allowed
    assert answer.json["type"] == "about:blank"
    assert answer.json["title"] == "Method Not Allowed"


def test_a_problem_is_told_in_the_clients_language(client):
    spanish = {"Accept-Language": "es-MX,es;q=0.9,en;q=0.5"}

    found = client.get("/v1/orders/ord_1", headers=spanish).json
    fields = client.post("/v1/carts", {"country": "España", "lines": [{"mode": "rent"}]}, headers=spanish).json
    method = client.delete("/v1/products", headers=spanish).json

    assert (found["title"], found["detail"]) == ("No encontrado", "No existe el pedido ord_1.")
    assert {error["pointer"]: error["detail"] for error in fields["errors"]} == {
        "/country": "La longitud debe ser 2.",
        "/lines/0/mode": "Debe ser uno de: buy, trial, change.",
    }
    assert (method["title"], method["detail"]) == ("Método no permitido", "El método no está permitido para esta dirección.")


def test_names_of_the_catalog_follow_the_language(client):
    def described(language):
        product = client.get("/v1/products/rescue", headers={"Accept-Language": language}).json
        return product["description"], product["plans"][1]["name"], product["plans"][1]["features"][1]

    english = ("Remote support for support desks with many technicians.", "Enterprise", "Live camera view")
    spanish = ("Asistencia remota para centros de soporte con muchos técnicos.", "Gran empresa", "Vista de cámara en directo")

    assert [described(language) for language in ("en", "es", "es-AR", "fr")] == [english, spanish, spanish, english]


def test_a_person_gets_a_page_in_their_language_when_the_bank_sends_them_back(client, scene):
    path = f"/v1/orders/{scene.waiting['id']}/return"

    page = client.get(path, bearer=None, headers={"Accept-Language": "es"}).text

    assert '<html lang="es">' in page
    assert "<h1>Pagado</h1>" in page


def test_who_leaves_the_bank_is_shown_the_way_back_to_it_and_nothing_changes(open_shop):
    client = Client(open_shop())
    scene = Scene(client)
    order, before = scene.waiting, client.shop.rows()
    path = f"/v1/orders/{order['id']}/cancelled"

    page = client.get(path, bearer=None).text

    assert "<h1>Not paid yet</h1>" in page
    assert f'<a href="{order["next_action"]["url"]}">Go on paying</a>' in page.replace("&amp;", "&")
    assert (client.get(f"/v1/orders/{order['id']}").json["status"], client.shop.rows()) == ("requires_action", before)
    client.post(f"/v1/orders/{order['id']}/cancel")
    assert "<h1>Not paid</h1>" in (left := client.get(path, bearer=None).text) and "<a " not in left
    assert client.get("/v1/orders/ord_1/cancelled", bearer=None).status_code == 404


@pytest.mark.only_on("sqlite", reason="a file is what goes bad here; test_database_away.py stops a server")
def test_pages_and_health_are_there_while_the_database_is_away(open_shop):
    client = Client(open_shop())
    client.shop.engine.db.close_all()
    for file in client.shop.folder.glob("shop.db*"):
        file.write_bytes(b"no database" * 1000)

    here = [client.get(path, bearer=None).status_code for path in ("/healthz", "/openapi.json", "/docs", "/problems/not-found")]
    away = [client.get(path, bearer=None) for path in ("/readyz", "/v1/products")]

    assert here == [200] * 4
    assert [problem(answer) for answer in away] == [(503, "database-unavailable")] * 2
    assert {answer.headers["Retry-After"] for answer in away} == {"5"}
