"""Choosing tasks by what is known of them: ``suite:umedpt+commercial:yes``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from .errors import ConfigError

if TYPE_CHECKING:
    from .catalogue import Catalogue, Entry
    from .specs import TaskSpec


def select(
    catalogue: Catalogue,
    selectors: Iterable[str],
    exclude: Iterable[str] = (),
    names: Iterable[str] = (),
) -> list[str]:
    """See :meth:`.Catalogue.select`."""
    chosen = set(names)
    for selector in selectors:
        matched = _matching(catalogue.tasks, selector)
        if not matched:
            if re.fullmatch(r"[a-z0-9-]+", selector):
                catalogue.find("task", selector)  # says what to install
            raise ConfigError(f"selector '{selector}' matches no task; see 'umedpt tasks'")
        chosen |= matched
    for selector in exclude:
        chosen -= _matching(catalogue.tasks, selector)
        chosen -= {name for name in chosen if fnmatchcase(name, selector)}
    return sorted(chosen)


def _matching(tasks: dict[str, Entry[TaskSpec]], selector: str) -> set[str]:
    parts = selector.split("+")
    return {name for name, entry in tasks.items() if all(_fits(entry, part) for part in parts)}


def _fits(entry: Entry[TaskSpec], part: str) -> bool:
    key, colon, value = part.partition(":")
    spec = entry.spec
    if not colon:
        return fnmatchcase(spec.name, part)
    facts: dict[str, list[str]] = {
        "label": [spec.label_type],
        "modality": [spec.modality.lower()],
        "suite": list(spec.suites),
        "access": [spec.source.access],
        "commercial": [spec.source.commercial],
        "dist": [entry.distribution],
    }
    if key not in facts:
        raise ConfigError(
            f"selector '{part}' has the unknown key '{key}'; use one of {', '.join(facts)}"
        )
    return (value.lower() if key == "modality" else value) in facts[key]
