"""umedpt report: a run as one page."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The page; default: RUN/report.html."
)
def report(run: Path, output: Path | None) -> None:
    """Write a page about RUN, of pretrain or of adapt, finished or not: one file, all in it."""
    from ..use.report import write_report

    click.echo(write_report(run, output))
