"""The report of a benchmark: a page, its figures and its tables (paper: Figs. 3, 4, Table 1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from ..catalogue import Catalogue, load_catalogue
from ..engine.checkpoint import written_whole
from ..errors import ConfigError, UmedptError
from .figures import box_plots, interval_plot
from .findings import Findings, cautions, find
from .page import benchmark_page, file_name
from .results import read_results

PAGE = "report.html"
FOLDER = "report"
TABLES = ("summary.csv", "comparisons.csv", "data-needed.csv")


def write_benchmark_report(
    results: Sequence[Path | str],
    output: Path | str | None = None,
    *,
    baseline: str | None = None,
    metrics: Mapping[str, str] | None = None,
    catalogue: Catalogue | None = None,
    warn: Callable[[str], object] | None = None,
) -> Path:
    """Write what the results of a benchmark say, and what they do not.

    Args:
        results: Tables that ``umedpt benchmark run`` wrote, or folders with one; they are joined.
        output: A folder for ``report.html``, ``summary.csv``, ``comparisons.csv``,
            ``data-needed.csv`` and the figures; an older report there is replaced. Default:
            ``report`` beside the first table.
        baseline: The name of the model that all others are compared with; default: the first whose
            source is ``timm:``, else the first.
        metrics: Task to the metric that its report is about; default: its label type's first.
        catalogue: The installed plugins, which tell metrics and published results; default: found
            now. A task need not be installed.
        warn: Takes a sentence on each thing to be careful about, which is on the page too.

    Returns:
        The page's path.

    Raises:
        ConfigError: There are no results, or not in the right form; the baseline, a task or a
            metric is not among them; or the folder holds other files or cannot be written.
    """
    paths = [Path(path) for path in results]
    folder = _folder(paths[0], output)
    table = read_results(paths)
    findings = find(table, baseline, metrics or {}, catalogue or load_catalogue())
    for caution in cautions(findings):
        if warn:
            warn(caution)
    figures = _figures(findings)
    try:
        with written_whole(folder) as place:
            for name, image in figures.items():
                (place / name).write_bytes(image)
            for name, part in _tables(findings).items():
                part.to_csv(place / name, index=False)
            text = benchmark_page(findings, figures)
            (place / PAGE).write_text(text, encoding="utf-8", errors="backslashreplace")
    except UmedptError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.__cause__}; choose -o") from error
    return folder / PAGE


def _folder(first: Path, output: Path | str | None) -> Path:
    """Where the report goes; no folder is replaced but that of an older report."""
    home = first if first.is_dir() else first.parent
    folder = (Path(output) if output else home / FOLDER).resolve()
    if not folder.exists():
        return folder
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
    ours = {PAGE, *TABLES}
    if names and (PAGE not in names or any(n not in ours and n[-4:] != ".png" for n in names)):
        raise ConfigError(f"{folder}: exists and is no report of a benchmark; choose another -o")
    return folder


def _tables(findings: Findings) -> dict[str, pd.DataFrame]:
    tables = (findings.summary, findings.comparisons, findings.needed)
    return dict(zip(TABLES, tables, strict=True))


def _figures(findings: Findings) -> dict[str, bytes]:
    """File name to PNG: box plots, and intervals where there are any, of every task."""
    figures = {}
    for task, metric in findings.metrics.items():
        rows = findings.of(task)
        references = [r for r in findings.references.get(task, ()) if r.metric == metric]
        figures[file_name(task, metric)] = box_plots(rows, findings.models, references)
        if intervals := interval_plot(rows, findings.models):
            figures[file_name(task, metric, "intervals")] = intervals
    return figures
