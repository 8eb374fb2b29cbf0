"""Which case comes when: a rolling window over a task's cases, as a pure function of a counter.

The paper's caching component loads a case once and takes several instances from it. Here `window`
slots hold a case each, and the instances of a batch come from the slots in turn, so that a batch is
not one patient. The slots change their cases one after the other, not all at once: loading is
spread evenly, and whoever knows the position knows what will be needed next.
"""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """Where an instance comes from.

    Attributes:
        passes: Passes through all cases before this one.
        place: The case's place in the order of its pass.
        number: Which of the instances that the case gives this time.
    """

    passes: int
    place: int
    number: int


def place_at(position: int, cases: int, per_case: int, window: int) -> Place:
    """The source of a task's instance.

    Every case is visited once a pass and gives `per_case` instances a visit; only the first
    visits of all slots but the first are shorter, which sets the slots apart.

    Args:
        position: The task's own count of instances, from 0.
        cases: Number of the task's cases.
        per_case: Instances that a case gives each time it is loaded.
        window: Cases in use at a time.
    """
    turn, slot = divmod(position, window)
    round_, number = divmod(turn + slot * per_case // window, per_case)
    passes, place = divmod(round_ * window + slot, cases)
    return Place(passes, place, number)
