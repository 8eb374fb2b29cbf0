"""The logger: rows of ``metrics.jsonl`` as TensorBoard's scalars, texts and images."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from umedpt_core.engine.events import read_events

FOLDER = "tensorboard"
FLUSH_SECONDS = 30
PLACE = ("event", "split", "task", "step", "epoch")


def open_writer(folder: Path) -> Writer:
    """Open the logger on a run's folder, which may hold the rows of a run that goes on."""
    return Writer(folder)


class Writer:
    """Writes below ``tensorboard/``, each split into a folder of its own: one chart shows both.

    Where that is there already, the run is resumed. Its ``metrics.jsonl`` then ends with what
    precedes the checkpoint, and TensorBoard is told to forget what it holds of later steps.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._purge_step: int | None = None
        if (folder / FOLDER).exists():
            self._purge_step = 1 + max((row["step"] for row in read_events(folder)), default=-1)
        self._writers: dict[str, SummaryWriter] = {}
        self._last: tuple[int, float] | None = None

    def log(self, event: dict[str, Any]) -> None:
        """Write one row; kinds of events that are new to it mean nothing to it."""
        if handle := getattr(self, f"_log_{event['event']}", None):
            handle(event)

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, split: str = "") -> SummaryWriter:
        if split not in self._writers:
            self._writers[split] = SummaryWriter(
                str(self._folder / FOLDER / split),
                purge_step=self._purge_step,
                flush_secs=FLUSH_SECONDS,
            )
        return self._writers[split]

    def _log_train(self, event: dict[str, Any]) -> None:
        writer, task, step = self._writer("train"), event["task"], event["step"]
        for name, value in _numbers(event).items():
            writer.add_scalar(f"{name}/{task}", value, step)
        now = time.monotonic()
        if self._last and step > self._last[0]:
            rate = (step - self._last[0]) / (now - self._last[1])
            writer.add_scalar("rate/steps_per_second", rate, step)
        if not self._last or step > self._last[0]:
            self._last = step, now

    def _log_eval(self, event: dict[str, Any]) -> None:
        writer, task = self._writer(event["split"]), event["task"]
        for name, value in _numbers(event).items():
            tag = f"loss/{task}" if name == "loss" else f"{task}/{name}"
            writer.add_scalar(tag, value, event["step"])
        self._last = event["step"], time.monotonic()  # evaluation is no part of the rate

    def _log_skip(self, event: dict[str, Any]) -> None:
        text = f"{event['case']}: {event['reason']}"
        self._writer(event["split"]).add_text(f"skipped/{event['task']}", text, event["step"])

    def _log_end(self, event: dict[str, Any]) -> None:
        counts = [
            f"{task}: {number} {what}"
            for key, what in (("skipped", "cases skipped"), ("dropped", "annotations dropped"))
            for task, number in event.get(key, {}).items()
        ]
        self._writer().add_text("end", "\n\n".join(counts) or "nothing skipped", event["step"])

    def _log_pictures(self, event: dict[str, Any]) -> None:
        with Image.open(self._folder / event["path"]) as picture:
            x_HWC = np.asarray(picture.convert("RGB"))
        self._writer().add_image("predictions", x_HWC, event["step"], dataformats="HWC")


def _numbers(event: dict[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in event.items()
        if name not in PLACE and isinstance(value, int | float)
    }
