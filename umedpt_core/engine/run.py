"""A run: what surrounds the loop. Losses, evaluation, checkpoints, stopping."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor

from ..data.batch import Batch
from ..data.tasks import TaskData
from ..errors import Interrupted, UmedptError
from ..mix import Mix
from .checkpoint import save_checkpoint
from .distributed import Ranks
from .evaluate import evaluate
from .events import Events
from .model import Model
from .optimizer import clip, set_rate
from .progress import Progress
from .skips import Skips
from .stop import Stop


@dataclass(frozen=True)
class Setting:
    """What a run is made of.

    Attributes:
        folder: The run's folder.
        mix: What is trained, and how.
        tasks: The opened tasks.
        evaluated: Those that this process evaluates.
        batches: The one stream of batches, training and evaluation in the schedule's order.
        consumed: Given a number of optimizer steps, each task's batches up to there.
        events: Takes what happens.
        progress: Shows it.
        ranks: This process among the others.
        keep_best: Called when the mean held-out loss is the lowest so far.
    """

    folder: Path
    mix: Mix
    tasks: Mapping[str, TaskData]
    evaluated: frozenset[str]
    batches: Iterator[Batch]
    consumed: Callable[[int], Mapping[str, int]]
    events: Events
    progress: Progress
    ranks: Ranks
    keep_best: Callable[[], None]


class Run:
    """The state of a run between its steps.

    Args:
        setting: What surrounds it.
        model: In training.
        average: The average of its weights, where the mix asks for one.
        optimizer: Over all parameters.
        state: A checkpoint's state to go on from.

    Attributes:
        step: Number of optimizer steps made.
        stop: Asks from outside (Ctrl-C) to stop after the current step.
    """

    def __init__(
        self,
        setting: Setting,
        model: Model,
        average: ModelEmaV3 | None,
        optimizer: torch.optim.Optimizer,
        state: dict[str, Any],
    ) -> None:
        self.setting, self.mix = setting, setting.mix
        self.model, self.average, self.optimizer = model, average, optimizer
        self.seed = self.mix.seed
        self.steps = self.mix.epochs * self.mix.steps_per_epoch
        self.step: int = state.get("step", 0)
        self.best: float | None = state.get("best")
        self.evaluated: bool = state.get("evaluated", False)
        self.stop = Stop()
        self._agreed = 0
        cases = {n: sum(map(len, t.cases.values())) for n, t in setting.tasks.items()}
        self.skips = Skips(cases, self.mix.skip_limit, state)
        self._places = {task: place for place, task in enumerate(sorted(setting.tasks))}
        device = next(model.parameters()).device
        self._losses = torch.zeros(len(self._places), device=device)  # read when logged, not before
        self._counts = torch.zeros(len(self._places), 3)  # batches, seconds loading, seconds waited

    @property
    def epoch(self) -> int:
        """Epochs begun, from 1; 0 before the first step."""
        return -(-self.step // self.mix.steps_per_epoch)

    @property
    def _stops(self) -> int:
        """Several processes stop after the step before whose update they have agreed to."""
        return self.stop.asked if self.setting.ranks.world == 1 else self._agreed

    @property
    def kept_model(self) -> Model:
        """The model that is evaluated and saved: the average, where there is one."""
        kept: Model = self.average.module if self.average else self.model
        return kept

    def record(self, batch: Batch, loss: Tensor | None) -> None:
        """Note a training batch; its loss stays on the device until it is logged."""
        self._note_skips(batch)
        self.setting.progress.note(f"trained on {batch.ticket.task}")
        if loss is not None:
            place = self._places[batch.ticket.task]
            self._losses[place] += loss
            self._counts[place] += torch.tensor([1.0, batch.seconds, batch.waited])

    def before_update(self) -> None:
        """Sum the gradients over all processes, clip them, and set the step's learning rate."""
        self._agreed = self.setting.ranks.sum_gradients(self.model, self.stop.asked)
        clip(self.model, self.mix.optimizer.clip)
        set_rate(self.optimizer, self.mix.optimizer, self.step, self.steps)

    def end_step(self) -> bool:
        """Log, evaluate, checkpoint; whether the run is at its end.

        Raises:
            Interrupted: Somebody asked to stop; everything is saved.
            UmedptError: A loss is not finite.
        """
        self.step += 1
        self.evaluated = False
        if self.average:
            self.average.update(self.model)
        self.setting.progress.step(self.step)
        ends_epoch = self.step % self.mix.steps_per_epoch == 0
        if self.step == 1 or self.step % self.mix.log_every == 0 or ends_epoch or self._stops:
            self._log_losses()
        if ends_epoch:
            self.evaluate()
        if ends_epoch or self._stops:
            self._save()
        if self._stops and (self.step < self.steps or not self.evaluated):
            raise self._interrupted()
        return self.step == self.steps

    def evaluate_first(self) -> None:
        """Evaluate before the first step.

        Raises:
            Interrupted: Somebody asked to stop meanwhile.
        """
        self.evaluate()
        if self.stop.asked and not self.evaluated:
            raise self._interrupted()

    def evaluate(self) -> None:
        """Evaluate every task on its held-out cases; alone, until asked to stop meanwhile."""
        ranks, own = self.setting.ranks, self.setting.evaluated
        self._agree_on_buffers()
        count = sum(self.setting.tasks[task].batches("val") for task in own)
        batches = islice(self.setting.batches, count)
        results = evaluate(self.kept_model, self._until_stopped(batches, count))
        if self.stop.asked and ranks.world == 1:
            return
        for others in ranks.gather(results):
            results |= others
        for task, values in sorted(results.items()):
            self._emit("eval", split="val", task=task, **values)
        self.evaluated = True
        mean = sum(values["loss"] for values in results.values()) / max(1, len(results))
        if self.best is None or mean < self.best:
            self.best = mean
            self.setting.keep_best()

    def end(self) -> None:
        """Record the end and what could not be used."""
        self._exchange_skips()
        skipped, dropped = self.skips.skipped, self.skips.dropped
        self._emit(
            "end",
            skipped={task: len(cases) for task, cases in sorted(skipped.items())},
            dropped={task: sum(cases.values()) for task, cases in sorted(dropped.items())},
        )

    def _interrupted(self) -> Interrupted:
        return Interrupted(
            f"stopped after step {self.step} of {self.steps}, all saved; to go on, give the "
            f"same command with --resume (run folder {self.setting.folder})"
        )

    def _emit(self, event: str, **fields: Any) -> None:
        self.setting.events.emit(event, step=self.step, epoch=self.epoch, **fields)

    def _until_stopped(self, batches: Iterator[Batch], count: int) -> Iterator[Batch]:
        for number, batch in enumerate(batches, 1):
            if self.stop.asked and self.setting.ranks.world == 1:
                return
            self._note_skips(batch)
            self.setting.progress.note(f"evaluating {batch.ticket.task}, batch {number} of {count}")
            yield batch

    def _log_losses(self) -> None:
        losses = self.setting.ranks.sum(self._losses).tolist()
        counts = self.setting.ranks.sum(self._counts).tolist()
        for (task, place), loss in zip(self._places.items(), losses, strict=True):
            batches, loading, waited = counts[place]
            if not batches:
                continue
            if not math.isfinite(loss):
                raise UmedptError(
                    f"the loss of {task} is {loss} before step {self.step}; lower optimizer.lr "
                    f"(now {self.mix.optimizer.lr:g}) and start anew, or look at its data"
                )
            self._emit(
                "train",
                split="train",
                task=task,
                loss=loss / batches,
                seconds=round(loading / batches, 4),
                waited=round(waited / batches, 4),
            )
        self._losses.zero_()
        self._counts.zero_()

    def _agree_on_buffers(self) -> None:
        for model in {self.model, self.kept_model}:
            self.setting.ranks.mean_buffers(model)

    def _save(self) -> None:
        self._exchange_skips()
        self._agree_on_buffers()
        if self.setting.ranks.first:
            models = {"model": self.model}
            if self.average:
                models["average"] = self.average.module
            state = {
                "step": self.step,
                "best": self.best,
                "evaluated": self.evaluated,
                "consumed": dict(self.setting.consumed(self.step)),
                "skipped": self.skips.skipped,
                "dropped": self.skips.dropped,
            }
            folder = self.setting.folder / "checkpoints"
            save_checkpoint(folder, models, self.optimizer, state, self.mix.keep)
        self.setting.ranks.gather("saved")

    def _note_skips(self, batch: Batch) -> None:
        for row in self.skips.note(batch):
            self._emit("skip", **row)

    def _exchange_skips(self) -> None:
        for row in self.skips.exchange(self.setting.ranks):
            self._emit("skip", **row)
