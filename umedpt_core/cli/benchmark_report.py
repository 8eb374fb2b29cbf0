"""umedpt benchmark report: what the results of a benchmark say."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from umedpt_core.cli import Settings

from ..errors import ConfigError

LIBRARIES = ("pandas", "scipy", "seaborn")


@click.command()
@click.argument(
    "results", metavar="RESULTS...", type=click.Path(path_type=Path), nargs=-1, required=True
)
@click.option("--baseline", metavar="NAME", help="The model to compare with; default: timm's.")
@click.option(
    "--metric", "metrics", multiple=True, metavar="TASK=NAME", help="Report this one; repeatable."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="A folder; default: RESULTS/report."
)
@click.pass_obj
def report(
    settings: Settings,
    results: tuple[Path, ...],
    baseline: str | None,
    metrics: tuple[str, ...],
    output: Path | None,
) -> None:
    """Write a page with plots, tests and tables about RESULTS of 'umedpt benchmark run'.

    RESULTS are folders, .csv or .parquet files; several are joined.
    """
    chosen = {}
    for pair in metrics:
        task, equals, name = pair.partition("=")
        if not equals:
            raise ConfigError(f"--metric '{pair}': write it as TASK=NAME")
        chosen[task] = name
    if missing := [name for name in LIBRARIES if find_spec(name) is None]:
        raise ConfigError(
            f"the report needs {', '.join(missing)}: pip install 'umedpt-core[benchmark]'"
        )
    from ..benchmark.report import write_benchmark_report

    def warn(text: str) -> None:
        click.echo(f"Careful: {text}", err=True)

    click.echo(
        write_benchmark_report(
            results,
            output,
            baseline=baseline,
            metrics=chosen,
            catalogue=settings.catalogue,
            warn=warn,
        )
    )
