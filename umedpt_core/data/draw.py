"""Which instance of a case is asked for: counters and seeds, nothing else."""

from __future__ import annotations

from typing import NamedTuple


class Draw(NamedTuple):
    """One of the instances that a case gives.

    Attributes:
        number: Which one, from 0.
        of: How many it gives while it is loaded.
        seed: Decides all that is random about this instance; None in evaluation, where instances
            are spread evenly.
        batch_seed: The same for all instances of a batch; None in evaluation.
    """

    number: int = 0
    of: int = 1
    seed: int | None = None
    batch_seed: int | None = None
