"""Images and their targets in a CSV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from ...errors import ConfigError
from ...specs import IntensityRule
from .layout import ALL, Layout, OwnCase, files_by_split, files_in, in_order, is_volume, make_case
from .masks import named_classes, read_image_mask, read_volume_mask
from .rows import IMAGE, OTHER, TARGET, Row, filled, image_column, listed_file, read_rows

JPEG = (".jpg", ".jpeg", ".jpe")

KNOWN = {"1": 1, "1.0": 1, "0": 0, "0.0": 0, "-1": -1, "-1.0": -1, "": -1}
"""What a cell says of one of several labels: yes, no, unknown."""


class Targets(NamedTuple):
    """What the rows tell.

    Attributes:
        label_type: See :class:`Layout`.
        names: The classes; empty where only the masks can tell.
        targets: The raw target of each row.
        classes: The classes of each row; empty where only the masks can tell.
        options: The label options.
    """

    label_type: str
    names: tuple[str, ...]
    targets: Sequence[Any]
    classes: Sequence[set[int]]
    options: dict[str, Any]


def read_tables(folder: Path) -> Layout | None:
    """Read one CSV, or train.csv, test.csv and perhaps val.csv.

    Returns:
        What the columns tell: classification, segmentation, regression or multilabel. None where
        there is no CSV.

    Raises:
        ConfigError: A column is missing, a row cannot be read, or its files are missing.
    """
    files = [path for path in files_in(folder) if path.suffix.lower() == ".csv"]
    if not files:
        return None
    chosen = files_by_split(folder, files, [file.stem.lower() for file in files])
    columns: list[str] = []
    rows: list[Row] = []
    for split, file in chosen.items():
        found, more = read_rows(folder, file, split)
        if columns and sorted(found) != sorted(columns):
            raise ConfigError(
                f"{file}: its columns are {', '.join(found)}, those of another file "
                f"{', '.join(columns)}; give all files the same"
            )
        columns = found
        rows += more
    if not rows:
        raise ConfigError(f"{files[0]}: has no rows; list an image in each")
    known = _targets(folder, files[0], columns, rows)
    cases: dict[str, list[OwnCase]] = {row.split: [] for row in rows}
    occurs: dict[str, set[int]] = {}
    for row, target in zip(rows, known.targets, strict=True):
        name = row.cells[image_column(columns)]
        patient = filled(row, "patient") if "patient" in columns else name
        cases[row.split].append(make_case(name, patient, row.image, target))
    for row, classes in zip(rows, known.classes, strict=False):
        occurs.setdefault(row.split, set()).update(classes)
    return Layout(
        known.label_type,
        known.names,
        cases,
        occurs,
        patients="patient" in columns,
        label_options=known.options,
        intensity=_intensity(rows) if "intensity" in columns else "",
    )


def _intensity(rows: Sequence[Row]) -> str:
    rules = {filled(row, "intensity") for row in rows}
    if len(rules) != 1 or not rules <= {*get_args(IntensityRule)}:
        raise ConfigError(
            f"{rows[0].where.rpartition(',')[0]}: intensity is {', '.join(sorted(rules))}; give "
            f"one of {', '.join(get_args(IntensityRule))}, the same in all rows"
        )
    return rules.pop()


def _targets(folder: Path, file: Path, columns: Sequence[str], rows: Sequence[Row]) -> Targets:
    found = [column for column in TARGET if column in columns]
    if len(found) > 1:
        raise ConfigError(f"{file}: has the targets {' and '.join(found)}; keep one column")
    if not found:
        return _several_labels(file, columns, rows)
    if found == ["mask"]:
        return _masks(folder, rows)
    return _numbers(rows) if found == ["value"] else _labels(found[0], rows)


def _labels(column: str, rows: Sequence[Row]) -> Targets:
    labels = [filled(row, column) for row in rows]
    names = in_order(labels)
    targets = [names.index(label) for label in labels]
    if len(names) == 1:
        raise ConfigError(
            f"{rows[0].where.rpartition(',')[0]}: every {column} is '{names[0]}'; classification "
            "needs two classes"
        )
    return Targets("classification", names, targets, [{target} for target in targets], {})


def _masks(folder: Path, rows: Sequence[Row]) -> Targets:
    targets = []
    for row in rows:
        mask = listed_file(folder, row, "mask")
        if is_volume(mask) != is_volume(row.image):
            raise ConfigError(f"{row.where}: one of image and mask is a volume, the other is not")
        if mask.suffix.lower() in JPEG:
            raise ConfigError(
                f"{row.where}: mask: {mask.name} is a JPEG, which blurs class indices; make it "
                "anew as a PNG"
            )
        targets.append(partial(read_volume_mask if is_volume(mask) else read_image_mask, mask))
    return Targets("segmentation", named_classes(folder), targets, [], {})


def _numbers(rows: Sequence[Row]) -> Targets:
    """Scaled by the mean and the standard deviation of what is trained on."""
    values = []
    for row in rows:
        try:
            values.append(float(row.cells["value"]))
        except ValueError:
            values.append(math.nan)
        if not math.isfinite(values[-1]):
            raise ConfigError(
                f"{row.where}: value '{row.cells['value']}' is no number; write one as 3.5"
            )
    trained = [v for v, row in zip(values, rows, strict=True) if row.split in (ALL, "train")]
    options = {"mean": float(np.mean(trained or 0)), "std": float(np.std(trained or 0))}
    if trained and not options["std"]:
        raise ConfigError(f"{rows[0].where}: value is {values[0]} in all rows: nothing to learn")
    return Targets("regression", ("value",), values, [], options)


def _several_labels(file: Path, columns: Sequence[str], rows: Sequence[Row]) -> Targets:
    names = tuple(column for column in columns if column not in (*IMAGE, *OTHER, ""))
    if not names:
        raise ConfigError(
            f"{file}: no column of targets; name it {', '.join(TARGET[:-1])} or {TARGET[-1]}, or "
            "give a column of 1, 0 or blank for each of several labels; the columns are "
            f"{', '.join(columns)}"
        )
    targets: list[list[int]] = []
    for row in rows:
        if strange := [name for name in names if row.cells[name] not in KNOWN]:
            raise ConfigError(
                f"{row.where}: column '{strange[0]}' holds '{row.cells[strange[0]]}', not 1, 0, -1 "
                f"or blank; remove the column if it is no label, or name the target one of "
                f"{', '.join(TARGET)}"
            )
        targets.append([KNOWN[row.cells[name]] for name in names])
    classes = [{place for place, value in enumerate(labels) if value == 1} for labels in targets]
    if never := sorted({*range(len(names))} - set().union(*classes)):
        raise ConfigError(f"{file}: label '{names[never[0]]}' is 1 in no row; remove its column")
    return Targets("multilabel", names, targets, classes, {})
