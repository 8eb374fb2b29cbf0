"""What a person sees of a grid: a live line on a terminal, a line a finished cell elsewhere."""

from __future__ import annotations

import json
import time

from rich.console import Group
from rich.text import Text

from ..engine.display import Display, bar, clock
from ..specs import LabelTypeSpec
from .cells import Cell
from .work import METRICS, Workplace


class GridProgress(Display):
    """Shows cells done, rate, time left, and the last result, whichever process it comes from.

    Args:
        place: The grid; its folder is looked at.
        quiet: Show nothing.
    """

    def __init__(self, place: Workplace, *, quiet: bool = False) -> None:
        super().__init__(quiet=quiet)
        self.place = place
        cells = place.grid.cells()
        self._open = {cell.key: cell for cell in cells if not place.done(cell)}
        self._failed: set[str] = set()
        self._total, self._first = len(cells), len(cells) - len(self._open)
        self._start = time.monotonic()
        self._last = ""

    def look(self) -> None:
        """Look which cells have been finished, and show them."""
        for key, cell in list(self._open.items()):
            if not self.place.done(cell):
                continue
            del self._open[key]
            self._last = self._result(cell)
            if not self.is_live:
                self.say(f"{self._pace()}  {self._last}")
        for key, reason in self.place.failures().items():
            if key in self._open and key not in self._failed:
                self._failed.add(key)
                self.warn(f"{key} failed: {reason}")

    def _result(self, cell: Cell) -> str:
        """A cell with its headline metric."""
        label_type = self.place.grid.tasks[cell.task].label_type
        spec: LabelTypeSpec = self.place.catalogue.find("label type", label_type).spec
        try:
            metrics = json.loads((self.place.home(cell) / METRICS).read_text())["metrics"]
            name = spec.metrics[0]
            return f"{cell.key}: {name} {metrics[name]:.3f}"
        except (OSError, ValueError, KeyError):  # not computed where the test set is too small
            return cell.key

    def _pace(self) -> str:
        done = self._total - len(self._open)
        text = f"{done}/{self._total} cells"
        if done == self._first:
            return text
        rate = (done - self._first) / (time.monotonic() - self._start)
        return f"{text}  {60 * rate:.1f} cells/min  {clock(len(self._open) / rate)} left"

    def render(self) -> Group:
        """Pace, bar, and the last result."""
        done = self._total - len(self._open)
        return Group(Text(self._pace()), bar(done, self._total), Text(self._last))
