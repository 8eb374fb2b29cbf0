"""Listings of what the installed plugins bring: tables, pages and JSON."""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from umedpt_core.cli import Settings
from umedpt_core.cli.options import exclude_option

if TYPE_CHECKING:
    from rich.console import Console

    from umedpt_core.catalogue import Catalogue, Entry

Row = dict[str, Any]

EXAMPLES = {
    # kind: a first-party distribution that brings one, for who has none
    "task": "umedpt-task-shapes",
    "label type": "umedpt-label-classification",
    "augmentation": "umedpt-augment-standard",
    "norm": "umedpt-norm-layernorm",
    "logger": "umedpt-log-tensorboard",
}
WHOLE = {
    "name",
    "label_type",
    "commercial",
    "access",
    "plugin",
    "distribution",
    "status",
    "version",
}
"""Columns that are never cut or wrapped."""
STATUS_STYLE = {"ok": "green", "blocked": "dim", "failed": "red", "incompatible": "yellow"}
FOLDED = {"remarks", "summary"}
"""Columns that take several lines rather than lose words; the others are cut."""
SHORT, NARROW, GAP = 27, 10, 2
PIPE_WIDTH = 10_000
NUMBERED_FROM = {"classes": 0, "download": 1, "references": 1}

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@click.argument("selectors", metavar="[SELECTOR]...", nargs=-1)
@exclude_option
@json_option
@click.pass_obj
def tasks(
    settings: Settings, selectors: tuple[str, ...], exclude: tuple[str, ...], as_json: bool
) -> None:
    """List the installed tasks, or those that selectors choose.

    A SELECTOR is a name, a glob, or label:, modality:, suite:, access:, commercial: or dist: with
    a value. Several add up; '+' inside one narrows it: 'label:segmentation+commercial:yes'.
    """
    from umedpt_core.cli.rows import TaskRow

    catalogue = settings.catalogue
    everything = ["*"] if catalogue.tasks else []
    names = catalogue.select(selectors or everything, exclude)
    rows = [TaskRow.of(catalogue.tasks[name]).model_dump(mode="json") for name in names]
    columns = ("name", "label_type", "modality", "commercial", "licence", "access", "distribution")
    _print(rows, (*columns, "version"), as_json, keep=2)
    if not catalogue.tasks:
        _say_empty(catalogue, "task")
    if failed := sum(plugin.status in ("failed", "incompatible") for plugin in catalogue.plugins):
        click.echo(
            f"{failed} plugin{'' if failed == 1 else 's'} failed; see 'umedpt plugins'", err=True
        )


def _listing(kind: str, *columns: str) -> click.Command:
    """The command that lists one kind of spec."""

    @click.command(f"{kind}s".replace(" ", "-"), help=f"List the installed {kind}s.")
    @json_option
    @click.pass_obj
    def command(settings: Settings, as_json: bool) -> None:
        rows = [_row(entry) for entry in _entries(settings.catalogue, kind).values()]
        _print(rows, ("name", "distribution", *columns), as_json, keep=3)
        if not rows:
            _say_empty(settings.catalogue, kind)

    return command


label_types = _listing("label type", "summary", "blocks", "geometry", "metrics")
augmentations = _listing("augmentation", "summary")
norms = _listing("norm", "summary")
loggers = _listing("logger", "summary")


@click.command()
@json_option
@click.pass_obj
def plugins(settings: Settings, as_json: bool) -> None:
    """List the installed plugins, with what is wrong with them."""
    rows = [plugin.as_dict() for plugin in settings.catalogue.plugins]
    if not as_json:
        for row in rows:
            entry_point = row["entry_point"]
            named = row["distribution"] == entry_point
            row["plugin"] = row["distribution"] + ("" if named else f" ({entry_point})")
            row["remarks"] = "; ".join(filter(None, [row["reason"], *row["clashes"]]))
    _print(rows, ("plugin", "version", "status", "remarks"), as_json, keep=4)
    if not rows:
        _say_empty(settings.catalogue, "task")


@click.command()
@click.argument("name")
@json_option
@click.pass_obj
def show(settings: Settings, name: str, as_json: bool) -> None:
    """Show all that is known about one task, label type, augmentation, norm or logger."""
    catalogue = settings.catalogue
    kinds = [kind for kind in EXAMPLES if name in _entries(catalogue, kind)]
    pages: list[Row] = [
        {"kind": kind, **_row(catalogue.find(kind, name))}  # which raises if there is none
        for kind in kinds or [_likely_kind(catalogue, name)]
    ]
    if as_json:
        click.echo(json.dumps(pages, indent=2))
        return
    for page in pages:
        _print_page(page)


def _entries(catalogue: Catalogue, kind: str) -> Mapping[str, Entry[Any]]:
    entries: Mapping[str, Entry[Any]] = getattr(catalogue, f"{kind}s".replace(" ", "_"))
    return entries


def _row(entry: Entry[Any]) -> Row:
    facts: Row = entry.spec.model_dump(mode="json")
    return {**facts, "distribution": entry.distribution, "version": entry.version}


def _likely_kind(catalogue: Catalogue, name: str) -> str:
    """The kind that a name nobody registers was probably meant for."""
    from umedpt_core.hookspecs import KINDS

    for kind, (_, _, prefix) in KINDS.items():
        for plugin in catalogue.plugins:
            clashes = any(clash.startswith(f"{kind} '{name}' ") for clash in plugin.clashes)
            if clashes or plugin.distribution == prefix + name:
                return kind
    for kind in KINDS:
        if difflib.get_close_matches(name, _entries(catalogue, kind), n=1, cutoff=0.75):
            return kind
    return "task"


def _say_empty(catalogue: Catalogue, kind: str) -> None:
    broken = any(plugin.status != "ok" for plugin in catalogue.plugins)
    hint = "see 'umedpt plugins'" if broken else f"try: pip install {EXAMPLES[kind]}"
    click.echo(f"no {kind} is installed; {hint}", err=True)


def _print(rows: Sequence[Row], columns: Sequence[str], as_json: bool, *, keep: int) -> None:
    """Print rows as JSON, or as a table of as many columns as fit, the first `keep` in any case."""
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        return
    from rich.table import Table
    from rich.text import Text

    console = _console()
    cells = {name: [_text(row[name]) for row in rows] for name in columns}
    widths = _widths({name: max(map(len, (name, *cells[name]))) for name in columns}, console, keep)
    cut: Any = "ellipsis" if console.encoding.startswith("utf") else "crop"
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for name, width in widths.items():
        folded = name in FOLDED
        table.add_column(
            name.replace("_", " "),
            min_width=width,
            max_width=width,
            no_wrap=not folded,
            overflow="fold" if folded else cut,
        )
    for texts in zip(*(cells[name] for name in widths), strict=True):
        table.add_row(*(Text(text, STATUS_STYLE.get(text, "")) for text in texts))
    console.print(table, crop=False)


def _widths(full: Mapping[str, int], console: Console, keep: int) -> dict[str, int]:
    """The columns that fit, the first `keep` in any case, each as wide as the console allows."""
    least = {name: SHORT if name in FOLDED else NARROW for name in full if name not in WHOLE}
    widths = {name: min(width, least.get(name, width)) for name, width in full.items()}

    def room() -> int:
        return console.width - sum(widths.values()) - GAP * (len(widths) - 1)

    while room() < 0 and len(widths) > keep:
        widths.popitem()
    order = list(widths)  # what folds gains most, then the later columns, such as the licence
    for name in sorted(order, key=lambda name: (name not in FOLDED, -order.index(name))):
        most = full[name] if name in FOLDED or console.width == PIPE_WIDTH else SHORT
        widths[name] += max(0, min(room(), min(full[name], most) - widths[name]))
    return widths


def _print_page(page: Row) -> None:
    """Print one spec as a page of keys and values, leaving out what it does not say."""
    from rich.table import Table
    from rich.text import Text

    facts: Row = {}
    for key, value in page.items():
        facts |= value if key == "source" else {key: value}
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in facts.items():
        if key in NUMBERED_FROM:
            value = "\n".join(
                f"{i} {_text(line)}" for i, line in enumerate(value, NUMBERED_FROM[key])
            )
        if text := _text(value):
            table.add_row(key.replace("_", " "), Text(text))
    _console().print(table)


def _console() -> Console:
    """Standard output as it is: a terminal of some width, or a pipe whose lines never fold."""
    from rich.console import Console

    pipe = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=PIPE_WIDTH if pipe else None)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_text, value))
    return "" if value is None else str(value)
