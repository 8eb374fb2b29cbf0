"""The options of the commands that adapt models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

import click
from pydantic import ValidationError

from ..errors import ConfigError
from ..transfer.settings import AdaptSettings, Mode

_OPTIONS: dict[str, tuple[type, str]] = {
    "epochs": (int, "Of the head, and of what follows."),
    "updates": (int, "At most so many updates in what follows."),
    "batch_size": (int, "Instances."),
    "image_size": (int, "Side of a square; else as the task says."),
    "augmentation": (str, "Profile in what follows, or none; else the task's own."),
    "probe_lr": (float, "Rate of the head on fixed blocks."),
    "head_lr": (float, "Rate of the head in what follows."),
    "lr": (float, "Rate of the shared blocks in what follows."),
    "seed": (int, "Of all that is random."),
    "resamples": (int, "Bootstrap resamples; 0: no intervals."),
}


def mode_option(default: Mode) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The option of commands that adapt in one mode."""
    return click.option(
        "--mode",
        type=click.Choice(get_args(Mode)),
        default=default,
        show_default=True,
        help="frozen: the head alone. The others go on from that head.",
    )


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


def make_settings(given: Mapping[str, Any]) -> AdaptSettings:
    """The settings that the options of a command say; None: the default.

    Raises:
        ConfigError: A value is out of range.
    """
    try:
        return AdaptSettings(**{key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        detail = error.errors()[0]
        name = str(detail["loc"][0]).replace("_", "-")
        raise ConfigError(f"--{name}: {detail['msg'].lower()}, got {detail['input']}") from error
