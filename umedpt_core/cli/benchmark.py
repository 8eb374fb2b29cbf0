"""umedpt benchmark: how much labelled data pretraining saves."""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS = {
    "run": "benchmark_run:run",
    "report": "benchmark_report:report",
    "selection": "benchmark_selection:selection",
}


class _Lazy(click.Group):
    """Imports a command when it is used or described."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"..{module}", __name__), attribute)
        return command


@click.group(cls=_Lazy)
def benchmark() -> None:
    """Compare models on tasks with ever less labelled data."""
