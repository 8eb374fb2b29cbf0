"""Splitting by patient, for sets without the publisher's own split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import TypeVar

from .cases import Case

C = TypeVar("C", bound=Case)

THREE_WAYS = {"train": 0.7, "val": 0.1, "test": 0.2}
VAL_FROM_TRAIN = {"train": 0.9, "val": 0.1}


def split_by_patient(cases: Sequence[C], shares: dict[str, float]) -> dict[str, list[C]]:
    """Deal cases into splits so that no patient is in two.

    A patient's place depends only on its name and on the other patients: not on the order of the
    cases, and not on a run's seed, so that tasks of one dataset and all runs share their test set.

    Args:
        cases: All cases.
        shares: Split name to its share of the cases; the shares add up to 1.

    Returns:
        Split name to its cases, in the given order. With at least as many patients as splits none
        is empty.
    """
    sizes = Counter(case.patient for case in cases)
    patients = sorted(sizes, key=lambda patient: sha256(patient.encode()).digest())
    split_of: dict[str, str] = {}
    names = list(shares)
    start, edge, dealt = 0, 0.0, 0
    for number, name in enumerate(names):
        edge += shares[name] * len(cases)
        still_to_serve = len(names) - number - 1
        stop = start
        while stop < len(patients) - still_to_serve and (
            stop == start or still_to_serve == 0 or dealt + sizes[patients[stop]] / 2 <= edge
        ):
            split_of[patients[stop]] = name
            dealt += sizes[patients[stop]]
            stop += 1
        start = stop
    return {name: [case for case in cases if split_of[case.patient] == name] for name in names}
