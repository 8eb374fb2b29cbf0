"""The rows of CSVs of one's own data."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...errors import ConfigError
from .layout import ALL, SPLITS, named_file

IMAGE = ("image", "path", "file", "filename")
TARGET = ("label", "class", "mask", "value")
OTHER = ("patient", "split", "intensity")


class Row(NamedTuple):
    """A line.

    Attributes:
        where: The file and the line, for messages.
        split: Its split, or ``all``.
        image: The image file.
        cells: By column.
    """

    where: str
    split: str
    image: Path
    cells: dict[str, str]


def read_rows(folder: Path, file: Path, split: str) -> tuple[list[str], list[Row]]:
    """Read one file.

    Args:
        folder: What paths start from.
        file: UTF-8, separated by commas, semicolons or tabs.
        split: That of the file; of ``all``, a column ``split`` may tell more.

    Returns:
        The columns, known ones in lower case, and the rows that are not empty.

    Raises:
        ConfigError: It is no such file, it names no images, or one of them is missing.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file}: cannot be read as UTF-8 ({error}); save it as CSV UTF-8"
        ) from error
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    try:
        columns = [_column(cell.strip()) for cell in next(lines, [])]
        image = image_column(columns)
        if not image:
            raise ConfigError(
                f"{file}: no column of images; name it {', '.join(IMAGE[:-1])} or {IMAGE[-1]}, "
                "or move the file away if it lists none; the first line has "
                f"{', '.join(columns) or 'nothing'}"
            )
        if twice := [name for name in columns if name and columns.count(name) > 1]:
            raise ConfigError(f"{file}: has two columns '{twice[0]}'; rename one")
        for line in lines:
            cells = [cell.strip() for cell in line]
            if any(cells):
                where = f"{file}, line {lines.line_num}"
                rows.append(_row(folder, where, split, columns, cells, image))
    except csv.Error as error:
        raise ConfigError(f"{file}, line {lines.line_num}: no CSV ({error}); mend it") from error
    return columns, rows


def _column(name: str) -> str:
    return name.lower() if name.lower() in (*IMAGE, *TARGET, *OTHER) else name


def image_column(columns: Sequence[str]) -> str:
    """The column that names the images; empty where none does."""
    return next((column for column in IMAGE if column in columns), "")


def _row(
    folder: Path, where: str, split: str, columns: list[str], cells: list[str], image: str
) -> Row:
    if len(cells) != len(columns):
        raise ConfigError(
            f"{where}: has {len(cells)} cells where the first line has {len(columns)}; mend it"
        )
    row = Row(where, split, folder, dict(zip(columns, cells, strict=True)))
    if split == ALL and "split" in columns:
        name = filled(row, "split").lower()
        if name not in SPLITS:
            raise ConfigError(f"{where}: split '{name}' is none of train, val and test")
        row = row._replace(split=SPLITS[name])
    return row._replace(image=listed_file(folder, row, image))


def filled(row: Row, column: str) -> str:
    """A cell that must not be empty."""
    if not row.cells[column]:
        raise ConfigError(f"{row.where}: {column} is empty; fill it or remove the row")
    return row.cells[column]


def listed_file(folder: Path, row: Row, column: str) -> Path:
    """The file that a cell names, which must be there."""
    path = named_file(folder, filled(row, column))
    if not path.is_file():
        raise ConfigError(f"{row.where}: {column}: no such file: {path}; paths start from {folder}")
    return path
