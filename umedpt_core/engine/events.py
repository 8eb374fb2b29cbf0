"""What happens in a run: rows of ``metrics.jsonl``, passed on to the installed loggers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..catalogue import Catalogue
from ..errors import UmedptError
from ..specs import resolve
from .checkpoint import write_whole

FILE = "metrics.jsonl"


class Events:
    """Writes each event as a line of JSON, then hands it to every listener.

    Args:
        folder: The run's folder; None writes nothing.
        listeners: Objects with ``log(event)`` and ``close()``; one that fails is dropped with a
            warning.
        warn: Takes a line of text.
    """

    def __init__(
        self, folder: Path | None, listeners: Iterable[Any], warn: Callable[[str], None]
    ) -> None:
        self._file = None if folder is None else (folder / FILE).open("a")
        self._listeners = list(listeners)
        self._warn = warn

    def emit(self, event: str, **fields: Any) -> None:
        """Record an event; numbers that are not finite are left out, as JSON has none.

        Raises:
            UmedptError: The file cannot be written.
        """
        row = {"event": event, **{k: v for k, v in fields.items() if not _undefined(v)}}
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        except OSError as error:
            with suppress(OSError):  # what is left in its buffer has no room either
                self._file.close()
            raise UmedptError(
                f"cannot write {self._file.name}: {error}; free some space, then --resume"
            ) from error
        self._tell("log", row)

    def close(self) -> None:
        """Close the file and the listeners."""
        self._tell("close")
        if self._file is not None:
            self._file.close()

    def _tell(self, method: str, *arguments: Any) -> None:
        for listener in list(self._listeners):
            try:
                getattr(listener, method)(*arguments)
            except Exception as error:  # a logger's failure never stops training
                self._listeners.remove(listener)
                self._warn(f"logger {type(listener).__name__} failed and is dropped: {error}")


def open_loggers(catalogue: Catalogue, folder: Path, warn: Callable[[str], None]) -> list[Any]:
    """Every installed logger, opened on a run's folder."""
    loggers = []
    for name, entry in catalogue.loggers.items():
        try:
            loggers.append(resolve(entry.spec.open)(folder))
        except Exception as error:  # as above
            warn(f"logger {name} of {entry.distribution} cannot be opened: {error}")
    return loggers


def read_events(folder: Path | str) -> list[dict[str, Any]]:
    """The events of a run so far; a last line that a kill cut short is left out."""
    rows = []
    path = Path(folder) / FILE
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def forget_after(folder: Path, state: Mapping[str, Any]) -> None:
    """Remove the events that a resumed run will record again.

    Args:
        folder: The run's folder.
        state: The checkpoint's; empty where there is none.

    Raises:
        UmedptError: The file cannot be written; it is as it was.
    """
    step, evaluated = state.get("step", -1), state.get("evaluated", False)
    known = {
        (task, case)
        for kind in ("skipped", "dropped")
        for task, cases in state.get(kind, {}).items()
        for case in cases
    }
    rows = [
        row
        for row in read_events(folder)
        if row["step"] <= step
        and row["event"] not in ("pictures", "end")
        and (evaluated or row["event"] != "eval" or row["step"] < step)
        and (row["event"] != "skip" or (row["task"], row["case"]) in known)
    ]
    write_whole(folder / FILE, "".join(json.dumps(row) + "\n" for row in rows))


def _undefined(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
