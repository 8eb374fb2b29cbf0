"""Options of the commands that open one task."""

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
