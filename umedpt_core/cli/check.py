"""umedpt check: does a plugin do what it must?"""

from __future__ import annotations

import json
import sys
import tempfile
import textwrap
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import click

from umedpt_core.cli import Settings

if TYPE_CHECKING:
    from umedpt_core.testing import Examination, Result

WIDTH = 80
STATUS = {"ok": ("ok", "green"), "failed": ("FAILED", "red"), "skipped": ("skipped", "yellow")}
INDENT = " " * 11


@click.command()
@click.argument("distribution")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check(ctx: click.Context, distribution: str, as_json: bool) -> None:
    """Check an installed plugin: specs, fake data, a step of training.

    Exits with 1 if a check fails. The same checks run under pytest: see docs/hooks.md.
    """
    settings: Settings = ctx.obj
    catalogue = settings.catalogue
    from umedpt_core.testing.kit import Examination, find_plugins

    find_plugins(catalogue, distribution)  # before anything heavy is loaded
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="umedpt-check-") as scratch:
        examination = Examination(distribution, catalogue, Path(scratch))
        results: list[Result] = []
        for result in examination.results():
            if not as_json:
                _print(examination, result, results[-1] if results else None)
            results.append(result)
            if settings.debug and result.error:
                traceback.print_exception(result.error, file=sys.stderr)
    counts = {status: sum(r.status == status for r in results) for status in STATUS}
    if as_json:
        report = {
            "distribution": examination.distribution,
            "version": examination.plugins[0].version,
            "ok": not counts["failed"],
            "counts": counts,
            "checks": [result.as_dict() for result in results],
        }
        click.echo(json.dumps(report, indent=2))
    else:
        line = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
        seconds = time.perf_counter() - started
        click.secho(f"\n{line} in {seconds:.1f} s", fg="red" if counts["failed"] else "green")
    ctx.exit(1 if counts["failed"] else 0)


def _print(examination: Examination, result: Result, before: Result | None) -> None:
    """Print a check's line, under a heading where its subject is a new one."""
    if before is None:
        click.secho(f"{examination.distribution} {examination.plugins[0].version}", bold=True)
    elif before.subject is not result.subject:
        click.secho(f"\n{result.subject.kind} {result.subject.name}", bold=True)
    word, colour = STATUS[result.status]
    click.echo(f"  {click.style(f'{word:9}', fg=colour)}{result.check.title}")
    if result.message:
        _print_below(result.message)
    if result.hint:
        _print_below(f"hint: {result.hint}")


def _print_below(text: str) -> None:
    wrap = textwrap.TextWrapper(
        WIDTH, initial_indent=INDENT, subsequent_indent=INDENT, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    click.echo(wrap.fill(text))
