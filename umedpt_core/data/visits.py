"""Visits: a case is loaded, gives several instances, and makes room (paper: the caching component).

Everything here is a function of a ticket and the mix's seed, so neither the number of workers nor
who loads what, nor a resumed run, changes a batch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import lru_cache, partial
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

from ..counters import seed_of
from .batch import Ticket
from .cache import Arrays, Cache, open_cache
from .draw import Draw
from .instances import KEPT, LASTING, kind_of
from .tasks import TaskData
from .window import place_at

Load = Callable[[], Arrays]

AHEAD = 4
"""Batches of a task whose cases a worker loads in the background."""


class Visit(NamedTuple):
    """One load of a case.

    Attributes:
        split: The split that the case is of.
        case: Its place there.
        passes: Passes through all training cases before this one; 0 in evaluation.
    """

    split: str
    case: int
    passes: int = 0


class Visits:
    """Knows which cases a batch needs, and loads each once.

    Args:
        tasks: The opened tasks by name.
        seed: The mix's seed.
        window: Volumes or slides of a task that are in use at a time.
        cache: Keeps them; without one a case is loaded for every instance.
    """

    def __init__(
        self, tasks: Mapping[str, TaskData], seed: int, window: int, cache: Cache | None
    ) -> None:
        self.tasks, self.seed, self.window, self.cache = dict(tasks), seed, window, cache
        self._ahead: SimpleQueue[tuple[str, Load]] | None = None  # a worker's own
        self._prepared: dict[str, None] = {}

    def of(self, ticket: Ticket) -> Iterator[tuple[Visit, Draw]]:
        """The instances of a batch.

        Training batches are cut from an endless sequence, pass after pass, each in its own order,
        so that a task restarts by itself (paper: the infinite task sampler). In evaluation the
        cases follow each other.
        """
        task = self.tasks[ticket.task]
        if ticket.split != "train":
            size = task.evaluation_batch_size
            total = len(task.cases[ticket.split]) * task.per_case
            for position in range(ticket.number * size, min((ticket.number + 1) * size, total)):
                index, number = divmod(position, task.per_case)
                yield Visit(ticket.split, index), Draw(number, task.per_case)
            return
        batch_seed = seed_of(self.seed, task.name, "batch", ticket.number)
        first = ticket.number * task.batch_size
        for position in range(first, first + task.batch_size):
            visit, number = self._at(task, position)
            seed = seed_of(self.seed, task.name, visit.passes, visit.case, number)
            yield visit, Draw(number, task.per_case, seed, batch_seed)

    def arrays(self, task: TaskData, visit: Visit) -> Arrays:
        """What loading the case gave.

        Raises:
            DataError: The case cannot be used. Other errors come from the plugin's reader.
        """
        load = partial(self._load, task, visit)
        if self.cache is None or task.instances.kind not in KEPT:
            return load()
        uses = sys.maxsize if task.instances.kind in LASTING else task.per_case
        return self.cache.take(self._key(task, visit), uses, load)

    def load_ahead(self, ticket: Ticket) -> None:
        """Have this worker's thread load what the task's batches from this one on will need.

        The main process has no such thread: it would compete with training.
        """
        task = self.tasks[ticket.task]
        if self.cache is None or task.instances.kind not in KEPT:
            return
        if ticket.split != "train" or get_worker_info() is None:
            return
        if self._ahead is None:
            self._ahead = SimpleQueue()
            # A daemon: what nobody will need any more does not hold up the end of the worker.
            Thread(target=_prepare, args=(self.cache, self._ahead), daemon=True).start()
        first = ticket.number * task.batch_size
        for position in range(first, first + AHEAD * task.batch_size):
            visit, _ = self._at(task, position)
            key = self._key(task, visit)
            if key not in self._prepared:
                self._prepared[key] = None
                self._ahead.put((key, partial(self._load, task, visit)))
        for key in list(self._prepared)[:-1000]:
            del self._prepared[key]

    def _at(self, task: TaskData, position: int) -> tuple[Visit, int]:
        """The visit that gives a training instance, and which one of its instances it is."""
        cases = len(task.cases["train"])
        window = self.window if task.instances.kind in KEPT else 1
        passes, place, number = place_at(position, cases, task.per_case, window)
        index = int(_order(self.seed, task.name, passes, cases)[place])
        return Visit("train", index, passes), number

    def _load(self, task: TaskData, visit: Visit) -> Arrays:
        """Load the case, augmented in 3D where it is for training."""
        seed = None
        if visit.split == "train":
            seed = seed_of(self.seed, task.name, visit.passes, visit.case, "load")
        return kind_of(task).load(task, task.cases[visit.split][visit.case], seed)

    def _key(self, task: TaskData, visit: Visit) -> str:
        passes = 0 if task.instances.kind in LASTING else visit.passes
        return f"{visit.split}-{self.seed}-{task.name}-{passes}-{visit.case}"


def _prepare(cache: Cache, ahead: SimpleQueue[tuple[str, Load]]) -> None:
    while True:
        with suppress(Exception):  # who takes the entry meets it again
            cache.prepare(*ahead.get())


def cache_for(tasks: Iterable[TaskData], gigabytes: float) -> AbstractContextManager[Cache | None]:
    """A new cache where one of the tasks has a use for it.

    Raises:
        ConfigError: The folder of caches cannot be written.
    """
    kept = any(task.instances.kind in KEPT for task in tasks)
    return open_cache(gigabytes) if kept else nullcontext()


@lru_cache(maxsize=64)
def _order(seed: int, task: str, passes: int, length: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed_of(seed, task, passes)).permutation(length)
