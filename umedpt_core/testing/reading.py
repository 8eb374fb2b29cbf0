"""Checks of a task's cases on its fake data."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator, Sequence

import numpy as np

from ..data.cases import Case
from .kit import Failure, check
from .tasks import TaskSubject

LARGEST_CASE = 10_000


@check(
    "task",
    "every split opens on the fake data",
    hint="cases is (root, split, options) -> sequence; the fake needs cases for every split",
    needs=("parts", "fake"),
)
def opens(subject: TaskSubject) -> None:
    """Each can be counted and indexed, and has a case."""
    for split, cases in subject.cases.items():
        if not isinstance(cases, Sequence) and not hasattr(cases, "__getitem__"):
            raise Failure(f"{split} is {type(cases).__name__}, not a sequence")
        if not isinstance(cases[0], Case):
            raise Failure(f"{split}: {type(cases[0]).__name__} has no id, patient, image, target")


@check(
    "task",
    "cases have images and targets that fit",
    hint="see 'The function behind cases' in docs/hooks.md, 'Intensity' says how to get to [0, 1]",
    needs=("opens",),
)
def cases(subject: TaskSubject) -> None:
    """Shapes, types and ranges are right, and the label type takes the target as it is."""
    if problems := subject.reading.problems:
        raise Failure(f"{len(problems)} of the cases: {problems[0]}")
    for split, case, instance in subject.reading.read:
        where = f"{split}, {case.id}"
        for image in instance.images:
            if image.dtype not in (np.uint8, np.float32):
                raise Failure(f"{where}: the image is {image.dtype} after the intensity rule")
            if image.dtype == np.float32 and not (image.min() >= 0 and image.max() <= 1):
                raise Failure(f"{where}: values from {image.min()} to {image.max()}, not in [0, 1]")
            if not math.prod(image.shape):
                raise Failure(f"{where}: the image is empty")


@check(
    "task",
    "ids are unique",
    hint="an id names one case of the task in all splits; a relative path is good",
    needs=("opens",),
)
def ids(subject: TaskSubject) -> None:
    """No two cases of any splits share one, and none is empty."""
    seen: set[str] = set()
    for split, case in listed(subject):
        if not isinstance(case.id, str) or not case.id:
            raise Failure(f"{split}: the id {case.id!r} is no name")
        if case.id in seen:
            raise Failure(f"{split}: the id '{case.id}' occurs twice")
        seen.add(case.id)


@check(
    "task",
    "no patient is in two splits",
    hint="give patient what the publisher calls one; report a set that is split otherwise",
    needs=("opens",),
)
def patients(subject: TaskSubject) -> None:
    """Patients are named, and on one side."""
    home: dict[str, str] = {}
    for split, case in listed(subject):
        if not isinstance(case.patient, str) or not case.patient:
            raise Failure(f"{split}, {case.id}: the patient {case.patient!r} is no name")
        if home.setdefault(case.patient, split) != split:
            raise Failure(f"patient '{case.patient}' is in {home[case.patient]} and {split}")


@check(
    "task",
    "cases pickle small",
    hint="a case holds a path and loads when asked; a label is a functools.partial, no lambda",
    needs=("opens",),
)
def pickles(subject: TaskSubject) -> None:
    """Each survives a round trip in under 10 kB."""
    for split, case in listed(subject):
        data = pickle.dumps(case)
        if len(data) > LARGEST_CASE:
            raise Failure(f"{split}, {case.id}: {len(data) / 1e3:.0f} kB; the limit is 10")
        if pickle.loads(data).id != case.id:  # noqa: S301 - our own
            raise Failure(f"{split}, {case.id}: comes back as another case")


@check(
    "task",
    "opening and reading write nothing",
    hint="keep caches in memory; a data root may be read-only, and others share it",
    needs=("opens",),
)
def untouched(subject: TaskSubject) -> None:
    """The root is as it was, and so is everything else."""
    if subject.reading.changed:
        raise Failure(f"it changed {', '.join(subject.reading.changed[:3])} in the data root")
    if strays := subject.reading.watch.strays:
        raise Failure(f"it wrote {', '.join(strays[:3])}")


@check(
    "task",
    "no network is used",
    hint="say in source.download how to get the data; never fetch it while training",
    needs=("opens",),
)
def offline(subject: TaskSubject) -> None:
    """Neither to make fake data nor to read."""
    asked = list(subject.reading.watch.network)
    asked += [] if subject.generated else subject.fake.watch.network
    if asked:
        raise Failure(f"it asks for {asked[0]}")


def listed(subject: TaskSubject) -> Iterator[tuple[str, Case]]:
    """All cases with their splits."""
    for split, found in subject.cases.items():
        for case in found:
            yield split, case
