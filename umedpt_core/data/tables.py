"""Tables of a publisher: CSV with a header."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path

from ..errors import DataError


def read_table(
    path: Path, columns: Collection[str], *, delimiter: str = ","
) -> list[dict[str, str]]:
    """Read a CSV file in UTF-8, with or without a byte order mark.

    Args:
        path: The file.
        columns: The columns that it must have; others are read as well.
        delimiter: What separates cells.

    Returns:
        Column to cell for every row, without blanks around either; a cell that a row lacks is
        empty.

    Raises:
        FileNotFoundError: The file is missing.
        DataError: It is no such table, or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file, delimiter=delimiter)
            header = [name.strip() for name in next(lines, [])]
            rows = [[cell.strip() for cell in line] for line in lines if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: cannot be read as a CSV in UTF-8 ({error}); take the publisher's table"
        ) from error
    for column in columns:
        if column not in header:
            raise DataError(
                f"{path}: no column {column!r}; take the publisher's table. It has the columns "
                f"{', '.join(header)}"
            )
    blank = dict.fromkeys(header, "")
    return [blank | dict(zip(header, row, strict=False)) for row in rows]
