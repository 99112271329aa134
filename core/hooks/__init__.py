"""What plugins may implement: one module per kind, each with its values and its hook specifications.

`hookspec` is pluggy's marker with a policy attached: what the engine does when an implementation fails, how long it may take,
and whether it may use the network. `core.engine.plugins` calls hooks by that policy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import pluggy

PROJECT = "puesto"
hookimpl = pluggy.HookimplMarker(PROJECT)
_spec = pluggy.HookspecMarker(PROJECT)
F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True)
class HookPolicy:
    """How a hook is called.

    failure:  `closed`: the request fails and names the plugin; `skip`: go on, with a warning in the answer;
              `retry`: called from the outbox after commit, again and again until it succeeds or is parked.
    deadline: seconds an implementation may take. Enforced where `network` is true.
    network:  whether an implementation may talk to other machines.
    """

    failure: Literal["closed", "skip", "retry"]
    deadline: float
    network: bool
    firstresult: bool


def hookspec(
    *, failure: Literal["closed", "skip", "retry"], deadline: float = 1.0, network: bool = False, firstresult: bool = False
) -> Callable[[F], F]:
    """Declare a hook with its policy. See `HookPolicy`."""

    def mark(function: F) -> F:
        function.puesto_policy = HookPolicy(failure, deadline, network, firstresult)  # type: ignore[attr-defined]
        return _spec(function, firstresult=firstresult)

    return mark
