"""ETag, If-None-Match and If-Match: nobody overwrites what they have not read, or reads again what they have."""

import pytest

import core.catalog
from api import kept
from puesto import CartWarning, Message, hookimpl
from tests.api.contract import operations
from tests.api.scene import ONE_EURO, Scene
from tests.conftest import Client, problem

READ = operations(lambda operation: operation.method == "GET")
GUARDED = operations(lambda operation: operation.header("If-Match") is not None)
READER_OF = {  # the operation that gives the tag which the other one takes
    "change_account": "get_account",
    "put_tax_id": "get_account",
    "change_user": "get_user",
    "remove_user": "get_user",
    "change_cart": "get_cart",
    "delete_cart": "get_cart",
    "add_cart_line": "get_cart",
    "change_cart_line": "get_cart",
    "remove_cart_line": "get_cart",
    "cancel_order": "get_order",
    "change_subscription": "get_subscription",
    "drop_change": "get_subscription",
    "cancel_subscription": "get_subscription",
    "reactivate_subscription": "get_subscription",
    "pause_subscription": "get_subscription",
    "extend_trial": "get_subscription",
    "resume_subscription": "get_subscription",
}
BY_ID = {operation.id: operation for operation in operations()}


@pytest.fixture
def scene(client):
    return Scene(client)


def tag_for(scene, operation):
    """The tag of what the operation changes."""
    path = scene.path(operation)
    for id_, before in (("reactivate_subscription", "cancel"), ("resume_subscription", "pause")):
        if operation.id == id_:
            scene.client.post(path.replace(path.rpartition("/")[2], before), {})
    depth = BY_ID[READER_OF[operation.id]].path.count("/") + 1
    return scene.client.get("/".join(path.split("/")[:depth])).headers["ETag"]


def test_whatever_reads_has_a_tag_that_spares_reading_it_again(scene):
    for operation in READ:
        first = scene.send(operation)

        again = scene.send(operation, headers={"If-None-Match": first.headers["ETag"]})

        assert (first.status_code, again.status_code, again.data) == (200, 304, b""), operation
        assert again.headers["ETag"] == first.headers["ETag"]
        assert "Content-Type" not in again.headers


def test_an_answer_says_what_it_depends_on(scene):
    for answer in (scene.send(BY_ID["get_cart"]), scene.client.get("/v1/carts/nothing"), scene.send(BY_ID["create_cart"])):
        assert answer.headers["Vary"] == "Accept-Language, Authorization, Cart-Secret"
        assert answer.headers["Cache-Control"] == "no-cache"


def test_the_tag_of_another_language_is_another(client):
    english = client.get("/v1/products/gotoassist").headers["ETag"]

    spanish = client.get("/v1/products/gotoassist", headers={"Accept-Language": "es", "If-None-Match": english})

    assert spanish.status_code == 200
    assert spanish.json["name"] == "GoToAssist Asistencia remota"


@pytest.mark.parametrize("given", ['"v1"', 'W/"v1"', "nonsense", '"' + "x" * 10_000 + '"', "*, *", '"', "é"])
def test_a_tag_that_is_not_the_present_one_gets_the_answer(client, given):
    assert client.get("/v1/products", headers={"If-None-Match": given}).status_code == 200


def test_head_tells_what_get_would(client):
    read = client.get("/v1/products")

    head = client.head("/v1/products")

    assert (head.status_code, head.data) == (200, b"")
    assert (head.headers["ETag"], head.headers["Content-Length"]) == (read.headers["ETag"], read.headers["Content-Length"])


def test_what_has_a_version_is_guarded():
    assert {operation.id for operation in GUARDED} == READER_OF.keys()


@pytest.mark.parametrize("operation", GUARDED, ids=str)
def test_a_change_of_what_has_moved_is_refused(shop, scene, operation):
    tag = tag_for(scene, operation)
    path, body = scene.path(operation), scene.body(operation)
    before, events = shop.contents(), shop.events()

    stale = scene.client.send(operation.method, path, body, headers={"If-Match": '"v99"'})
    refused = (shop.contents(), shop.events())
    current = scene.client.send(operation.method, path, body, headers={"If-Match": tag})

    assert problem(stale) == (412, "precondition-failed")
    assert refused == (before, events)
    assert current.status_code < 300


@pytest.mark.parametrize("given", ["*", "", "{}", "W/{}", '"v1"'])
def test_a_change_goes_through_with_the_tag_that_was_read(client, shop, given):
    path = f"/v1/accounts/{shop.account.id}"
    tag = client.get(path).headers["ETag"]

    assert client.patch(path, {"name": "Acme"}, headers={"If-Match": given.format(tag)}).status_code == 200


@pytest.mark.parametrize("given", ['"v0"', '"v-1"', '"v1", "v2"', "nonsense", '"v' + "9" * 5_000 + '"', '"v٣"', '"vé"', '"v1.0"', ";"])
def test_a_change_with_any_other_tag_is_refused(client, shop, given):
    path = f"/v1/accounts/{shop.account.id}"

    answer = client.patch(path, {"name": "Other"}, headers={"If-Match": given})

    assert problem(answer) == (412, "precondition-failed")
    assert shop.account.name == "Acme, S.L."


def test_the_tag_after_a_change_is_the_one_of_what_can_be_read(client, shop):
    path = f"/v1/accounts/{shop.account.id}"

    changed = client.patch(path, {"name": "Acme"})

    assert client.get(path, headers={"If-None-Match": changed.headers["ETag"]}).status_code == 304


def test_what_changes_without_a_version_is_read_anew(client, scene):
    path = f"/v1/orders/{scene.paid['id']}"
    before = client.get(path)
    client.post(f"{path}/refunds", {"amount": ONE_EURO, "reason": "goodwill"})

    after = client.get(path, headers={"If-None-Match": before.headers["ETag"]})

    assert (after.status_code, after.json["payment"]["refunded"]) == (200, ONE_EURO)


def test_a_cart_is_read_anew_when_it_is_ordered(client, scene):
    path = f"/v1/carts/{scene.cart['id']}"
    before = client.get(path)
    client.check_out(scene.cart["id"])

    after = client.get(path, headers={"If-None-Match": before.headers["ETag"]})

    assert (after.status_code, after.json["status"]) == (200, "ordered")


def test_a_new_warning_is_not_kept_from_who_has_read_the_cart(open_shop):
    class Announcing:
        soon = False

        @hookimpl
        def find_cart_warnings(self, cart):
            return [CartWarning("maintenance", "", Message("Closed tonight."))] if self.soon else None

    plugin = Announcing()
    scene = Scene(Client(open_shop(plugins={"announcing": plugin})))
    path = f"/v1/carts/{scene.cart['id']}"
    before = scene.client.get(path)
    plugin.soon = True

    after = scene.client.get(path, headers={"If-None-Match": before.headers["ETag"]})

    assert (before.json["warnings"], after.status_code) == ([], 200)
    assert after.json["warnings"] == [{"code": "maintenance", "pointer": "", "detail": "Closed tonight."}]


def test_the_catalog_is_rendered_once_per_address_and_language(client, monkeypatch):
    monkeypatch.setattr(kept, "MOST_KEPT", 4)
    pages = [("/v1/products", "en"), ("/v1/products", "es"), ("/v1/products?limit=1", "en"), ("/v1/products/rescue", "en")]
    first = [client.get(path, headers={"Accept-Language": language}).data for path, language in pages]
    monkeypatch.setattr(core.catalog, "product_document", None)

    again = [client.get(path, headers={"Accept-Language": language}).data for path, language in pages]

    assert again == first
    assert len(set(again)) == 4


def test_strangers_who_ask_in_many_languages_fill_no_memory(client, monkeypatch):
    monkeypatch.setattr(kept, "MOST_KEPT", 2)

    for language in ("en", "es", "fr", "de", "it"):
        assert client.get("/v1/products", headers={"Accept-Language": language}).status_code == 200

    assert len(client.app.extensions[kept.KEPT]) <= 2


def test_who_shows_no_key_gets_the_catalog_that_is_kept_like_that_made_for_them(client, monkeypatch):
    def ask(**headers):
        return client.get("/v1/products", bearer=None, headers={"Accept-Language": "es", **headers})

    first = ask()
    monkeypatch.setattr(client.app, "full_dispatch_request", None)  # what Flask begins with
    again = ask(**{"X-Request-Id": "mine"})
    unchanged = [ask(**{"If-None-Match": tag.format(first.headers["ETag"])}) for tag in ("{}", 'W/{}, "other"', "*")]
    changed = ask(**{"If-None-Match": '"other"'})

    same = ("Content-Type", "Content-Length", "ETag", "Vary", "Cache-Control")
    assert again.data == changed.data == first.data
    assert [again.headers[name] for name in same] == [first.headers[name] for name in same]
    assert (again.headers["X-Request-Id"], len(changed.headers["X-Request-Id"])) == ("mine", 36)
    assert [(answer.status_code, answer.data, answer.headers["ETag"]) for answer in unchanged] == [(304, b"", first.headers["ETag"])] * 3
    assert all("Content-Type" not in answer.headers for answer in unchanged)
