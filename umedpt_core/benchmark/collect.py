"""The results of a grid's cells as one tidy table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, UmedptError, reason
from ..transfer.settings import AdaptSettings
from .cells import FILE, Cell, load_grid
from .work import METRICS

if TYPE_CHECKING:
    import pandas as pd

BASELINE = "_baseline"
COLUMNS = (
    *("task", "label_type", "model", "source", "mode", "fraction", "draw", "n_train", "n_test"),
    *("metric", "value", "low", "high", "baseline", "seconds"),
)
MAY_BE_EMPTY = {
    **dict.fromkeys(("low", "high", "baseline"), "float64"),
    **dict.fromkeys(("updates", "image_size"), "Int64"),
}
"""Types of the columns that say nothing of themselves where they are empty."""


def columns() -> list[str]:
    """The names of the table's columns, in order."""
    return [*COLUMNS, *(name for name in AdaptSettings.model_fields if name != "mode")]


def results_file(folder: Path, file: Path | str | None = None) -> Path:
    """Where the table goes; refused before any work if it could not be written in the end.

    Args:
        folder: The grid's.
        file: Default: ``results.csv`` there.

    Raises:
        ConfigError: The name ends otherwise than in ``.csv`` or ``.parquet``, or a library is
            missing.
    """
    file = Path(file) if file else folder / "results.csv"
    if file.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"--results {file}: let its name end in .csv or .parquet")
    needed = ["pandas", *(["pyarrow"] if file.suffix == ".parquet" else [])]
    if missing := [name for name in needed if find_spec(name) is None]:
        raise ConfigError(
            f"the table of results needs {missing[0]}: pip install 'umedpt-core[benchmark]'"
        )
    return file


def collect(folder: Path | str) -> pd.DataFrame:
    """The results of all cells of a grid that are done.

    Args:
        folder: The grid's ``--output``.

    Returns:
        A row a cell and metric. The columns are those of :func:`columns`: `task`, `label_type`;
        `model` and `source`, its name and what it stands for; `mode`; `fraction` in (0, 1]; `draw`
        from 0; `n_train` training cases; `n_test` test instances; `metric`, `value`; `low` and
        `high`, its bootstrap interval; `baseline`, what a constant prediction reaches (each empty
        where there is none); `seconds`; then the settings.

    Raises:
        ConfigError: There is no grid, or pandas is missing.
        UmedptError: A cell's file is damaged.
    """
    home = Path(folder)
    results_file(home)
    import pandas as pd

    grid = load_grid(home / FILE)
    if grid is None:
        raise ConfigError(f"{home}: holds no {FILE}; give the --output of 'umedpt benchmark run'")
    cells = home / "cells"
    found = {file.parent.relative_to(cells).as_posix() for file in cells.glob(f"*/*/*/*/{METRICS}")}
    rows: list[dict[str, Any]] = []
    for cell in sorted(grid.cells(), key=Cell.place):
        if cell.key not in found:
            continue
        file = cells / cell.key / METRICS
        try:
            report = json.loads(file.read_text())
            shared = {
                "task": cell.task,
                "label_type": grid.tasks[cell.task].label_type,
                "model": cell.model,
                "source": grid.models[cell.model],
                "mode": cell.mode,
                "fraction": cell.fraction,
                "draw": cell.draw,
                "n_train": report["train_cases"],
                "n_test": report["n"],
                "seconds": report["seconds"],
                **grid.settings_of(cell).model_dump(),
            }
            rows += [shared | scores for scores in _scores(report)]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UmedptError(
                f"{file}: cannot be read ({reason(error)}); remove {file.parent} and run the same "
                "command again"
            ) from error
    return pd.DataFrame(rows, columns=columns()).astype(MAY_BE_EMPTY)


def _scores(report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    metrics, intervals = report["metrics"], report.get("intervals", {})
    for name, value in metrics.items():
        if not name.endswith(BASELINE):
            low, high = intervals.get(name) or (None, None)
            baseline = metrics.get(f"{name}{BASELINE}")
            yield {"metric": name, "value": value, "low": low, "high": high, "baseline": baseline}


def write_results(folder: Path, file: Path) -> None:
    """Collect a grid's results into a file, whole or not at all.

    Raises:
        UmedptError: A cell's file is damaged, or the disk is full or unwritable.
    """
    table = collect(folder)
    temporary = file.with_name(f".writing-{file.name}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".csv":
            table.to_csv(temporary, index=False)
        else:
            table.to_parquet(temporary, index=False)
        temporary.replace(file)
    except OSError as error:
        raise UmedptError(
            f"cannot write {file}: {reason(error)}; the cells are kept: run the same command again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
