"""Checks of a logger."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from PIL import Image

from ..specs import resolve
from .kit import SUBJECTS, Failure, Subject, check, describe
from .watch import Watch

EVENTS: tuple[dict[str, Any], ...] = (
    {"event": "eval", "step": 0, "epoch": 0, "split": "val", "task": "a", "loss": 1.0, "f1": 0.5},
    {
        "event": "train",
        "step": 1,
        "epoch": 1,
        "split": "train",
        "task": "a",
        "loss": 0.9,
        "seconds": 0.01,
    },
    {
        "event": "skip",
        "step": 1,
        "epoch": 1,
        "split": "train",
        "task": "a",
        "case": "x.png",
        "reason": "damaged",
    },
    {"event": "pictures", "step": 1, "epoch": 1, "path": "predictions.png"},
    {"event": "end", "step": 1, "epoch": 1, "skipped": {"a": 1}, "dropped": {}},
)
"""One of each kind; see docs/mixes.md, metrics.jsonl."""


class LoggerSubject(Subject):
    """A logger that was opened on a run's folder, told all kinds of events, and closed."""

    @cached_property
    def logged(self) -> tuple[Watch, str]:
        """What it wrote elsewhere, and what went wrong."""
        run = self.folder("run")
        Image.new("RGB", (64, 32)).save(run / "predictions.png")
        with Watch(self.folder("elsewhere"), run, offline=False) as watch:
            try:
                logger = resolve(self.spec.open)(run)
                for event in EVENTS:
                    doing = f"log(event {event['event']})"
                    logger.log(dict(event))
                doing = "close()"
                logger.close()
            except Exception as error:
                return watch, f"{locals().get('doing', 'open')} raised {describe(error)}"
        return watch, ""


SUBJECTS["logger"] = LoggerSubject


@check(
    "logger",
    "it opens, takes every kind of event, and closes",
    hint="log(event) gets the rows of metrics.jsonl; ignore those that mean nothing to you",
    needs=("resolves",),
)
def logs(subject: LoggerSubject) -> None:
    """Nothing is raised."""
    if problem := subject.logged[1]:
        raise Failure(problem)


@check(
    "logger",
    "it writes into the run's folder only",
    hint="make every path from the folder that open gets",
    needs=("logs",),
)
def logger_contained(subject: LoggerSubject) -> None:
    """Nothing appears in the working, home, temporary or any other folder."""
    if strays := subject.logged[0].strays:
        raise Failure(f"it wrote {', '.join(strays[:3])}")
