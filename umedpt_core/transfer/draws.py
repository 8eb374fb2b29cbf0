"""Nested draws of the training cases (paper: Clinical validation)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from ..counters import seed_of
from ..data.cases import Case
from ..data.draw import Draw
from ..data.instances import cut, kind_of
from ..data.tasks import TaskData
from ..data.volumes import Volume
from ..errors import ConfigError, DataError

FRACTIONS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
"""The paper's shares of the training cases."""

DRAWS = 5
"""The paper's draws of each share."""


class Draws(BaseModel):
    """Which training cases each draw of each fraction holds, as the file has it.

    Attributes:
        task: The task's name.
        seed: Of the draws.
        cases: The number of training cases that were drawn from.
        fractions: The fraction, written as a number, to the ids of its draws.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    seed: int
    cases: int
    fractions: dict[str, list[list[str]]]

    @field_validator("fractions")
    @classmethod
    def _numbers(cls, fractions: dict[str, list[list[str]]]) -> dict[str, list[list[str]]]:
        return {str(float(fraction)): draws for fraction, draws in fractions.items()}

    def ids(self, fraction: float, draw: int) -> list[str]:
        """The ids of the cases of one draw.

        Args:
            fraction: The share of the training cases, above 0, at most 1.
            draw: Its number, from 0.

        Raises:
            ConfigError: There is no such draw.
        """
        drawn = self.fractions.get(str(float(fraction)))
        if drawn is None:
            there = ", ".join(self.fractions) or "none"
            raise ConfigError(
                f"the draws of {self.task} have no fraction {fraction}, only {there}; draw anew"
            )
        if not 0 <= draw < len(drawn):
            raise ConfigError(
                f"fraction {fraction} of {self.task} has no draw {draw}, only 0 to "
                f"{len(drawn) - 1}; draw anew"
            )
        return drawn[draw]

    def save(self, path: Path | str) -> None:
        """Write the file whole or not at all.

        Raises:
            UmedptError: The disk is full or unwritable.
        """
        from ..engine.checkpoint import write_whole

        write_whole(Path(path), self.model_dump_json(indent=1))

    @classmethod
    def load(cls, path: Path | str) -> Draws:
        """Read a file that :meth:`save`, or another tool, has written.

        Raises:
            ConfigError: There is none, or it holds no draws.
        """
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except ValidationError as error:
            detail = error.errors()[0]
            where = ".".join(map(str, detail["loc"]))
            problem = f"{where}: {detail['msg']}" if where else detail["msg"]
            raise ConfigError(f"{path}: no file of draws ({problem}); draw anew") from error
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror}); draw anew") from error


def make_draws(
    task: TaskData,
    cases: Sequence[Case],
    fractions: Sequence[float] = FRACTIONS,
    draws: int = DRAWS,
    seed: int = 0,
) -> Draws:
    """Draw shares of the training cases.

    A draw puts the patients into one order, and every fraction is a prefix of it. So the smaller
    fraction lies inside the larger one, and the cases of a patient stay together. The order deals
    the patients of each stratum, those with the same rarest class, evenly over its length, which
    keeps the balance of the classes. A few patients who together have every class come first: so
    every draw has at least one case of every class that occurs. The prefix is the one whose size is
    closest to the fraction of the cases, but never without these few.

    The draws depend on the seed, the task's name, the draw's number and the cases, not on their
    order, nor on the other fractions and draws.

    Args:
        task: Checks the targets.
        cases: All training cases; their targets are read.
        fractions: Shares of the cases, above 0, at most 1.
        draws: How many of each.
        seed: Any integer.

    Raises:
        ConfigError: A fraction or the number of draws makes no sense, or there are no cases.
        DataError: Two cases have one id.
    """
    if bad := [fraction for fraction in fractions if not 0 < fraction <= 1]:
        raise ConfigError(f"fraction {bad[0]} is not above 0 and at most 1; 0.1 is a tenth")
    if draws < 1 or not cases:
        raise ConfigError(f"{draws} draws of {len(cases)} cases: give at least one of each")
    ids: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        ids[case.patient].append(case.id)
    twice = Counter(case.id for case in cases).most_common(1)[0]
    if twice[1] > 1:
        raise DataError(f"{task.name}: {twice[1]} cases have the id '{twice[0]}'; ids are unique")
    classes = _classes_by_patient(task, cases)
    drawn: dict[str, list[list[str]]] = {str(float(fraction)): [] for fraction in fractions}
    for draw in range(draws):
        shuffled = sorted(
            ids, key=lambda patient: (seed_of(seed, task.name, draw, patient), patient)
        )
        order, fewest = _order(shuffled, ids, classes)
        sizes = np.cumsum([len(ids[patient]) for patient in order])
        for fraction, chosen in drawn.items():
            closest = int(np.abs(sizes - float(fraction) * len(cases)).argmin()) + 1
            prefix = order[: max(closest, fewest)]
            chosen.append(sorted(name for patient in prefix for name in ids[patient]))
    return Draws(task=task.name, seed=seed, cases=len(cases), fractions=drawn)


def classes_of(task: TaskData, case: Case) -> set[int]:
    """The classes of a case: those of its image, its volume, or its patches as in evaluation.

    Returns:
        The indices; empty where the target has no classes or cannot be read. Such a case may be
        drawn: training reports and skips it.
    """
    try:
        targets = _checked(task, case)
    except Exception:  # a plugin's reader may raise anything
        return set()
    return set().union(*map(task.label.classes_in, targets))


def _checked(task: TaskData, case: Case) -> list[Any]:
    """The checked target of a case, or those of its patches."""
    if task.instances.kind == "patches" and task.geometry != "none":
        arrays = kind_of(task).load(task, case, None)
        places = (Draw(number, task.per_case) for number in range(task.per_case))
        return [cut(task, case, arrays, place).target for place in places]
    target = case.target
    if isinstance(target, Volume):
        tall = target.voxels.reshape(-1, target.voxels.shape[-1])
        return [task.check(tall, tall.shape)[0]]
    if task.instances.kind == "slices" and task.geometry == "boxes":
        return [target | {"labels": np.asarray(target["labels"], np.int64)}]
    size = (1, 1) if task.geometry == "none" else _size(case)
    return [task.check(target, size)[0]]


def _size(case: Case) -> tuple[int, int]:
    """Height and width of a case's image, from the file's header where there is one."""
    path: Any = getattr(case, "path", None)
    if path is None:
        height, width = case.image.shape[:2]
        return height, width
    with Image.open(path) as image:
        return image.height, image.width


def _classes_by_patient(task: TaskData, cases: Sequence[Case]) -> dict[str, list[int]]:
    """Each patient's classes, the rarest among the cases first."""
    counts: Counter[int] = Counter()
    found: dict[str, set[int]] = {case.patient: set() for case in cases}
    for case in cases:
        classes = classes_of(task, case)
        counts.update(classes)
        found[case.patient] |= classes
    return {
        patient: sorted(classes, key=lambda index: (counts[index], index))
        for patient, classes in found.items()
    }


def _order(
    shuffled: Sequence[str],
    ids: Mapping[str, Collection[str]],
    classes: Mapping[str, Sequence[int]],
) -> tuple[list[str], int]:
    """The patients of one draw in order, and how many of them have every class between them."""
    cover = _cover(shuffled, ids, classes)
    strata: dict[int | None, list[str]] = defaultdict(list)
    for patient in sorted(shuffled, key=lambda patient: patient not in cover):
        strata[classes[patient][0] if classes[patient] else None].append(patient)
    place: dict[str, float] = {}
    for stratum in strata.values():
        sizes = np.array([len(ids[patient]) for patient in stratum])
        middles = (sizes.cumsum() - sizes / 2) / sizes.sum()
        place |= dict(zip(stratum, middles, strict=True))
    order = sorted(shuffled, key=lambda patient: (patient not in cover, place[patient]))
    return order, len(cover)


def _cover(
    shuffled: Sequence[str],
    ids: Mapping[str, Collection[str]],
    classes: Mapping[str, Sequence[int]],
) -> set[str]:
    """Patients who together have every class: rare classes first, patients with few cases first."""
    small_first = sorted(shuffled, key=lambda patient: len(ids[patient]))
    having: dict[int, list[str]] = defaultdict(list)
    for patient in small_first:
        for index in classes[patient]:
            having[index].append(patient)
    cover: set[str] = set()
    covered: set[int] = set()
    for index in sorted(having, key=lambda index: (len(having[index]), index)):
        if index not in covered:
            cover.add(having[index][0])
            covered.update(classes[having[index][0]])
    return cover
