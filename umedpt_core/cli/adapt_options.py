"""The options of the commands that adapt models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ..transfer.settings import AdaptSettings

_RATE = click.FloatRange(0, 10, min_open=True)
_OPTIONS: dict[str, tuple[Any, str]] = {
    "epochs": (click.IntRange(1), "Of the head, and of what follows."),
    "updates": (click.IntRange(1), "At most so many updates in what follows."),
    "batch_size": (click.IntRange(1), "Instances."),
    "image_size": (click.IntRange(32), "Side of a square; else as the task says."),
    "augmentation": (str, "Profile in what follows, or none; else the task's own."),
    "probe_lr": (_RATE, "Rate of the head on fixed blocks."),
    "head_lr": (_RATE, "Rate of the head in what follows."),
    "lr": (_RATE, "Rate of the shared blocks in what follows."),
    "seed": (click.IntRange(0), "Of all that is random."),
    "resamples": (click.IntRange(0), "Bootstrap resamples; 0: no intervals."),
}


val_option = click.option(
    "--val",
    is_flag=True,
    default=None,
    help="Keep the epoch that is best on a tenth, by patient; else the last.",
)


def settings_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of :class:`AdaptSettings`, mode and val aside; None where one is not given."""
    for name, (kind, help_text) in reversed(_OPTIONS.items()):
        default = AdaptSettings.model_fields[name].default
        shown = "" if default is None else f"  [default: {default}]"
        option = click.option(f"--{name.replace('_', '-')}", type=kind, help=help_text + shown)
        command = option(command)
    return command
