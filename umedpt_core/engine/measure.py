"""What a batch of each task costs: time to load, time to compute, memory."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch

from ..data.batch import Batch, Ticket
from ..data.loader import Instances
from ..data.tasks import TaskData
from ..data.visits import cache_for
from .model import Model

AFTERWARDS = 4
"""Batches over which loading is averaged, once libraries are warm and the window is full."""


class Computed(NamedTuple):
    """A batch forward and backward.

    Attributes:
        seconds: That it took, with everything warm.
        held: Bytes of activations for the backward pass; on a GPU the peak of all memory.
        loss: The batch's.
    """

    seconds: float
    held: int
    loss: float


def load(task: TaskData, seed: int, window: int, cache_gb: float) -> tuple[Batch, float]:
    """The task's first training batch, and the seconds that a process loads one of the next.

    Args:
        task: With train opened.
        seed: The mix's.
        window: The mix's.
        cache_gb: Disk space for loaded volumes.
    """
    with cache_for([task], cache_gb) as cache:
        instances = Instances({task.name: task}, seed, window=window, cache=cache)
        first = instances[Ticket("train", task.name, 0)]
        after = [instances[Ticket("train", task.name, n + 1)].seconds for n in range(AFTERWARDS)]
    return first, sum(after) / AFTERWARDS


def compute(model: Model, batch: Batch) -> Computed:
    """Take a batch forward and backward, once to warm up and once to measure.

    Weights and buffers stay as they are; gradients are removed.

    Args:
        model: On its device; its mode is kept.
        batch: From the loader, not empty.
    """
    device = next(model.parameters()).device
    batch = batch.to(device)
    was_training = model.training
    model.eval()  # running statistics stay
    held: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    for _ in range(2):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        held.clear()
        started = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = model.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        value = float(loss.detach())  # waits for the device
        seconds = time.perf_counter() - started
        model.zero_grad(set_to_none=True)
    model.train(was_training)
    on_gpu = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated(device) if on_gpu else sum(held.values())
    return Computed(seconds, peak, value)


def seconds_of(model: Model, task: TaskData, seed: int) -> float:
    """Seconds that a training batch of the task computes; a little where there is none."""
    batch = Instances({task.name: task}, seed)[Ticket("train", task.name, 0)]
    return compute(model, batch).seconds if len(batch) else 1e-3
