"""What a person sees of a grid: a live line on a terminal, a line a finished cell elsewhere."""

from __future__ import annotations

import json
import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..specs import LabelTypeSpec
from .cells import Cell
from .work import METRICS, Workplace


class GridProgress:
    """Shows cells done, rate, time left, and the last result, whichever process it comes from.

    Args:
        place: The grid; its folder is looked at.
        quiet: Show nothing.
    """

    def __init__(self, place: Workplace, *, quiet: bool = False) -> None:
        self.place = place
        self.console = Console(stderr=True, quiet=quiet)
        cells = place.grid.cells()
        self._open = {cell.key: cell for cell in cells if not place.done(cell)}
        self._failed: set[str] = set()
        self._total, self._first = len(cells), len(cells) - len(self._open)
        self._start = time.monotonic()
        self._last = ""
        self._live = (
            Live(console=self.console, refresh_per_second=2, get_renderable=self._display)
            if self.console.is_terminal
            else None
        )

    def __enter__(self) -> GridProgress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def look(self) -> None:
        """Look which cells have been finished, and show them."""
        for key, cell in list(self._open.items()):
            if not self.place.done(cell):
                continue
            del self._open[key]
            self._last = self._result(cell)
            if not self._live:
                line = f"{self._pace()}  {self._last}"
                self.console.print(line, soft_wrap=True, highlight=False, markup=False)
        for key, reason in self.place.failures().items():
            if key in self._open and key not in self._failed:
                self._failed.add(key)
                text = Text(f"{key} failed: {reason}", style="yellow")
                self.console.print(text, soft_wrap=not self._live)

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
        left = round(len(self._open) / rate)
        clock = f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
        return f"{text}  {60 * rate:.1f} cells/min  {clock} left"

    def _display(self) -> Group:
        bar = Table.grid()  # the bar itself does not end its line
        bar.add_row(
            ProgressBar(total=self._total, completed=self._total - len(self._open), width=60)
        )
        return Group(Text(self._pace()), bar, Text(self._last))
