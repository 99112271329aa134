"""The engine itself: what plugins may add around it."""

from __future__ import annotations

from core.hooks import hookspec


class EngineHooks:
    """Hooks for the tools around an engine."""

    @hookspec(failure="closed")
    def register_commands(self) -> list[object]:  # type: ignore[empty-body]
        """Add commands to the command line.

        Called:  when `puesto` looks for a command that is none of its own, or lists them; no network calls here.
        Returns: click commands, whose names no other has.
        Errors:  anything raised leaves `puesto` without the commands of plugins.
        Failure: closed - the command does not run, and the error names the plugin.
        """
