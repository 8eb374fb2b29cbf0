"""Which task's batch comes when (paper: Multi-task training strategy, the task sampler).

A schedule is an endless sequence and a pure function of a counter, the number of training batches
so far. That number is all that a resumed run needs to know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import NamedTuple

from ..data.batch import Ticket


class Turn(NamedTuple):
    """A task's share of every step: how many batches, and the factor of its summed loss."""

    task: str
    repeats: int = 1
    weight: float = 1.0


def cyclic(turns: Sequence[Turn], position: int) -> Ticket:
    """The ticket at a position when every task has its turn in every step, in name order.

    The loss of a task with several batches in a step is their mean times its weight; the tasks'
    losses add up.
    """
    slots = [(turn, repeat) for turn in sorted(turns) for repeat in range(turn.repeats)]
    step, slot = divmod(position, len(slots))
    turn, repeat = slots[slot]
    return Ticket(
        split="train",
        task=turn.task,
        number=step * turn.repeats + repeat,
        step=step,
        repeat=repeat,
        weight=turn.weight / turn.repeats,
        ends_step=slot + 1 == len(slots),
    )


def evaluation(batches: Mapping[str, int], split: str = "val") -> Iterator[Ticket]:
    """The tickets of one evaluation: every batch of every task's split, once."""
    for task in sorted(batches):
        for number in range(batches[task]):
            yield Ticket(split, task, number)


def tickets(
    turns: Sequence[Turn],
    start: int,
    steps: int,
    steps_per_epoch: int,
    batches: Mapping[str, int],
    *,
    evaluate_first: bool,
) -> Iterator[Ticket]:
    """The tickets of a run: training, with an evaluation after every epoch.

    Args:
        turns: The tasks.
        start: Number of training batches that are behind us.
        steps: Number of optimizer steps at which the run ends.
        steps_per_epoch: Optimizer steps between two evaluations.
        batches: Number of evaluation batches of each task.
        evaluate_first: Whether an evaluation comes before anything else.
    """
    if evaluate_first:
        yield from evaluation(batches)
    for position in count(start):
        ticket = cyclic(turns, position)
        if ticket.step >= steps:
            return
        yield ticket
        if ticket.ends_step and (ticket.step + 1) % steps_per_epoch == 0:
            yield from evaluation(batches)
