"""The logger: it gets the rows of ``metrics.jsonl`` as dicts."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

COLUMNS = ("step", "epoch", "split", "task", "loss")


class CsvLogger:
    """Writes the losses to ``losses.csv``. A resumed run appends to it.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "losses.csv"
        fresh = not path.exists()
        self._file = path.open("a", newline="")
        self._writer = csv.DictWriter(self._file, COLUMNS, extrasaction="ignore")
        if fresh:
            self._writer.writeheader()

    def log(self, event: dict[str, Any]) -> None:
        """Write a row for an event that has a loss; one that is not finite is left empty."""
        if event["event"] in ("train", "eval"):
            self._writer.writerow(event)
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
