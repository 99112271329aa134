"""Writes docs/hooks.md, the reference of hooks, from the hook specifications. A test holds the page against them.

usage: python docs/make_hooks.py
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from core.engine.plugins import HOOK_KINDS
from core.hooks import HookPolicy

PAGE = Path(__file__).parent / "hooks.md"
HEAD = """\
# Hooks

What a plugin may implement, made from the specifications in `core/hooks/` by `python docs/make_hooks.py`. Import everything from `puesto`.
An implementation may name fewer arguments than the specification has.

A hook's name tells how it is called: `register_...` once at start; a question (`calculate_tax`) takes the first answer; `find_...`
collects every answer; the past tense (`order_completed`) is news, after commit. What happens when an implementation fails:

- **closed**: the request fails, and the answer names plugin and hook.
- **skip**: the request goes on, with a warning in the answer that names the plugin.
- **retry**: the hook is called again from the outbox, later and later, and parked after the last attempt.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for kind in HOOK_KINDS:
        parts.append(f"## {kind.__module__.rpartition('.')[2].capitalize()}\n\n{inspect.getdoc(kind)}\n")
        parts += [_hook(name, member) for name, member in vars(kind).items() if hasattr(member, "puesto_policy")]
    return "\n".join(parts)


def _hook(name: str, specification: object) -> str:
    policy: HookPolicy = specification.puesto_policy  # type: ignore[attr-defined]
    signature = inspect.signature(specification)  # type: ignore[arg-type]
    arguments = [f"{argument.name}: {argument.annotation}" for argument in signature.parameters.values() if argument.name != "self"]
    network = f" It may use the network, for up to {policy.deadline:g} s." if policy.network else ""
    summary, *rest = re.split(r"\n\n", inspect.getdoc(specification) or "", maxsplit=1)
    head = f"### {name}\n\n```python\n{name}({', '.join(arguments)}) -> {signature.return_annotation}\n```\n"
    return f"{head}\n{summary}{network}\n\n" + "".join(f"```text\n{text}\n```\n" for text in rest)


if __name__ == "__main__":
    PAGE.write_text(page())
