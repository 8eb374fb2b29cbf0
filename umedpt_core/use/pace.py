"""How far a prediction is, and what was left out."""

from __future__ import annotations

import sys
import time

import click

from ..engine.display import clock
from .inputs import Input

SECONDS = 30
"""Between two lines where there is no terminal."""


class Pace:
    """Shows how far it is on stderr: on one line of a terminal, else now and then.

    Args:
        total: How many inputs there are.
        quiet: Show nothing but what cannot be used.
    """

    def __init__(self, total: int, quiet: bool) -> None:
        self.total, self.quiet = total, quiet
        self.done = 0
        self.failed: dict[str, str] = {}
        self._terminal = sys.stderr.isatty()
        self._start: tuple[int, float] | None = None
        self._shown = time.monotonic()

    def fail(self, source: Input, why: str) -> None:
        """Report an input that cannot be used."""
        self.failed[str(source.path)] = why
        line = why if why.startswith(str(source.path)) else f"{source.path}: {why}"
        click.echo(f"\r\033[K{line}" if self._terminal else line, err=True)

    def step(self) -> None:
        """Count one that is done; the first one sets the clock."""
        self.done += 1
        now = time.monotonic()
        self._start = self._start or (self.done, now)
        if self.quiet or now - self._shown < (0.2 if self._terminal else SECONDS):
            return
        self._shown = now
        first, since = self._start
        rate = (self.done - first) / (now - since) if now > since else 0.0
        left = self.total - len(self.failed) - self.done
        text = f"{self.done}/{self.total}"
        if rate:
            text += f"  {rate:.2f}/s  {clock(left / rate)} left"
        click.echo(f"\r\033[K{text}" if self._terminal else text, err=True, nl=not self._terminal)

    def close(self) -> None:
        """Leave the line."""
        if self._terminal and not self.quiet:
            click.echo("\r\033[K", err=True, nl=False)
