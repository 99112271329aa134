import pytest

CLASH = """
from puesto import Plan, Price, Product, eur, hookimpl

@hookimpl
def register_products():
    plan = Plan(id="other-standard", name={"en": "Standard"}, tier=1, prices=(Price.per_seat("month", eur("1.00")),), features={})
    return [Product(id="rescue", name={"en": "Other"}, description={"en": "Other"}, plans=(plan,))]
"""


def listed(puesto, **settings):
    """name -> the rest of its line."""
    lines = puesto("plugins", **settings).stdout.splitlines()
    assert lines[0].split() == ["name", "source", "enabled", "order", "hooks", "problem"]
    return {line.split()[0]: " ".join(line.split()[1:]) for line in lines[1:]}


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """Install a plugin `other` whose product is called as one of the bundled ones is."""
    site = tmp_path.parent / f"{tmp_path.name}-site"
    (site / "other-1.0.dist-info").mkdir(parents=True)
    (site / "other-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (site / "other-1.0.dist-info" / "entry_points.txt").write_text("[puesto]\nother = other_product\n")
    (site / "other_product.py").write_text(CLASH)
    monkeypatch.syspath_prepend(site)


def test_the_table_shows_source_order_and_hooks(puesto):
    found = listed(puesto, PUESTO_ENABLED="rescue,vat,vat_rates")

    assert found["rescue"] == "puesto (plugins.products.rescue:Rescue) yes 1 provision, register_products -"
    assert found["vat_rates"].startswith("puesto (plugins.tax_vat.rates) yes 3 find_tax_rate")
    assert " no - " in found["email"]


def test_a_plugin_says_of_itself_what_it_does_not_do(puesto):
    account = {"IBAN": "ES9121000418450200051332", "ACCOUNT_NAME": "Acme"}
    silent = listed(puesto, **{f"PUESTO_PLUGINS__BANK_TRANSFER__{name}": value for name, value in account.items()})

    assert listed(puesto)["bank_transfer"].endswith("rests until plugins.bank_transfer.iban is set")
    assert silent["bank_transfer"].endswith(" -")


def test_looking_leaves_nothing_behind(puesto, tmp_path):
    puesto("plugins")
    puesto("plugins", "check")

    assert list(tmp_path.iterdir()) == []


def test_check_says_that_all_is_well(puesto):
    result = puesto("plugins", "check")

    assert (result.exit_code, result.stdout) == (0, "all well\n")


def test_check_names_the_setting_that_is_wrong(puesto):
    result = puesto("plugins", "check", PUESTO_PLUGINS__SANDBOX__SLOW="3")

    assert (result.exit_code, result.stdout) == (1, "sandbox: setting plugins.sandbox.slow: there is no such setting\n")
    assert "setting plugins.sandbox.slow" in listed(puesto, PUESTO_PLUGINS__SANDBOX__SLOW="3")["sandbox"]


def test_a_secret_that_is_written_out_is_refused_and_not_shown(puesto):
    result = puesto("plugins", "check", PUESTO_PLUGINS__EMAIL__SMTP_PASSWORD="hunter2")

    assert result.exit_code == 1 and "email: setting plugins.email.smtp_password" in result.stdout
    assert "hunter2" not in result.output + puesto("plugins", PUESTO_PLUGINS__EMAIL__SMTP_PASSWORD="hunter2").output


def test_check_names_a_plugin_that_is_not_installed(puesto):
    result = puesto("plugins", "check", PUESTO_ENABLED="vat,vat_rates,nope")

    assert result.exit_code == 1
    [line] = result.stdout.splitlines()
    assert line.startswith("nope: ")


def test_check_finds_two_plugins_with_the_same_product(puesto, foreign):
    result = puesto("plugins", "check", PUESTO_ENABLED="rescue,other")

    assert (result.exit_code, result.stdout) == (1, "other: plugin other: the product rescue is registered already\n")


def test_a_plugin_that_waits_to_be_set_up_says_so_and_is_no_problem(puesto):
    assert listed(puesto)["stripe"].endswith("register_payment_providers rests until plugins.stripe.secret_key is set")
    assert puesto("plugins", "check").exit_code == 0


def test_the_password_of_the_queue_is_not_shown(puesto, caplog):
    shown = puesto("plugins", PUESTO_JOBS="redis://:hunter2@127.0.0.1:1/0")

    assert shown.exit_code == 0
    assert "hunter2" not in shown.output + caplog.text
