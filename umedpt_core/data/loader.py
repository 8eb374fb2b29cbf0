"""One loader for all tasks: a fixed budget of workers, driven by the schedule's tickets.

A worker opens the cases of one ticket, cuts, resizes and augments them, and collates ONE task's
batch of one image size. What it does depends on the ticket alone, never on the worker.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, get_worker_info

from ..errors import reason
from .augment import Augmentation, resize
from .batch import Batch, Skip, Ticket
from .cache import Cache
from .instances import Instance, cut
from .tasks import TaskData
from .visits import Visits

STRIDE = 32
"""Edges are rounded to multiples of the encoder's largest stride, where all skips align."""


class Instances(Dataset[Batch]):
    """Turns tickets into batches.

    Args:
        tasks: The opened tasks by name.
        seed: The mix's seed.
        window: Volumes or slides of a task that are in use at a time.
        cache: Keeps them; without one a case is loaded for every instance.
    """

    def __init__(
        self,
        tasks: Mapping[str, TaskData],
        seed: int,
        *,
        window: int = 1,
        cache: Cache | None = None,
    ) -> None:
        self.tasks = dict(tasks)
        self.visits = Visits(tasks, seed, window, cache)
        self._augmentations = {
            name: Augmentation(task.augmentation, task.geometry) for name, task in tasks.items()
        }

    def __getitem__(self, ticket: Ticket) -> Batch:
        """The batch of a ticket; cases that cannot be used are left out and reported in it."""
        started = time.perf_counter()
        with _one_thread():
            self.visits.load_ahead(ticket)
            batch = self._make(ticket)
        object.__setattr__(batch, "seconds", time.perf_counter() - started)
        return batch

    def _make(self, ticket: Ticket) -> Batch:
        task = self.tasks[ticket.task]
        opened: list[tuple[str, Instance, int | None]] = []
        skips: list[Skip] = []
        for visit, draw in self.visits.of(ticket):
            case = task.cases[visit.split][visit.case]
            try:
                instance = cut(task, case, self.visits.arrays(task, visit), draw)
            except Exception as error:  # a plugin's reader may raise anything
                skips.append(Skip(case.id, reason(error)))
                continue
            if instance.dropped:
                note = f"{instance.dropped} unusable annotation(s) dropped"
                skips.append(Skip(case.id, note, fatal=False, dropped=instance.dropped))
            opened.append((case.id, instance, draw.seed))
        if not opened:
            return Batch(ticket, torch.empty(0, 3, STRIDE, STRIDE), None, (), tuple(skips))
        shapes = [image.shape[:2] for _, instance, _ in opened for image in instance.images]
        size = common_size(task.instances.size, shapes)
        images, targets = [], []
        for _, instance, seed in opened:
            augment = self._augmentations[task.name] if seed is not None else None
            moved, target = fit(instance, size, task.geometry, augment, seed)
            images += moved
            targets.append(target)
        x_BHWC = np.stack(images)
        in_bags = task.instances.kind == "bag"
        return Batch(
            ticket,
            torch.from_numpy(np.ascontiguousarray(x_BHWC.transpose(0, 3, 1, 2))),
            task.label.collate(targets),
            tuple(case_id for case_id, *_ in opened),
            tuple(skips),
            bags=tuple(len(instance.images) for _, instance, _ in opened) if in_bags else (),
        )


def fit(
    instance: Instance,
    size: tuple[int, int],
    geometry: str,
    augment: Augmentation | None = None,
    seed: int | None = None,
) -> tuple[list[NDArray[Any]], Any]:
    """Resize an instance's images, and augment them; those of a bag move alike.

    Args:
        instance: Its target moves along, but for that of a bag, which has no place in an image.
        size: (height, width).
        geometry: What moves with the image.
        augment: None augments nothing.
        seed: Of the augmentation.
    """
    images, target = [], instance.target
    for image in instance.images:
        image, target = resize(image, instance.target, size, geometry)
        if augment is not None and seed is not None:
            image, target = augment(image, target, seed)
        images.append(image)
    return images, target


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

    # The main process finishes the step and ends the workers; torchrun signals them all.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
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
