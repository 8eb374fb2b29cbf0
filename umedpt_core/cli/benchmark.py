"""umedpt benchmark: how much labelled data pretraining saves."""

from __future__ import annotations

import click

from . import LazyGroup

COMMANDS = {
    "run": "benchmark_run:run",
    "report": "benchmark_report:report",
    "selection": "benchmark_selection:selection",
}


@click.group(cls=LazyGroup, commands=COMMANDS)
def benchmark() -> None:
    """Compare models on tasks with ever less labelled data."""
