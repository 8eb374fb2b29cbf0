"""Opening every case of a task before training, to find all that is broken in one go."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import reason
from ..label_type import IGNORE
from .draw import Draw
from .instances import Instance, cut, kind_of
from .tasks import TaskData


@dataclass(frozen=True)
class Finding:
    """Something about a case that its owner should know.

    Attributes:
        split: The split that the case is of.
        case: Its id.
        broken: Whether it cannot be used; else it is only suspicious.
        problem: What is the matter, in one line.
    """

    split: str
    case: str
    broken: bool
    problem: str


Place = tuple[str, int]


def inspect_task(task: TaskData, workers: int) -> Iterator[list[Finding]]:
    """Load every case of the opened splits and cut its first, middle and last instance.

    A case that kills the process that reads it, say by a crash in a decoder, is a finding as well.

    Args:
        task: With the splits opened.
        workers: Processes to share the work; 0 does it here.

    Yields:
        The findings of a case, mostly none, in no particular order.
    """
    places = [(split, index) for split, cases in task.cases.items() for index in range(len(cases))]
    if not workers:
        yield from (inspect_case(task, place) for place in places)
        return
    done: set[Place] = set()
    try:
        for place, findings in _share_out(task, places, workers):
            done.add(place)
            yield findings
    except BrokenProcessPool:
        for place in places:
            if place in done:
                continue
            try:
                yield from (findings for _, findings in _share_out(task, [place], 1))
            except BrokenProcessPool:
                text = "the process that read it died: a crash in its decoder, or out of memory"
                yield [_finding(task, place, text)]


def inspect_case(task: TaskData, place: Place) -> list[Finding]:
    """What is wrong with one case, given as split and index."""
    split, index = place
    case = task.cases[split][index]
    of = task.per_case
    try:
        arrays = kind_of(task).load(task, case, None)
        instances = [cut(task, case, arrays, Draw(n, of)) for n in sorted({0, of // 2, of - 1})]
    except Exception as error:  # a plugin's reader may raise anything
        return [_finding(task, place, reason(error))]
    notes = []
    if dropped := sum(instance.dropped for instance in instances):
        notes.append(f"{dropped} unusable annotation(s) are dropped")
    if all(image.min() == image.max() for instance in instances for image in instance.images):
        notes.append("the image is constant")
    if task.geometry == "mask" and not _marked(arrays.get("mask"), instances):
        notes.append("the mask is empty: nothing but background")
    return [_finding(task, place, note, broken=False) for note in notes]


def _marked(mask: Any, instances: Sequence[Instance]) -> bool:
    masks = [mask] if mask is not None else [instance.target for instance in instances]
    return any(bool(np.any((mask > 0) & (mask != IGNORE))) for mask in masks)


def _finding(task: TaskData, place: Place, problem: str, *, broken: bool = True) -> Finding:
    split, index = place
    return Finding(split, task.cases[split][index].id, broken, problem)


_task: TaskData


def _adopt(task: TaskData) -> None:
    global _task
    _task = task


def _inspect(place: Place) -> list[Finding]:
    return inspect_case(_task, place)


def _share_out(
    task: TaskData, places: Sequence[Place], workers: int
) -> Iterator[tuple[Place, list[Finding]]]:
    context = multiprocessing.get_context("spawn")  # decoders and threads do not survive a fork
    with ProcessPoolExecutor(workers, context, _adopt, (task,)) as pool:
        futures = {pool.submit(_inspect, place): place for place in places}
        for future in as_completed(futures):
            yield futures[future], future.result()
