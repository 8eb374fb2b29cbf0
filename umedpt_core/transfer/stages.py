"""The stages of an adaptation: features, the head on fixed blocks, training on images, scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..blocks.shared import Blocks
from ..data.batch import Batch, Skip, Ticket
from ..data.cache import locked
from ..engine.checkpoint import list_checkpoints
from ..engine.events import Events
from ..engine.model import Model
from ..engine.progress import Progress
from ..engine.stop import Stop
from ..errors import Interrupted
from .best import Best
from .features import Features
from .finetune import number_of_steps, train_on_images, trained_parameters
from .frozen import Pair, mean_loss, predictions, train_head
from .loading import Loading
from .partial import merge_low_rank
from .scores import score, score_volumes
from .settings import AdaptSettings

FEATURES_BYTES = 4 << 30
"""Outputs of fixed blocks are kept in memory up to this size, else computed in every epoch."""
CHECKPOINTS = "checkpoints"
LOG_EVERY = 10
"""Epochs of the head between two rows of its loss."""


@dataclass
class Stages:
    """One adaptation at work.

    Attributes:
        model: The shared blocks, fixed at first, and the task's head.
        loading: Of the task.
        settings: Mode, epochs, rates.
        folder: The output folder.
        events: Takes what happens.
        progress: Shows it.
        stop: Asks to stop.
        step: Epochs of the head so far, then optimizer steps on top of them.
    """

    model: Model
    loading: Loading
    settings: AdaptSettings
    folder: Path
    events: Events
    progress: Progress
    stop: Stop
    step: int = 0

    def run(self, all_store: Path | None, test_store: Path | None) -> tuple[Model, dict[str, Any]]:
        """Train as the mode says, and score.

        Args:
            all_store: A file to keep the features of ``all`` in; None: keep none.
            test_store: Likewise for ``test``.

        Returns:
            The model to keep, and its results; where an epoch was chosen, those of the last one
            too.
        """
        resumed = bool(list_checkpoints(self.folder / CHECKPOINTS / self.settings.mode))
        further = self.settings.mode != "frozen"
        best = None
        if further and resumed:
            self.step = self.settings.epochs
        else:
            best = self.train_probe(self.features("all", all_store) if self.plain else None)
            if further and best:
                self.model = self._with_best(best)
        if further:
            best = self._train_on_images(self.settings, augmented=True)
        test = None if further else self.features("test", test_store)
        chosen, results = self.model, self.scores(self.model, test)
        if best:
            chosen = self._with_best(best)
            results = {**self.scores(chosen, test), "chosen": best.step, "last": results}
        merge_low_rank(chosen.blocks)  # once: copies share what is undone here
        return chosen, results

    def _with_best(self, best: Best) -> Model:
        if isinstance(best.module, Model):
            return best.module
        chosen = deepcopy(self.model)
        chosen.heads[self.loading.data.name] = best.module
        return chosen

    @property
    def plain(self) -> bool:
        """Whether the head trains on images as they are, so that features can be kept."""
        return self.settings.mode != "frozen" or self.settings.augmentation in (None, "none")

    def features(self, split: str, store: Path | None) -> Features | None:
        """What the fixed blocks make of a split; None where it is too large to keep.

        Args:
            split: ``all`` or ``test``.
            store: A file to take it from, or to keep it in.
        """
        if store is None:
            return self._compute_features(split)
        store.parent.mkdir(parents=True, exist_ok=True)
        with locked(store.with_suffix(".lock")):  # another process may be at them
            if found := Features.load(store, self.loading.device):
                self._note_missing(split, found)
                return found
            if kept := self._compute_features(split):
                kept.save(store)
            return kept

    def _note_missing(self, split: str, kept: Features) -> None:
        """Report the cases that another call, which computed the features, had to skip."""
        data, known = self.loading.data, set(kept.ids)
        missing = [case.id for case in data.cases[split] if case.id not in known]
        skips = tuple(Skip(case, "was unusable when its features were due") for case in missing)
        ticket, nothing = Ticket(split, data.name, 0), torch.empty(0, 3, 1, 1)
        self.loading.note(Batch(ticket, nothing, None, skips=skips))

    def _compute_features(self, split: str) -> Features | None:
        batches = self.loading.data.batches(split)
        self.progress.restart(batches, "batch")
        kept = Features(self.loading.device)
        for number, batch in enumerate(self.loading.evaluation(split), 1):
            kept.add(self.model.blocks, batch)
            self._may_go_on()
            self.progress.step(number)
            if kept.nbytes * batches / number > FEATURES_BYTES:
                self.progress.warn("its features are too large to keep: computed when needed")
                return None
        return kept

    def train_probe(self, kept: Features | None) -> Best | None:
        """Train the head on fixed blocks; from features where they are kept."""
        if kept is None:
            settings = self.settings.model_copy(update={"mode": "frozen"})
            return self._train_on_images(settings, augmented=not self.plain)
        self.progress.restart(self.settings.epochs, "epoch")
        (label,), (head,) = self.model.labels.values(), self.model.heads.values()
        cases = self.loading.data.cases
        fit, held = ({case.id for case in cases.get(split, ())} for split in ("train", "val"))
        return train_head(
            label,
            head,
            kept,
            [place for place, case in enumerate(kept.ids) if case in fit],
            [place for place, case in enumerate(kept.ids) if case in held],
            self.settings,
            self._note_epoch,
        )

    def _train_on_images(self, settings: AdaptSettings, *, augmented: bool) -> Best | None:
        steps, before = number_of_steps(self.loading, settings), self.step
        unit = self.loading.steps_per_epoch if settings.mode == "frozen" else 1
        self.progress.restart(steps, "update")

        def note(step: int, loss: float) -> None:
            self.step = before + step // unit
            self.progress.step(step)
            self._emit("train", split="train", loss=loss)

        best = train_on_images(
            self.model,
            self.loading,
            trained_parameters(self.model, settings),
            settings,
            self.folder / CHECKPOINTS / settings.mode,
            note,
            self.stop,
            augmented=augmented,
        )
        self.step = before + steps // unit  # also where nothing was left to do
        if best:
            best.step //= unit
        return best

    def _may_go_on(self) -> None:
        """Stop here where somebody asked to: what is short takes no checkpoint.

        Raises:
            Interrupted: Somebody did.
        """
        if self.stop.asked:
            saved = (self.folder / CHECKPOINTS).is_dir()
            how = "go on with --resume" if saved else "the same command starts anew"
            raise Interrupted(f"stopped; {how}")

    def _note_epoch(self, epoch: int, loss: float) -> None:
        self._may_go_on()
        self.step = epoch
        self.progress.step(epoch)
        if epoch == 1 or epoch % LOG_EVERY == 0:
            self._emit("train", split="train", loss=loss)

    def scores(self, model: Model, kept: Features | None) -> dict[str, Any]:
        """Metrics on the test split, and their confidence intervals.

        Args:
            model: In evaluation mode.
            kept: What its fixed blocks make of the test split, if that is known.

        Raises:
            DataError: No case of the test split can be used.
        """
        data, settings = self.loading.data, self.settings
        (head,) = model.heads.values()
        blocks: Blocks = kept or model.blocks
        losses: list[tuple[float, int]] = []

        def batches() -> Iterator[Batch]:
            size = data.evaluation_batch_size
            stream: Iterable[Batch] = (
                kept.batches(range(len(kept)), size) if kept else self.loading.evaluation("test")
            )
            for batch in stream:
                self._may_go_on()
                losses.append((mean_loss(data.label, head, blocks, [batch]), len(batch)))
                yield batch

        pairs: Iterator[Pair] = predictions(data.label, head, blocks, batches())
        patients = {case.id: case.patient for case in data.cases["test"]}
        chance = {"resamples": settings.resamples, "seed": settings.seed}
        with model.blocks.keeping_features():  # the loss and the prediction share them
            found = score(data.label, pairs, patients, **chance)
        loss = sum(loss * size for loss, size in losses) / found.n
        metrics = {"loss": loss, **found.metrics}
        intervals = dict(found.intervals)
        if data.instances.kind == "slices" and data.geometry == "mask":
            volumes = score_volumes(model, data, "test", **chance)
            metrics |= {f"volume_{name}": value for name, value in volumes.metrics.items()}
            intervals |= {f"volume_{name}": value for name, value in volumes.intervals.items()}
        return {"n": found.n, "metrics": metrics, "intervals": intervals}

    def _emit(self, event: str, **fields: Any) -> None:
        task = self.loading.data.name
        self.events.emit(event, step=self.step, epoch=self.step, task=task, **fields)
