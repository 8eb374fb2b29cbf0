"""Which task's batch comes when (paper: Multi-task training strategy, the task sampler).

A schedule is an endless sequence of optimizer steps and a pure function of their count. That number
is all that a resumed run needs to know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..counters import seed_of
from ..data.batch import Ticket
from ..mix import ScheduleSettings

BLOCK = 1024
"""Random turns that are drawn at a time."""


class Turn(NamedTuple):
    """A task's share of the batches.

    Attributes:
        task: Its name.
        repeats: Its batches in a cycle; where turns are weighted, its share of the draws.
        weight: Factor of its loss.
        cases: The size of its dataset, its share of the draws where turns are balanced.
    """

    task: str
    repeats: int = 1
    weight: float = 1.0
    cases: int = 1


class Schedule:
    """The batches of every optimizer step.

    The loss of a task with several batches in a step is their mean times its weight; the tasks'
    losses add up, in name order.

    Args:
        turns: The tasks.
        settings: See :class:`umedpt_core.mix.ScheduleSettings`.
        seed: Of what is random.
    """

    def __init__(
        self, turns: Sequence[Turn], settings: ScheduleSettings | None = None, seed: int = 0
    ) -> None:
        settings = settings or ScheduleSettings()
        self.turns = sorted(turns)
        self.cycle = [turn for turn in self.turns for _ in range(turn.repeats)]
        usual = 1 if settings.name == "traditional" else len(self.cycle)
        self.batches_per_step = settings.update or usual
        shares = {
            "balanced": [turn.cases for turn in self.turns],
            "weighted": [turn.repeats for turn in self.turns],
        }.get(settings.name)
        self._draws = shares and _Draws(tuple(shares), seed)

    def step(self, number: int) -> list[Ticket]:
        """The tickets of an optimizer step, from 0, in name order."""
        first = number * self.batches_per_step
        turns = sorted(self._turn(p) for p in range(first, first + self.batches_per_step))
        before, here = self.before(number), Counter(turn.task for turn in turns)
        seen: Counter[str] = Counter()
        tickets = []
        for place, turn in enumerate(turns):
            repeat = seen[turn.task]
            seen[turn.task] += 1
            tickets.append(
                Ticket(
                    split="train",
                    task=turn.task,
                    number=before[turn.task] + repeat,
                    step=number,
                    repeat=repeat,
                    weight=turn.weight / here[turn.task],
                    ends_step=place + 1 == len(turns),
                )
            )
        return tickets

    def before(self, number: int) -> Counter[str]:
        """How many batches each task had before an optimizer step."""
        position = number * self.batches_per_step
        if self._draws:
            counts = self._draws.before(position)
            return Counter({t.task: int(n) for t, n in zip(self.turns, counts, strict=True)})
        cycles, rest = divmod(position, len(self.cycle))
        begun = Counter(turn.task for turn in self.cycle[:rest])
        return Counter({t.task: cycles * t.repeats + begun[t.task] for t in self.turns})

    def _turn(self, position: int) -> Turn:
        if self._draws:
            return self.turns[self._draws.at(position)]
        return self.cycle[position % len(self.cycle)]


class _Draws:
    """Endless random draws with given shares, each a function of its position."""

    def __init__(self, shares: tuple[int, ...], seed: int) -> None:
        self.shares, self.seed = shares, seed
        self._sums = [np.zeros(len(shares), np.int64)]

    def at(self, position: int) -> int:
        block, place = divmod(position, BLOCK)
        return int(_block(self.shares, self.seed, block)[place])

    def before(self, position: int) -> NDArray[np.int64]:
        """How often each was drawn before a position."""
        block, place = divmod(position, BLOCK)
        while len(self._sums) <= block:
            drawn = _block(self.shares, self.seed, len(self._sums) - 1)
            self._sums.append(self._sums[-1] + np.bincount(drawn, minlength=len(self.shares)))
        here = np.bincount(
            _block(self.shares, self.seed, block)[:place], minlength=len(self.shares)
        )
        return self._sums[block] + here


@lru_cache(maxsize=8)
def _block(shares: tuple[int, ...], seed: int, block: int) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed_of(seed, "schedule", block))
    return rng.choice(len(shares), BLOCK, p=np.array(shares) / sum(shares))


def evaluation(batches: Mapping[str, int], split: str = "val") -> Iterator[Ticket]:
    """The tickets of one evaluation: every batch of every task's split, once."""
    for task in sorted(batches):
        for number in range(batches[task]):
            yield Ticket(split, task, number)


def tickets(
    schedule: Schedule,
    start: int,
    steps: int,
    steps_per_epoch: int,
    batches: Mapping[str, int],
    *,
    evaluate_first: bool,
) -> Iterator[list[Ticket]]:
    """The tickets of a run, by step: training, with an evaluation after every epoch.

    Args:
        schedule: Of the training batches.
        start: Number of optimizer steps that are behind us.
        steps: Number of optimizer steps at which the run ends.
        steps_per_epoch: Optimizer steps between two evaluations.
        batches: Number of evaluation batches of each task.
        evaluate_first: Whether an evaluation comes before anything else.
    """
    if evaluate_first:
        yield list(evaluation(batches))
    for step in range(start, steps):
        yield schedule.step(step)
        if (step + 1) % steps_per_epoch == 0:
            yield list(evaluation(batches))
