"""Stopping on Ctrl-C and SIGTERM between two optimizer steps, when all can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Stop:
    """A request to stop.

    Attributes:
        asked: The number of the signal that asked for it; 0: nobody did.
    """

    asked = 0


@contextmanager
def stopping_on_signals(stop: Stop, warn: Callable[[str], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask to stop after the current step; a second Ctrl-C stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, _: Any) -> None:
        if stop.asked and number == signal.SIGINT:  # clusters may send SIGTERM twice
            raise KeyboardInterrupt
        stop.asked = number
        warn("stopping after this step; once more to stop at once, unsaved")

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, ask) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
