"""What a step of each task costs: time to load, time to compute, memory."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from ..data.batch import Ticket
from ..data.loader import Instances
from ..data.tasks import TaskData
from .model import Model


@dataclass(frozen=True)
class Cost:
    """One training batch of a task.

    Attributes:
        loading: Seconds to load it in one process.
        computing: Seconds forward and backward.
        held: Bytes of activations, or on a GPU the peak of all memory.
        loss: Its loss.
        reason: Why there is no batch; else empty.
    """

    loading: float
    computing: float = 0.0
    held: int = 0
    loss: float = float("nan")
    reason: str = ""


def cost_of(model: Model, task: TaskData, seed: int) -> Cost:
    """Load the task's first training batch and take it forward and backward, twice.

    The first time warms up. Weights and buffers stay as they are.

    Args:
        model: On its device; its mode is kept.
        task: With train opened.
        seed: The mix's.
    """
    started = time.perf_counter()
    batch = Instances({task.name: task}, seed)[Ticket("train", task.name, 0)]
    loading = time.perf_counter() - started
    if not len(batch):
        return Cost(loading, reason=batch.skips[0].reason if batch.skips else "no case")
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

    computing = 0.0
    for _ in range(2):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        held.clear()
        started = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = model.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        value = float(loss.detach())  # waits for the device
        computing = time.perf_counter() - started
        model.zero_grad(set_to_none=True)
    model.train(was_training)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else sum(held.values())
    return Cost(loading, computing, peak, value)


def seconds_of(model: Model, task: TaskData, seed: int) -> float:
    """Seconds that a batch of the task computes, at least a little."""
    return max(1e-3, cost_of(model, task, seed).computing)
