"""What a run's folder tells afterwards."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine.events import FILE, read_events
from ..errors import ConfigError
from ..mix import Mix

KNOWN = ("event", "split", "task", "step", "epoch", "n", "loss", "loss_baseline")
"""What a row has beside a label type's metrics."""


@dataclass(frozen=True)
class Record:
    """What a run's folder holds; `mix` is that of ``pretrain``, `result` that of ``adapt``."""

    folder: Path
    rows: list[dict[str, Any]]
    mix: Mix | None
    result: dict[str, Any]
    environment: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Record:
        """Read it.

        Raises:
            ConfigError: That is no run, it has recorded nothing, or a file cannot be read.
        """
        file = folder / FILE
        if not file.is_file():
            raise ConfigError(f"{folder}: no run; give a folder that pretrain or adapt wrote")
        try:
            found = read_events(folder)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file}: cannot be read: {error}") from error
        rows = [r for r in found if isinstance(r, dict) and is_number(r.get("step"))]
        if not rows:
            raise ConfigError(f"{file}: holds no events; wait for the first, or look at the file")
        mix = Mix.load(folder / "mix.yaml") if (folder / "mix.yaml").exists() else None
        result, environment = _json(folder / "metrics.json"), _json(folder / "environment.json")
        return cls(folder, rows, mix, result, environment)

    @property
    def tasks(self) -> list[str]:
        """All tasks, also those of which nothing is recorded yet."""
        named = {entry.task for entry in self.mix.tasks} if self.mix else set()
        return sorted(named | {str(row["task"]) for row in self.rows if "task" in row})

    @property
    def step(self) -> int:
        """Optimizer steps made, or epochs of ``adapt``."""
        return max(int(row["step"]) for row in self.rows)

    @property
    def total(self) -> int | None:
        """Those to make, where that is known."""
        if self.mix:
            return self.mix.epochs * self.mix.steps_per_epoch
        return self.result.get("epochs")

    def of(self, event: str, task: str | None = None) -> list[dict[str, Any]]:
        """The events of a kind, all or those of a task."""
        rows = [row for row in self.rows if row.get("event") == event]
        return rows if task is None else [row for row in rows if row.get("task") == task]

    def headline(self, task: str) -> str:
        """A task's first metric that has a baseline, or its first; empty before evaluation."""
        names = [name for row in self.of("eval", task) for name in row if name not in KNOWN]
        compared = [name for name in names if f"{name}_baseline" in names]
        return next(iter(compared or names), "")


def is_number(value: Any) -> bool:
    """Whether a value read from a file is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def mapping(value: Any) -> dict[str, Any]:
    """A value read from a file, where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    """The object in a file; empty where there is none: a run that goes on lacks some."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}; remove it to go without") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds no JSON object; remove it to go without")
    return content
