"""The one stream of batches of a run: the schedule's tickets, this process's share, the loader."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import torch

from ..data.batch import Batch, Ticket
from ..data.cache import Cache
from ..data.loader import Instances, make_loader
from ..data.tasks import TaskData
from ..errors import UmedptError
from ..mix import Mix
from .distributed import Ranks, batches_of, share_out, tasks_of
from .measure import seconds_of
from .model import Model
from .schedule import Schedule, Turn, tickets


class Stream:
    """What a run consumes.

    Args:
        mix: Its tasks, schedule and length.
        tasks: The opened tasks.
        state: A checkpoint's state to go on from.
        ranks: This process among the others.
        model: To measure what each task costs, where several processes share them out.

    Raises:
        UmedptError: The processes do not see the same run folder.
    """

    def __init__(
        self,
        mix: Mix,
        tasks: Mapping[str, TaskData],
        state: Mapping[str, Any],
        ranks: Ranks,
        model: Model,
    ) -> None:
        self.mix, self.tasks, self.ranks = mix, tasks, ranks
        self.schedule = make_schedule(mix, tasks)
        self.start: int = state.get("step", 0)
        if len(starts := set(ranks.gather(self.start))) > 1:
            raise UmedptError(
                f"the processes find different checkpoints, of the steps {sorted(starts)}: give an "
                "--output on a disk that all machines share; then go on with --resume"
            )
        before = self.schedule.before(self.start)
        self._before = {task: before[task] for task in tasks}
        self._done: dict[str, int] = state.get("consumed", self._before)
        costs = dict.fromkeys(tasks, 1.0)
        if ranks.world > 1:
            mine = sorted(tasks)[ranks.rank :: ranks.world]
            measured = {name: seconds_of(model, tasks[name], mix.seed) for name in mine}
            for theirs in ranks.gather(measured):
                costs |= theirs
            costs = {entry.task: costs[entry.task] * entry.repeats for entry in mix.tasks}
        self._owner = share_out(costs, ranks.world)
        done = self.start % mix.steps_per_epoch == 0
        self.evaluates_first: bool = done and not state.get("evaluated", False)

    @property
    def evaluated(self) -> frozenset[str]:
        """The tasks that this process evaluates."""
        return frozenset(t for t, rank in self._owner.items() if rank == self.ranks.rank)

    def consumed(self, step: int) -> dict[str, int]:
        """Each task's batches up to a step, of all processes and of all that ran before."""
        each = self.ranks.world if self.mix.share == "batches" else 1
        now = self.schedule.before(step)
        return {
            task: done + (now[task] - self._before[task]) * each
            for task, done in self._done.items()
        }

    def batches(
        self, device: torch.device, workers: int, cache: Cache | None
    ) -> Generator[Batch, None, None]:
        """This process's batches on a device, each with the time that was waited for it."""
        instances = Instances(self.tasks, self.mix.seed, window=self.mix.window, cache=cache)
        pinned = device.type == "cuda"
        loaded = (ticket for ticket in self._tickets() if ticket.task)
        loader = iter(make_loader(instances, loaded, workers, pin_memory=pinned))
        for ticket in self._tickets():
            if not ticket.task:  # this process has no part in the step
                yield Batch(ticket, torch.empty(0), None)
                continue
            started = time.perf_counter()
            batch = next(loader)
            object.__setattr__(batch, "waited", time.perf_counter() - started)
            yield batch.to(device)

    def _tickets(self) -> Iterator[Ticket]:
        steps = tickets(
            self.schedule,
            start=self.start,
            steps=self.mix.epochs * self.mix.steps_per_epoch,
            steps_per_epoch=self.mix.steps_per_epoch,
            batches={name: task.batches("val") for name, task in self.tasks.items()},
            evaluate_first=self.evaluates_first,
        )
        if self.mix.share == "batches":
            return batches_of(steps, self.ranks, self._owner, self._before, self._done)
        return tasks_of(steps, self.ranks, self._owner)


def make_schedule(mix: Mix, tasks: Mapping[str, TaskData]) -> Schedule:
    """The schedule of a mix."""
    turns = [
        Turn(entry.task, entry.repeats, entry.weight, len(tasks[entry.task].cases["train"]))
        for entry in mix.tasks
    ]
    return Schedule(turns, mix.schedule, mix.seed)
