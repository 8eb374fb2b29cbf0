"""One loader for all tasks: a fixed budget of workers, driven by the schedule's tickets.

A worker opens the cases of one ticket, cuts, resizes and augments them, and collates ONE task's
batch of one image size. What it does depends on the ticket alone, never on the worker.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, get_worker_info

from ..counters import seed_of
from ..errors import DataError
from .augment import Augmentation, resize
from .batch import Batch, Skip, Ticket
from .cases import Case
from .intensity import apply_rule
from .tasks import TaskData

STRIDE = 32
"""Edges are rounded to multiples of the encoder's largest stride, where all skips align."""


class Instances(Dataset[Batch]):
    """Turns tickets into batches.

    Args:
        tasks: The opened tasks by name.
        seed: The mix's seed.
    """

    def __init__(self, tasks: Mapping[str, TaskData], seed: int) -> None:
        self.tasks = dict(tasks)
        self.seed = seed
        self._augmentations = {
            name: Augmentation(task.augmentation, task.geometry) for name, task in tasks.items()
        }

    def __getitem__(self, ticket: Ticket) -> Batch:
        """The batch of a ticket; cases that cannot be used are left out and reported in it."""
        started = time.perf_counter()
        with _one_thread():
            batch = self._load(ticket)
        object.__setattr__(batch, "seconds", time.perf_counter() - started)
        return batch

    def _load(self, ticket: Ticket) -> Batch:
        task = self.tasks[ticket.task]
        opened: list[tuple[str, NDArray[Any], Any, int]] = []
        skips: list[Skip] = []
        for case, seed in self._cases(task, ticket):
            try:
                image, target, dropped = open_case(task, case)
            except Exception as error:  # a plugin's reader may raise anything
                skips.append(Skip(case.id, f"{type(error).__name__}: {error}"))
                continue
            if dropped:
                reason = f"{dropped} unusable annotation(s) dropped"
                skips.append(Skip(case.id, reason, fatal=False, dropped=dropped))
            opened.append((case.id, image, target, seed))
        if not opened:
            return Batch(ticket, torch.empty(0, 3, STRIDE, STRIDE), None, (), tuple(skips))
        size = common_size(task.size, [image.shape[:2] for _, image, _, _ in opened])
        images, targets = [], []
        for _, image, target, seed in opened:
            image, target = resize(image, target, size, task.geometry)
            if ticket.split == "train":
                image, target = self._augmentations[task.name](image, target, seed)
            images.append(image)
            targets.append(target)
        x_BHWC = np.stack(images)
        return Batch(
            ticket,
            torch.from_numpy(np.ascontiguousarray(x_BHWC.transpose(0, 3, 1, 2))),
            task.label.collate(targets),
            tuple(case_id for case_id, *_ in opened),
            tuple(skips),
        )

    def _cases(self, task: TaskData, ticket: Ticket) -> Iterator[tuple[Case, int]]:
        """The cases of a batch, each with the seed of its augmentation.

        Training batches are cut from an endless sequence, pass after pass, each in its own order,
        so that a task restarts by itself (paper: the infinite task sampler).
        """
        cases = task.cases[ticket.split]
        first = ticket.number * task.batch_size
        if ticket.split != "train":
            for index in range(first, min(first + task.batch_size, len(cases))):
                yield cases[index], 0
            return
        for position in range(first, first + task.batch_size):
            passes, place = divmod(position, len(cases))
            index = int(_order(self.seed, task.name, passes, len(cases))[place])
            yield cases[index], seed_of(self.seed, task.name, passes, index)


@lru_cache(maxsize=64)
def _order(seed: int, task: str, passes: int, length: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed_of(seed, task, passes)).permutation(length)


def open_case(task: TaskData, case: Case) -> tuple[NDArray[Any], Any, int]:
    """Open one case.

    Returns:
        H x W x 3 image (uint8, or float32 in [0, 1]), checked target, number of annotations that
        were dropped.

    Raises:
        DataError: Image or target cannot be used. Other errors come from the plugin's reader.
    """
    image = apply_rule(getattr(case, "intensity", None) or task.intensity, case.image)
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DataError(f"image has the shape {image.shape}, not H x W or H x W x 3")
    height, width = image.shape[:2]
    try:
        target, dropped = task.label.check(case.target, (height, width))
    except ValueError as error:
        raise DataError(str(error)) from error
    return image, target, dropped


def common_size(size: int | tuple[int, int], shapes: Iterable[tuple[int, ...]]) -> tuple[int, int]:
    """The (height, width) of a batch: never padded, as layer norm's statistics span H x W.

    Args:
        size: See :class:`umedpt_core.Whole`.
        shapes: (height, width) of the batch's images.
    """
    if not isinstance(size, int):
        return size
    log_aspect = np.mean([np.log(shape[0] / shape[1]) for shape in shapes])
    height, width = (size, size * np.exp(-log_aspect))
    if log_aspect < 0:
        height, width = size * np.exp(log_aspect), size
    return tuple(max(STRIDE, round(edge / STRIDE) * STRIDE) for edge in (height, width))  # type: ignore[return-value]


def make_loader(
    instances: Instances, tickets: Iterable[Ticket], workers: int, *, pin_memory: bool = False
) -> DataLoader[Batch]:
    """The loader: batches in the order of the tickets, whatever the number of workers."""
    return DataLoader(
        instances,
        batch_size=None,
        sampler=tickets,
        num_workers=workers,
        worker_init_fn=_init_worker,
        prefetch_factor=4 if workers else None,
        pin_memory=pin_memory,
    )


def _init_worker(_: int) -> None:
    import signal

    # Ctrl-C is the main process's to handle: it finishes the step and ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Data code runs at one thread, so that its results do not depend on who runs it."""
    cv2.setNumThreads(0)
    if get_worker_info() is not None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
