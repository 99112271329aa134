"""The OpenAPI document: valid, complete, and steady for whoever generates a client from it."""

import pytest
from openapi_spec_validator import validate

from api.problems import problem_types
from tests.api.contract import PROBLEM, contract, operations
from tests.api.scene import names
from tests.api.shared_shop import shared_shop

shop, client, scene = shared_shop()

# Generated clients name their functions after these: to change one breaks them.
OPERATIONS = """
    list_products get_product
    create_account get_account change_account put_tax_id add_user list_users get_user change_user remove_user
    add_payment_method list_payment_methods get_payment_method change_payment_method delete_payment_method create_token
    create_cart get_cart change_cart delete_cart add_cart_line change_cart_line remove_cart_line claim_cart merge_carts get_quote check_out
    list_orders get_order confirm_order cancel_order capture_order void_order refund_order return_from_provider
    left_at_provider
    list_subscriptions get_subscription get_timeline cancel_subscription reactivate_subscription preview_change change_subscription
    pay_past_due drop_change pause_subscription resume_subscription extend_trial
    list_seats assign_seats assign_seat release_seat check_entitlement
    list_invoices get_invoice print_invoice void_invoice write_off_invoice receive_webhook read_balance
    alive ready list_stuck_cases list_events move_clock metrics
    list_problems explain_problem
""".split()  # noqa: SIM905
# Objects whose members are not ours to name: what a provider's script gives the client, and the documents of an event.
FREE = {("Action", "data"), ("Confirm", "data"), ("Event", "data"), ("Payment", "instructions"), ("Invoice", "payment_instructions")}
FREE |= {("Settlement", "instructions")}
# Whatever a quote shows: a number, a text, a period.
ANY_VALUE = {("Change", "was"), ("Change", "now")}
PAGES = ("return_from_provider", "left_at_provider", "list_problems", "explain_problem")
TEXTS = {**dict.fromkeys(PAGES, "text/html"), "metrics": "text/plain", "print_invoice": "application/pdf"}


def schemas():
    return contract().document["components"]["schemas"]


def properties():
    return [(schema, name, spec) for schema, whole in schemas().items() for name, spec in whole.get("properties", {}).items()]


def is_input(name):
    used = {operation.spec["requestBody"]["content"]["application/json"]["schema"]["$ref"] for operation in operations(takes_body)}
    return f"#/components/schemas/{name}" in used


def takes_body(operation):
    return "requestBody" in operation.spec


def test_the_document_is_valid_openapi_3_1(client):
    document = client.get("/openapi.json").json

    validate(document)
    assert document["openapi"] == "3.1.0"
    assert document == contract().document


def test_operation_ids_stay():
    assert sorted(contract().operations) == sorted(OPERATIONS)


def test_every_route_of_the_api_is_in_it(client):
    routes = {
        (rule.rule.replace("<", "{").replace(">", "}"), method) for rule in client.app.url_map.iter_rules() for method in rule.methods
    }
    hidden = {(path, method) for path, method in routes if path.startswith("/v1/") and method not in ("HEAD", "OPTIONS")}

    assert hidden - {(operation.path, operation.method) for operation in operations()} == set()


@pytest.mark.parametrize("operation", operations(), ids=str)
def test_an_operation_says_what_it_is_for_takes_and_gives(operation):
    document, spec = contract().document, operation.spec
    [good] = [status for status in spec["responses"] if status != "default"]
    answer = spec["responses"][good]

    assert spec["summary"][0].isupper() and len(spec["summary"]) < 100
    assert set(spec["tags"]) <= {tag["name"] for tag in document["tags"]}
    assert {name for way in spec.get("security", ()) for name in way} <= document["components"]["securitySchemes"].keys()
    assert [each["name"] for each in spec_parameters(operation) if each["in"] == "path"] == names(operation.path)
    assert spec["responses"]["default"] == {"$ref": "#/components/responses/DEFAULT_ERROR"}
    assert ("content" in answer) == (good != "204")
    assert [*answer.get("content", {})] == ([] if good == "204" else [TEXTS.get(operation.id, "application/json")])
    assert ("Location" in answer.get("headers", {})) == (good == "201")


def spec_parameters(operation):
    return contract().document["paths"][operation.path].get("parameters", [])


def test_tags_are_described_and_used():
    used = {tag for operation in operations() for tag in operation.spec["tags"]}

    assert {tag["name"] for tag in contract().document["tags"] if tag["description"]} == used


def test_every_field_has_a_type():
    untyped = {(schema, name) for schema, name, spec in properties() if not spec.keys() & {"type", "$ref", "anyOf"}}
    bare = {(schema, name) for schema, name, spec in properties() if "object" in kinds_of(spec)}
    lists = [
        (schema, name) for schema, name, spec in properties() if "array" in kinds_of(spec) and not spec["items"].keys() & {"type", "$ref"}
    ]

    assert (untyped, bare, lists) == (ANY_VALUE, FREE, [])


def kinds_of(spec):
    return [spec.get("type")] if isinstance(spec.get("type"), str) else spec.get("type", [])


def test_what_is_read_is_closed_and_what_is_sent_may_grow():
    shared = {"Address", "Representative"}  # as they were given
    closed = {name for name, schema in schemas().items() if schema.get("additionalProperties") is False}

    assert {name for name in schemas() if is_input(name)} <= closed
    assert closed & {name for name in schemas() if name.endswith("Problem")} == set()
    assert closed & {"Account", "Cart", "Order", "Quote", "Subscription", "Invoice", "Product"} == set()
    assert shared <= closed


def test_every_problem_type_has_a_schema_that_the_type_tells_apart():
    told_apart = schemas()["Problem"]["discriminator"]["mapping"]

    assert told_apart.keys() == {f"/problems/{code}" for code in problem_types()} | {"about:blank"}
    for type_, reference in told_apart.items():
        schema = schemas()[reference.rpartition("/")[2]]
        assert schema["properties"]["type"]["enum"] == [type_]
        assert {"type", "title", "status", "detail", "instance"} <= set(schema["required"])
    assert contract().error["content"] == {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}


def test_the_introduction_names_the_headers_that_matter():
    text = contract().document["info"]["description"]

    headers = ("Authorization", "Cart-Secret", "Accept-Language", "Idempotency-Key", "If-Match", "If-None-Match", "X-Request-Id")
    assert [header for header in headers if f"`{header}" not in text] == []
