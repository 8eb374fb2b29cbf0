"""What a person sees of a run: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from .display import Display, bar, clock

PATIENCE = 60.0
"""Seconds without a line after which a log is told what the run is at."""


class Progress(Display):
    """Shows step, rate, time left, and each task's losses and headline metric.

    Args:
        headlines: Task to the name of its headline metric.
        step: The step at which this process starts.
        total: The step at which the run ends.
        quiet: Show nothing.
    """

    def __init__(
        self, headlines: Mapping[str, str], step: int, total: int, *, quiet: bool = False
    ) -> None:
        super().__init__(quiet=quiet)
        self.headlines = dict(headlines)
        self.now, self.total, self.unit = step, total, "step"
        self._first: tuple[int, float] | None = None
        self._doing = ""
        self._said = time.monotonic()
        self._train: dict[str, dict[str, Any]] = {}
        self._eval: dict[str, dict[str, Any]] = {}

    def close(self) -> None:
        """Nothing: the display ends with its context."""

    def restart(self, total: int, unit: str) -> None:
        """Begin to count something else.

        Args:
            total: Where the count ends.
            unit: What is counted, in the singular.
        """
        self.now, self.total, self.unit, self._first = 0, total, unit, (0, time.monotonic())

    def step(self, step: int) -> None:
        """Note that the run has reached a step; the first one sets the clock."""
        self.now = step
        self._first = self._first or (step, time.monotonic())

    def note(self, doing: str) -> None:
        """Say what the run is at between two steps: on a terminal at once, in a log rarely."""
        self._doing = doing
        if not self.is_live and time.monotonic() - self._said >= PATIENCE:
            self.say(f"{self._pace()}  {doing}")

    def log(self, event: dict[str, Any]) -> None:
        """Take one event of the run."""
        if event["event"] == "train":
            self._train[event["task"]] = event
            if not self.is_live and event["task"] == max(self.headlines):
                losses = "  ".join(f"{t} {e['loss']:.3f}" for t, e in sorted(self._train.items()))
                self.say(f"{self._pace()}  {losses}")
        elif event["event"] == "eval":
            self._eval[event["task"]] = event
            if not self.is_live:
                loss = f"loss {event['loss']:.3f}"
                self.say(f"  held-out {event['task']}: {loss}{self._headline(event)}")
        elif event["event"] == "skip":
            self.warn(f"{event['task']}: {event['case']}: {event['reason']}")

    def say(self, line: str) -> None:
        """As every display; it puts off what a log is told between two steps."""
        self._said = time.monotonic()
        super().say(line)

    def _headline(self, event: dict[str, Any]) -> str:
        name = self.headlines[event["task"]]
        if name not in event:
            return ""
        baseline = event.get(f"{name}_baseline")
        return f", {name} {event[name]:.3f}" + (
            "" if baseline is None else f" (baseline {baseline:.3f})"
        )

    def _pace(self) -> str:
        step, since = self._first or (self.now, 0.0)
        if step == self.now:
            return f"{self.unit} {self.now}/{self.total}"
        rate = (self.now - step) / (time.monotonic() - since)
        pace = f"{rate:.2f}/s" if rate >= 0.1 else f"{1 / rate:.0f} s a {self.unit}"
        left = clock((self.total - self.now) / rate)
        return f"{self.unit} {self.now}/{self.total}  {pace}  {left} left"

    def render(self) -> Group:
        """Pace, what is being done, bar, and a row a task."""
        table = Table(box=None, pad_edge=False)
        for name in ("task", "loss", "held-out loss", "held-out metric", "loading", "waited"):
            table.add_column(name, justify="left" if name == "task" else "right", no_wrap=True)
        for task in sorted(self.headlines):
            train, held_out = self._train.get(task, {}), self._eval.get(task, {})
            name = self.headlines[task]
            table.add_row(
                task,
                f"{train['loss']:.3f}" if train else "",
                f"{held_out['loss']:.3f}" if held_out else "",
                f"{name} {held_out[name]:.3f}" if name in held_out else "",
                f"{1000 * train['seconds']:.0f} ms" if "seconds" in train else "",
                f"{1000 * train['waited']:.0f} ms" if "waited" in train else "",
            )
        return Group(Text(self._pace()), Text(self._doing), bar(self.now, self.total), table)
