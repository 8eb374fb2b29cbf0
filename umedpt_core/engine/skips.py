"""Cases that cannot be used: reported once, and too many of them end the run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from ..data.batch import Batch
from ..errors import UmedptError
from .distributed import Ranks

Row = dict[str, Any]


class Skips:
    """What was left out so far, by task and case.

    Args:
        cases: The number of each task's cases.
        limit: The share of them that may be unusable.
        state: A checkpoint's state to go on from.

    Attributes:
        skipped: The reason for each case that could not be used.
        dropped: The number of unusable annotations of each case.
    """

    def __init__(self, cases: Mapping[str, int], limit: float, state: Mapping[str, Any]) -> None:
        self.cases, self.limit = cases, limit
        self.skipped: dict[str, dict[str, str]] = defaultdict(dict, state.get("skipped", {}))
        self.dropped: dict[str, dict[str, int]] = defaultdict(dict, state.get("dropped", {}))

    def note(self, batch: Batch) -> Iterator[Row]:
        """Take up a batch's skips and give what is new of them, as the fields of an event.

        Raises:
            UmedptError: Too many cases of the task cannot be used.
        """
        task = batch.ticket.task
        for skip in batch.skips:
            known: dict[str, Any] = (self.skipped if skip.fatal else self.dropped)[task]
            if skip.case in known:
                continue
            known[skip.case] = skip.reason if skip.fatal else skip.dropped
            yield {
                "split": batch.ticket.split,
                "task": task,
                "case": skip.case,
                "reason": skip.reason,
            }
        if len(bad := self.skipped.get(task, {})) > self.limit * self.cases.get(task, 0):
            case, reason = next(iter(bad.items()))
            raise UmedptError(
                f"{task}: {len(bad)} of {self.cases[task]} cases cannot be used, more than "
                f"skip_limit ({self.limit:.0%}); mend or remove them, the first is {case}: {reason}"
            )

    def exchange(self, ranks: Ranks) -> Iterator[Row]:
        """Learn what the other processes left out, and give that as fields of events."""
        for theirs in ranks.gather({"skipped": self.skipped, "dropped": self.dropped}):
            for kind, mine in (("skipped", self.skipped), ("dropped", self.dropped)):
                for task, cases in theirs[kind].items():
                    for case, what in cases.items():
                        if case in mine[task]:
                            continue
                        mine[task][case] = what
                        text = what if kind == "skipped" else f"{what} annotation(s) dropped"
                        yield {"split": "", "task": task, "case": case, "reason": text}
