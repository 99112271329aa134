"""A gateway that goes wrong on demand: the sandbox with its real books, whose methods do what `instead` says."""

import threading
from typing import Any

from plugins.payments.sandbox import SandboxProvider, SandboxSettings
from puesto import hookimpl

VERBS = ("initiate", "confirm", "cancel", "capture", "retrieve", "refund")
METHODS = {f"{verb}_payment" for verb in VERBS} | {"save_method", "delete_method"}


class Gateway(SandboxProvider):
    """`instead["initiate_payment"] = fault` makes that method do fault(real, *arguments); `calls` names what was called."""

    deadline = 20.0

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self.instead: dict[str, Any] = {}
        self.calls: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        real = super().__getattribute__(name)
        if name not in METHODS:
            return real
        return lambda *arguments: self._do(name, real, arguments)

    def _do(self, name: str, real: Any, arguments: tuple[Any, ...]) -> Any:
        self.calls.append(name)
        return self.instead[name](real, *arguments) if name in self.instead else real(*arguments)


class GatewayPlugin:
    """Stands in for the installed plugin `sandbox`: open_shop(plugins={"sandbox": GatewayPlugin})."""

    settings_schema = SandboxSettings

    def __init__(self, context: Any) -> None:
        self._context = context

    @hookimpl
    def register_payment_providers(self) -> list[SandboxProvider]:
        return [Gateway(self._context)]


class SparePlugin(GatewayPlugin):
    """The gateway once more, with books of its own, as the provider `spare`: open_shop(plugins={"spare": SparePlugin})."""

    @hookimpl
    def register_payment_providers(self) -> list[SandboxProvider]:
        return [type("Spare", (Gateway,), {"name": "spare"})(self._context)]


def raises(error: BaseException) -> Any:
    """A fault: nothing is done, and this is raised."""

    def fault(_real: Any, *_arguments: Any) -> Any:
        raise error

    return fault


def answers(value: Any) -> Any:
    """A fault: it is done, and this is answered."""

    def fault(real: Any, *arguments: Any) -> Any:
        real(*arguments)
        return value

    return fault


def hangs(until: threading.Event) -> Any:
    """A fault: it is done, and not answered before `until`."""

    def fault(real: Any, *arguments: Any) -> Any:
        answer = real(*arguments)
        until.wait(30)
        return answer

    return fault
