"""What long work shows on stderr: a live display on a terminal, lines elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text


class Display(ABC):
    """A context within which a terminal shows :meth:`render`, again and again.

    Args:
        quiet: Show nothing.

    Attributes:
        console: On stderr.
        is_live: Whether there is a terminal; if not, subclasses print lines.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self.is_live = self.console.is_terminal
        self._live: Live | None = None

    @abstractmethod
    def render(self) -> Group:
        """What is shown now."""

    def say(self, line: str) -> None:
        """Print a line, for logs: as it is, however long."""
        self.console.print(line, soft_wrap=True, highlight=False, markup=False)

    def warn(self, text: str) -> None:
        """Show a line above the display."""
        self.console.print(Text(text, style="yellow"), soft_wrap=not self.is_live)

    def __enter__(self) -> Self:
        if self.is_live:  # here, as it renders at once
            self._live = Live(
                console=self.console, refresh_per_second=4, get_renderable=self.render
            )
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


def bar(completed: int, total: int) -> Table:
    """A bar that ends its line."""
    grid = Table.grid()
    grid.add_row(ProgressBar(total=total, completed=completed, width=60))
    return grid


def clock(seconds: float) -> str:
    """A time as ``0:08:30``."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
