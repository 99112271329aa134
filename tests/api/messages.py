"""The sentences that the code can say to clients, read from its source."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text())
    for folder, pattern in (("core", "**/*.py"), ("api", "*.py"), ("plugins/tax_vat", "*.py"))
    for path in sorted((ROOT / folder).glob(pattern))
}
# A setting that is wrong stops the start: the command line says so, in English, and no client ever hears of it.
UNHEARD = {"SettingsInvalid"}
ASSIGNMENTS = (ast.Assign, ast.AnnAssign)
HTTP_ERRORS = {"BadRequest", "UnsupportedMediaType"}
# Where a file takes its templates from, if they are not written at its errors: a function or variable of some file.
ELSEWHERE = {
    "core/accounts.py": ("core/accounts.py", "rules"),
    "core/carts.py": ("core/subscriptions.py", "trial_refusal"),
    "plugins/tax_vat/formats.py": ("plugins/tax_vat/formats.py", "_PROBLEMS"),
    "plugins/tax_vat/vat.py": ("plugins/tax_vat/vat.py", "NUMBER_WARNINGS"),
}
# These hand on what others said.
MESSENGERS = {"core/errors.py", "api/languages.py", "api/problems.py", "api/schemas.py"}


def nodes(kind, sources=SOURCES):
    return ((file, node) for file, tree in sources.items() for node in ast.walk(tree) if isinstance(node, kind))


def called(node):
    return ast.unparse(node.func).rpartition(".")[2]


def strings(node):
    return {each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def error_classes():
    """PuestoError and whatever derives from it, as class statements by name."""
    statements = {node.name: node for _, node in nodes(ast.ClassDef)}
    found = {"PuestoError"}
    while more := {name for name, node in statements.items() if name not in found and found & {ast.unparse(b) for b in node.bases}}:
        found |= more
    return {name: statements[name] for name in found}


def titles():
    """The title of every error."""
    assigned = (part for node in error_classes().values() for part in node.body if isinstance(part, ASSIGNMENTS))
    return {part.value.value for part in assigned if "title" in targets(part)}


def targets(assignment):
    return {ast.unparse(each) for each in getattr(assignment, "targets", None) or [assignment.target]}


def sayings(names):
    """(file, first argument) of each call of one of `names`."""
    return [(file, node.args[0]) for file, node in nodes(ast.Call) if called(node) in names and node.args]


def templates():
    """Every template of an error or a Message; those of SettingsInvalid aside."""
    said = sayings((error_classes().keys() | {"Message"}) - UNHEARD)
    written = {argument.value for _, argument in said if isinstance(argument, ast.Constant)}
    return written | {text for place in ELSEWHERE.values() for text in held_by(*place) if " " in text}


def held_by(file, name):
    """The texts of a function, but for its docstring, or of a variable."""
    for node in ast.walk(SOURCES[file]):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return strings(node) - {ast.get_docstring(node, clean=False)}
        if isinstance(node, ASSIGNMENTS) and name in targets(node):
            return strings(node)
    raise LookupError(f"{name} has gone from {file}: look where its sentences are now")


def unread():
    """Files that take a template from somewhere else than ELSEWHERE says."""
    said = sayings((error_classes().keys() | {"Message"}) - UNHEARD)
    return {file for file, argument in said if not isinstance(argument, ast.Constant)} - ELSEWHERE.keys() - MESSENGERS


def kinds():
    """What `There is no {kind} {id}.` can name: literals, and the tables whose rows are looked up for a caller."""
    literal = {argument.value for _, argument in sayings({"missing"}) if isinstance(argument, ast.Constant)}
    tables = {ast.unparse(node.args[1]) for _, node in nodes(ast.Call) if called(node) == "find" and len(node.args) > 1}
    return literal | {name.rpartition(".")[2].lower() for name in tables if name.rpartition(".")[2][0].isupper()}


def library_sentences():
    """Our own sentences that go the way of a library's: filled before anybody translates them."""
    said = sayings(HTTP_ERRORS) + [(file, argument) for file, argument in sayings({"ValidationError"}) if file.startswith("api/")]
    return {argument.value for _, argument in said if isinstance(argument, ast.Constant)} | {"There is nothing here."}
