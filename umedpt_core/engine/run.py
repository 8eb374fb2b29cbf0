"""A run: what surrounds the loop. Losses, evaluation, checkpoints, stopping."""

from __future__ import annotations

import math
import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.batch import Batch
from ..data.tasks import TaskData
from ..errors import Interrupted, UmedptError
from ..mix import Mix
from .checkpoint import save_checkpoint
from .evaluate import evaluate
from .events import Events
from .model import Model
from .progress import Progress


class Run:
    """The state of a run between its steps.

    Args:
        folder: The run's folder.
        mix: What is trained, and how.
        model: In training.
        optimizer: Over all parameters.
        tasks: The opened tasks.
        batches: The one stream of batches, training and evaluation in the schedule's order.
        events: Takes what happens.
        progress: Shows it.
        keep_best: Called when the mean held-out loss is the lowest so far.
        state: A checkpoint's state to go on from.

    Attributes:
        step: Number of optimizer steps made.
        stopping: Set from outside (Ctrl-C) to stop after the current step.
    """

    def __init__(
        self,
        folder: Path,
        mix: Mix,
        model: Model,
        optimizer: torch.optim.Optimizer,
        tasks: Mapping[str, TaskData],
        batches: Iterator[Batch],
        events: Events,
        progress: Progress,
        keep_best: Callable[[], None],
        state: dict[str, Any],
    ) -> None:
        self.folder, self.mix, self.model, self.optimizer = folder, mix, model, optimizer
        self.tasks, self.batches, self.events, self.progress = tasks, batches, events, progress
        self.keep_best = keep_best
        self.seed = mix.seed
        self.steps = mix.epochs * mix.steps_per_epoch
        self.step: int = state.get("step", 0)
        self.best: float | None = state.get("best")
        self.evaluated: bool = state.get("evaluated", False)
        self.skipped: dict[str, dict[str, str]] = defaultdict(dict, state.get("skipped", {}))
        self.dropped: dict[str, dict[str, int]] = defaultdict(dict, state.get("dropped", {}))
        self.stopping: int | None = None
        self._losses: dict[str, list[Tensor]] = defaultdict(list)
        self._seconds: dict[str, list[float]] = defaultdict(list)

    @property
    def epoch(self) -> int:
        """Epochs begun, from 1; 0 before the first step."""
        return -(-self.step // self.mix.steps_per_epoch)

    def record(self, batch: Batch, loss: Tensor | None) -> None:
        """Note a training batch; its loss stays on the device until it is logged."""
        self._note_skips(batch)
        if loss is not None:
            self._losses[batch.ticket.task].append(loss)
            self._seconds[batch.ticket.task].append(batch.seconds)

    def end_step(self) -> bool:
        """Log, evaluate, checkpoint; whether the run is at its end.

        Raises:
            Interrupted: Somebody asked to stop; everything is saved.
            UmedptError: A loss is not finite.
        """
        self.step += 1
        self.evaluated = False
        self.progress.step(self.step)
        ends_epoch = self.step % self.mix.steps_per_epoch == 0
        if self.step == 1 or self.step % self.mix.log_every == 0 or ends_epoch or self.stopping:
            self._log_losses()
        if ends_epoch:
            self.evaluate()
        if ends_epoch or self.stopping:
            self._save()
        if self.stopping and self.step < self.steps:
            raise Interrupted(
                f"stopped after step {self.step} of {self.steps}, all saved; to go on, give the "
                f"same command with --resume (run folder {self.folder})"
            )
        return self.step == self.steps

    def evaluate(self) -> None:
        """Evaluate every task on its held-out cases, unless asked to stop meanwhile."""
        count = sum(task.batches("val") for task in self.tasks.values())
        results = evaluate(self.model, self._until_stopped(islice(self.batches, count)))
        if self.stopping:
            return
        for task, values in results.items():
            self.events.emit(
                "eval", step=self.step, epoch=self.epoch, split="val", task=task, **values
            )
        self.evaluated = True
        mean = sum(values["loss"] for values in results.values()) / max(1, len(results))
        if self.best is None or mean < self.best:
            self.best = mean
            self.keep_best()

    def end(self) -> None:
        """Record the end and what could not be used."""
        self.events.emit(
            "end",
            step=self.step,
            epoch=self.epoch,
            skipped={task: len(cases) for task, cases in sorted(self.skipped.items())},
            dropped={task: sum(cases.values()) for task, cases in sorted(self.dropped.items())},
        )

    def _until_stopped(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            if self.stopping:
                return
            self._note_skips(batch)
            yield batch

    def _log_losses(self) -> None:
        for task in sorted(self._losses):
            loss = float(torch.stack(self._losses[task]).mean())
            if not math.isfinite(loss):
                raise UmedptError(
                    f"the loss of {task} is {loss} before step {self.step}; lower optimizer.lr "
                    f"(now {self.mix.optimizer.lr:g}) and start anew, or look at its data"
                )
            seconds = sum(self._seconds[task]) / len(self._seconds[task])
            self.events.emit(
                "train",
                step=self.step,
                epoch=self.epoch,
                split="train",
                task=task,
                loss=loss,
                seconds=round(seconds, 4),
            )
        self._losses.clear()
        self._seconds.clear()

    def _save(self) -> None:
        state = {
            "step": self.step,
            "best": self.best,
            "evaluated": self.evaluated,
            "skipped": self.skipped,
            "dropped": self.dropped,
        }
        save_checkpoint(self.folder / "checkpoints", self.model, self.optimizer, state)

    def _note_skips(self, batch: Batch) -> None:
        """Report each unusable case once; too many of them end the run."""
        if not batch.skips:
            return
        task, split = batch.ticket.task, batch.ticket.split
        for skip in batch.skips:
            known: dict[str, Any] = (self.skipped if skip.fatal else self.dropped)[task]
            if skip.case in known:
                continue
            known[skip.case] = skip.reason if skip.fatal else skip.dropped
            self.events.emit(
                "skip",
                step=self.step,
                epoch=self.epoch,
                split=split,
                task=task,
                case=skip.case,
                reason=skip.reason,
            )
        cases = sum(len(split) for split in self.tasks[task].cases.values())
        if len(bad := self.skipped.get(task, {})) > self.mix.skip_limit * cases:
            case, reason = next(iter(bad.items()))
            raise UmedptError(
                f"{task}: {len(bad)} of {cases} cases cannot be used, more than skip_limit "
                f"({self.mix.skip_limit:.0%}); mend or remove them, the first is {case}: {reason}"
            )


@contextmanager
def stopping_on_signals(run: Run) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop the run after its current step; a second Ctrl-C at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: Any) -> None:
        if run.stopping:
            raise KeyboardInterrupt
        run.stopping = number
        run.progress.warn("stopping after this step; once more to stop at once, unsaved")

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
