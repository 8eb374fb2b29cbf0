"""What is not there and what to do: plugins to install, names to spell right, data to get."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .hookspecs import KINDS

if TYPE_CHECKING:
    from .catalogue import Catalogue, Entry
    from .specs import TaskSpec

INSTALL = "try: pip install "
"""How the catalogue advises where a plugin is simply not there."""
UNSET = "$UMEDPT_DATA"
"""Stands for the data root where none is set."""


def advice(catalogue: Catalogue, kind: str, name: str) -> str:
    """What to do about a name that nobody registers: install, mend or spell it right."""
    for plugin in catalogue.plugins:
        for clash in plugin.clashes:
            if clash.startswith(f"{kind} '{name}' "):
                remedy = "uninstall or block one" if clash.endswith(" too") else "mend it"
                return f"{plugin.distribution}: {clash}; {remedy}"
    prefix = KINDS[kind][2]
    for plugin in sorted(catalogue.plugins, key=lambda p: -len(p.distribution)):
        owner = plugin.distribution.removeprefix(prefix)
        if plugin.status == "ok" or not (name == owner or name.startswith(f"{owner}-")):
            continue
        owner = f"{plugin.distribution}, which brings it, is {plugin.status}"
        if plugin.status == "blocked":
            return f"{owner} ({plugin.reason}); unblock it"
        return f"{owner}: {plugin.reason}; try: pip install --upgrade {plugin.distribution}"
    names, base = list(catalogue.of_kind(kind)), name
    if kind == "task":  # a suffix, such as -classification, makes no two datasets alike
        base = name.split("-")[0]
        slugs = {each: each.split("-")[0] for each in names}
        likely = difflib.get_close_matches(base, {*slugs.values()}, cutoff=0.75)
        names = [each for each, slug in slugs.items() if slug in likely]
    if near := difflib.get_close_matches(name, names, n=1, cutoff=0.75):
        return f"did you mean '{near[0]}'?"
    installed = {plugin.distribution for plugin in catalogue.plugins}
    if prefix + base in installed:
        listing = {"task": "tasks", "label type": "label-types"}.get(kind, f"{kind}s")
        return f"see 'umedpt {listing}' for what {prefix}{base} brings"
    return f"{INSTALL}{prefix}{base}"


def missing_tasks(catalogue: Catalogue, names: Iterable[str]) -> str:
    """A line for the tasks that are not installed, with one pip command, and one for each broken.

    Empty where all are there.
    """
    found = {name: advice(catalogue, "task", name) for name in names if name not in catalogue.tasks}
    simple = {name: text for name, text in found.items() if text.startswith(INSTALL)}
    lines = [f"no task named '{n}'; {text}" for n, text in found.items() if n not in simple]
    if simple:
        named = ", ".join(f"'{name}'" for name in simple)
        packages = dict.fromkeys(text.removeprefix(INSTALL) for text in simple.values())
        lines.insert(0, f"no task named {named}; {INSTALL}{' '.join(packages)}")
    return "\n".join(lines)


def data_folder(
    entry: Entry[TaskSpec], root: Path | str | None, data_root: Path | str | None
) -> Path | None:
    """Where the data of a task belongs, there or not; None where it needs none.

    Args:
        entry: The task.
        root: The folder, given for this task.
        data_root: A folder with one folder a plugin slug; default: ``UMEDPT_DATA``.
    """
    if root is not None:
        return Path(root)
    if not entry.spec.source.on_disk:
        return None
    return Path(data_root or os.environ.get("UMEDPT_DATA") or UNSET) / entry.slug


def missing_folder(
    entry: Entry[TaskSpec], root: Path | str | None, data_root: Path | str | None
) -> Path | None:
    """As :func:`data_folder`, where the folder is needed and not there; else None."""
    folder = data_folder(entry, root, data_root)
    return folder if folder and not folder.is_dir() else None


def missing_data(
    tasks: Iterable[tuple[Entry[TaskSpec], Path | str | None]], data_root: Path | str | None
) -> str:
    """How to get the data of tasks that is not there; a few lines a folder, empty where all is.

    Args:
        tasks: Tasks, each with the folder that was given for it, if any.
        data_root: See :func:`data_folder`.
    """
    lacking: dict[Path, list[TaskSpec]] = {}
    for entry, root in tasks:
        if folder := missing_folder(entry, root, data_root):
            lacking.setdefault(folder, []).append(entry.spec)
    several = len(lacking) > 1
    lines = []
    for folder, specs in lacking.items():
        source = specs[0].source
        steps = (f"umedpt data fetch {specs[0].name}",) if source.archives else source.steps
        names = ", ".join(spec.name for spec in specs)
        lines.append(f"no data for {names} at {folder}; to get it:")
        if several and len(steps) > 1:
            lines += [f"  {number}. {step}" for number, step in enumerate(steps, 1)]
        else:
            lines[-1] += f" {'; '.join(steps)}"
    if any(UNSET in folder.parts for folder in lacking):
        lines.append(
            "no data root; set --data-root or UMEDPT_DATA to the folder that holds one folder a "
            "dataset"
        )
    return ("\n" if several else "; ").join(lines)
