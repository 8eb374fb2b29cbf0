"""The unit of work: one batch of one task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Ticket(NamedTuple):
    """What the schedule asks of the loader: a batch, named by counters only.

    Attributes:
        split: ``train`` or ``val``.
        task: The task's name.
        number: The task's own count of batches in this split, from 0.
        step: The optimizer step, from 0, that it belongs to.
        repeat: Which of the task's batches within the step.
        weight: Factor of its loss.
        ends_step: Whether the optimizer steps after it.
    """

    split: str
    task: str
    number: int
    step: int = 0
    repeat: int = 0
    weight: float = 1.0
    ends_step: bool = False


class Skip(NamedTuple):
    """A case that could not be used, or (`fatal` False) of which a part was dropped."""

    case: str
    reason: str
    fatal: bool = True
    dropped: int = 0


@dataclass(frozen=True)
class Batch:
    """Images of one size with their targets; empty where every case of it was unusable.

    Attributes:
        ticket: What was asked for.
        x_BCHW: uint8 from the loader, float32 in [0, 1] after :meth:`to`; B x 3 x H x W.
        target: As the label type collated it.
        ids: The cases, one a target.
        skips: What went wrong on the way.
        seconds: Time that the loading took in the worker.
        waited: Time that training stood still for it.
        bags: Where cases are bags of instances, how many each holds: B is their sum, and the
            instances of a bag follow each other. Else empty.
    """

    ticket: Ticket
    x_BCHW: Tensor
    target: Any
    ids: tuple[str, ...] = ()
    skips: tuple[Skip, ...] = ()
    seconds: float = 0.0
    waited: float = 0.0
    bags: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> Batch:
        """The batch on a device, its images as float32 in [0, 1]."""
        x = self.x_BCHW.to(device, non_blocking=True)
        x = x.float().div_(255) if x.dtype == torch.uint8 else x
        target = map_tensors(self.target, lambda tensor: tensor.to(device, non_blocking=True))
        return replace(self, x_BCHW=x, target=target)


def map_tensors(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Replace the tensors in nested lists and dicts."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: map_tensors(item, function) for key, item in value.items()}
    if isinstance(value, list):
        return [map_tensors(item, function) for item in value]
    return value
