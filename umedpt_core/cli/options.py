"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import ConfigError

options_option = click.option(
    "--option", "options", multiple=True, metavar="KEY=VALUE", help="A task's option; repeatable."
)
root_option = click.option(
    "--root", type=click.Path(path_type=Path), help="The folder of the task's data."
)
settings_option = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key; repeatable."
)
data_root_option = click.option(
    "--data-root",
    envvar="UMEDPT_DATA",
    type=click.Path(path_type=Path),
    help="Folder with one folder a dataset.  [env: UMEDPT_DATA]",
)
roots_option = click.option(
    "--root", "roots", multiple=True, metavar="TASK=DIR", help="One task's data; repeatable."
)
exclude_option = click.option(
    "--exclude", multiple=True, metavar="SELECTOR", help="Take tasks away; repeatable."
)


def parse_options(options: tuple[str, ...], name: str = "--option") -> dict[str, Any]:
    """``KEY=VALUE`` arguments as a mapping; values are YAML.

    Args:
        options: The arguments.
        name: What they were given to, for the messages.

    Raises:
        ConfigError: There is no ``=``, or the value is no YAML.
    """
    import yaml

    found = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise ConfigError(f"{name} '{option}': write it as KEY=VALUE")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"{name} '{option}': the value is no YAML") from error
    return found


def parse_roots(roots: tuple[str, ...]) -> dict[str, str]:
    """``TASK=DIR`` arguments as a mapping."""
    pairs = [root.partition("=") for root in roots]
    for (task, equals, folder), root in zip(pairs, roots, strict=True):
        if not (task and equals and folder):
            raise ConfigError(f"--root '{root}': write it as TASK=DIR")
    return {task: folder for task, _, folder in pairs}
