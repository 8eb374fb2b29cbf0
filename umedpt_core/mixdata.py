"""Plain data of a mix: overriding a key, what is wrong with it, how two differ."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import yaml
from pydantic import ValidationError

from .errors import ConfigError


def set_value(content: dict[str, Any], setting: str) -> None:
    """Apply one ``key.sub=value`` to a mix's plain data.

    Raises:
        ConfigError: It is written wrongly, or has no place.
    """
    path, equals, text = setting.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set '{setting}': write it as key.sub=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set '{setting}': the value is no valid YAML") from error
    if isinstance(value, str):  # YAML 1.1 takes 1e-3 for text
        with suppress(ValueError):
            value = float(value)
    *parents, last = path.split(".")
    place: Any = content
    for key in parents:
        if isinstance(place, list):
            found = [item for item in place if isinstance(item, dict) and item.get("task") == key]
            if not found:
                raise ConfigError(f"--set '{setting}': the mix has no task '{key}'")
            place = found[0]
        elif isinstance(place, dict):
            place = place.setdefault(key, {})
        if not isinstance(place, dict | list):
            raise ConfigError(f"--set '{setting}': '{key}' has no keys below it")
    if isinstance(place, list):
        raise ConfigError(f"--set '{setting}': write tasks.NAME.key=value")
    place[last] = value


def first_error(error: ValidationError) -> str:
    """The first thing that is wrong, with its key."""
    detail = error.errors()[0]
    where = ".".join(str(part) for part in detail["loc"] if part not in ("bool", "str"))
    if detail["type"] == "extra_forbidden":
        return f"unknown key '{where}'; see docs/mixes.md for the keys"
    message = detail["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    got = "" if isinstance(detail["input"], dict | list) else f" (got {detail['input']!r})"
    return f"{where}: {message}{got}" if where else message


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """The keys in which the plain data of two mixes differ, each with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif isinstance(old, list) and isinstance(new, list) and path == "tasks":
        there, here = ({entry["task"]: entry for entry in entries} for entries in (old, new))
        yield from differences(there, here, path)
    elif old != new:
        yield f"{path}: {old!r} there, {new!r} here"
