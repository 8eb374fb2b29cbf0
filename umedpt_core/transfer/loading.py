"""The batches of an adaptation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch

from ..data.batch import Batch, Ticket
from ..data.cache import Cache
from ..data.loader import Instances, make_loader
from ..data.tasks import TaskData
from ..engine.schedule import Schedule, Turn, evaluation


@dataclass(frozen=True)
class Loading:
    """Loads the one task.

    Attributes:
        data: With the splits ``train``, ``val`` where an epoch is chosen on it, ``test``, and
            ``all``: the cases whose features are computed.
        seed: Of the order of cases and the augmentation.
        cache: Keeps loaded volumes.
        workers: Processes that load.
        device: Where batches go.
        note: Told every batch, for what was skipped.
    """

    data: TaskData
    seed: int
    cache: Cache | None
    workers: int
    device: torch.device
    note: Callable[[Batch], None]

    @property
    def batch_size(self) -> int:
        """Of training: no more than there are instances."""
        return min(self.data.batch_size, len(self.data.cases["train"]) * self.data.per_case)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in which every training instance is seen."""
        return math.ceil(len(self.data.cases["train"]) * self.data.per_case / self.batch_size)

    def training(self, first: int, steps: int, *, augmented: bool) -> Iterator[Batch]:
        """The batches of the optimizer steps from the first on, shuffled anew in every epoch."""
        data = replace(self.data, batch_size=self.batch_size)
        if not augmented:
            data = replace(data, augmentation=None, volume_augmentation=None)
        schedule = Schedule([Turn(data.name)])
        tickets = (ticket for step in range(first, steps) for ticket in schedule.step(step))
        return self._load(data, tickets)

    def evaluation(self, split: str) -> Iterator[Batch]:
        """All batches of a split that hold anything, not augmented."""
        tickets = evaluation({self.data.name: self.data.batches(split)}, split)
        return (batch for batch in self._load(self.data, tickets) if len(batch))

    def _load(self, data: TaskData, tickets: Iterable[Ticket]) -> Iterator[Batch]:
        instances = Instances({data.name: data}, self.seed, cache=self.cache)
        for batch in make_loader(instances, tickets, self.workers):
            self.note(batch)
            yield batch.to(self.device)
