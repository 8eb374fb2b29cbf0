"""Reading the results of a benchmark, our own or another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ..errors import ConfigError, reason

if TYPE_CHECKING:
    from ..catalogue import Catalogue

NAMES = ("results.csv", "results.parquet")
TEXTS = ["task", "label_type", "model", "source", "mode", "metric"]
NUMBERS = ["fraction", "draw", "value", "n_train", "n_test", "low", "high", "baseline", "seconds"]
REQUIRED = ("task", "model", "mode", "fraction", "draw", "metric", "value")
"""What the results of another's method must have; the others may be left out."""

ROW = ["task", "model", "mode", "fraction", "draw", "metric"]
"""What tells one row from another."""

HEADLINES = ("f1", "auc", "miou", "map50", "mae")
"""The headline metric where the label type is not installed: the first of these."""


def read_results(paths: Sequence[Path]) -> pd.DataFrame:
    """Read and join tables of results.

    Args:
        paths: Files (``.csv`` or ``.parquet``), or folders with ``results.csv`` or
            ``results.parquet``.

    Returns:
        A row a cell and metric, in the order of the files; every column of :data:`TEXTS` and
        :data:`NUMBERS` is there. Rows without a value are left out.

    Raises:
        ConfigError: A file is missing, unreadable, lacks columns or holds wrong values; two rows
            contradict each other; or there are no results.
    """
    tables = [_read(_file(path)) for path in paths]
    table = pd.concat(tables, ignore_index=True).dropna(subset="value").drop_duplicates()
    if table.empty:
        raise ConfigError(f"{paths[0]}: holds no results yet; wait for 'umedpt benchmark run'")
    if (twice := table.duplicated(ROW)).any():
        row = table[twice].iloc[0]
        place = ", ".join(f"{name} {row[name]}" for name in ROW)
        raise ConfigError(
            f"{place}: there are two results; give one of the tables, or rename a model"
        )
    sources = table.dropna(subset="source").groupby("model")["source"].unique()
    for model, named in sources.items():
        if len(named) > 1:
            raise ConfigError(f"model '{model}' is {named[0]} and {named[1]}; rename one of them")
    return table.reset_index(drop=True)


def _file(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in NAMES:
        if (path / name).is_file():
            return path / name
    raise ConfigError(
        f"{path}: no {' or '.join(NAMES)} in it; give a folder or file of 'umedpt benchmark run'"
    )


def _read(file: Path) -> pd.DataFrame:
    try:
        if file.suffix == ".parquet":
            table = pd.read_parquet(file)
        else:  # a model may be called 1 or NA
            kinds = dict.fromkeys(TEXTS, str)
            table = pd.read_csv(file, dtype=kinds, keep_default_na=False, na_values=[""])
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(f"{file}: cannot be read: {reason(error)}") from error
    if missing := [name for name in REQUIRED if name not in table]:
        raise ConfigError(
            f"{file}: lacks the column(s) {', '.join(missing)}; give what 'umedpt benchmark run' "
            "wrote, or add them"
        )
    table = table.reindex(columns=[*table.columns, *({*TEXTS, *NUMBERS} - {*table.columns})])
    try:
        table = table.astype(dict.fromkeys(NUMBERS, float))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{file}: a number is expected: {error}") from error
    if not table["fraction"].between(0, 1, inclusive="right").all():
        raise ConfigError(f"{file}: a fraction lies outside 0 to 1; write 5 % as 0.05")
    return table


def headlines(
    results: pd.DataFrame, chosen: Mapping[str, str], catalogue: Catalogue
) -> dict[str, str]:
    """The metric of each task that the report is about.

    Args:
        results: What :func:`read_results` gives.
        chosen: Task to metric, which come first; then the label type's first metric.
        catalogue: The installed plugins; a label type need not be among them.

    Raises:
        ConfigError: A chosen task or metric is not among the results.
    """
    found = {}
    for task, rows in results.groupby("task", sort=False):
        measured = list(rows["metric"].unique())
        entry = catalogue.label_types.get(rows["label_type"].iloc[0])
        wanted = (*(entry.spec.metrics if entry else ()), *HEADLINES, *measured)
        found[task] = next(name for name in wanted if name in measured)
        if task in chosen:
            found[task] = chosen[task]
            if chosen[task] not in measured:
                raise ConfigError(
                    f"--metric {task}={chosen[task]}: was not measured; choose of "
                    f"{', '.join(measured)}"
                )
    if unknown := sorted(chosen.keys() - found.keys()):
        raise ConfigError(
            f"--metric: no results of task '{unknown[0]}'; there are {', '.join(found)}"
        )
    return found


def choose_baseline(results: pd.DataFrame, name: str | None) -> str:
    """The model that the others are compared with.

    Args:
        results: What :func:`read_results` gives.
        name: A model; None: the first whose source is ``timm:``, pretrained weights as anyone has
            them, else the first.

    Raises:
        ConfigError: There is no such model.
    """
    models = list(results["model"].unique())
    if name is not None:
        if name not in models:
            raise ConfigError(f"--baseline {name}: no such model; there are {', '.join(models)}")
        return name
    stock = results.loc[results["source"].astype(str).str.startswith("timm:"), "model"]
    return str(next(iter(stock), models[0]))
