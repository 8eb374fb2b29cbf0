"""Several processes, on one machine or many, that take optimizer steps together (torchrun).

Each runs its share of a step's batches; then the gradients are summed, once a step, and all take
the same step. No loss waits for another process, so processes may run different tasks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..data.batch import Ticket
from ..errors import ConfigError

PATIENCE = timedelta(hours=2)
"""How long a process waits for another, which may evaluate a large task meanwhile."""
BUCKET = 8 << 20
"""Bytes of gradients that are summed at a time, while the next are copied together."""
NOTHING = Ticket("nothing", "", 0, ends_step=True)
"""A share without batches; it still ends the step."""


class Ranks:
    """This process among the others; with one process everything is a no-op.

    Attributes:
        rank: This process, from 0; the first one writes.
        world: How many there are.
        device: The one that is this process's own; None: as for a single one.
    """

    rank, world = 0, 1
    device: str | None = None

    @property
    def first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def sum_gradients(self, model: nn.Module, stopping: int) -> int:
        """Sum the gradients over all processes, in place; one that nobody has stays None.

        Args:
            model: The same in all processes.
            stopping: A signal's number where this process was asked to stop, else 0.

        Returns:
            The largest of all processes' `stopping`.
        """
        return stopping

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        return values

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, which JSON can hold, in the order of ranks."""
        return [value]

    def same_start(self, model: nn.Module) -> None:
        """Give all processes the parameters and buffers of the first."""

    def mean_buffers(self, model: nn.Module) -> None:
        """Average the buffers, such as the running statistics of batch norm."""


class _Group(Ranks):
    """The default process group, which only the methods of this class can see.

    A loss or a metric that found it would wait for processes that do not run its task; the metrics
    of torchmetrics do.
    """

    def __init__(self, device: str | None) -> None:
        self.rank, self.world, self.device = dist.get_rank(), dist.get_world_size(), device
        self._group = dist.group.WORLD
        dist.group.WORLD = None

    @contextmanager
    def visible(self) -> Iterator[None]:
        dist.group.WORLD = self._group
        try:
            yield
        finally:
            dist.group.WORLD = None

    def sum_gradients(self, model: nn.Module, stopping: int) -> int:
        parameters = [p for p in model.parameters() if p.requires_grad]
        used = torch.tensor([p.grad is not None for p in parameters] + [False], dtype=torch.int32)
        used[-1] = stopping
        with self.visible():
            dist.all_reduce(used, dist.ReduceOp.MAX)  # on the CPU: the device is not waited for
        summed = [p for p, flag in zip(parameters, used.tolist()[:-1], strict=True) if flag]
        works = []
        for bucket in _buckets(summed):
            grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            flat = torch.cat([grad.reshape(-1) for grad in grads])
            parts = torch.split(flat, [p.numel() for p in bucket])
            for p, part in zip(bucket, parts, strict=True):
                p.grad = part.view_as(p)
            with self.visible():
                works.append(dist.all_reduce(flat, async_op=True))
        for work in works:
            work.wait()
        return int(used[-1])

    def sum(self, values: Tensor) -> Tensor:
        with self.visible():
            dist.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world)]
        with self.visible():
            dist.all_gather(sizes, torch.tensor([len(data)]))
            longest = max(int(size) for size in sizes)
            parts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.world)]
            dist.all_gather(parts, nn.functional.pad(data, (0, longest - len(data))))
        pairs = zip(parts, sizes, strict=True)
        return [json.loads(bytes(part[: int(size)].tolist())) for part, size in pairs]

    def same_start(self, model: nn.Module) -> None:
        with self.visible():
            for value in model.state_dict().values():
                dist.broadcast(value, 0)

    def mean_buffers(self, model: nn.Module) -> None:
        for buffer in model.buffers():
            if buffer.is_floating_point():
                self.sum(buffer).div_(self.world)


def _buckets(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        bucket.append(parameter)
        size += parameter.nbytes
        if size >= BUCKET:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


@contextmanager
def join_ranks() -> Iterator[Ranks]:
    """This process's place among those that torchrun has started; alone without it.

    Raises:
        ConfigError: This machine has fewer GPUs than processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
        return
    backend, device = "gloo", None
    if torch.cuda.is_available() and dist.is_nccl_available():
        place, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if place >= gpus:
            raise ConfigError(
                f"torchrun --nproc-per-node: process {place + 1} of this machine finds {gpus} "
                f"GPU(s); start {gpus}, or set CUDA_VISIBLE_DEVICES= to use none"
            )
        torch.cuda.set_device(place)
        backend, device = "cpu:gloo,cuda:nccl", f"cuda:{place}"
    dist.init_process_group(backend, timeout=PATIENCE)
    ranks = _Group(device)
    yield ranks
    with ranks.visible():  # after an error not: it would wait for the others
        dist.destroy_process_group()


def share_out(costs: Mapping[str, float], world: int) -> dict[str, int]:
    """The process that runs each task: the costliest first, to whoever has least to do.

    Args:
        costs: Task to the time that its batches of a step take.
        world: Number of processes.
    """
    load = [0.0] * world
    owner = {}
    for task in sorted(costs, key=lambda task: (-costs[task], task)):
        owner[task] = load.index(min(load))
        load[owner[task]] += costs[task]
    return owner


def tasks_of(
    steps: Iterable[Sequence[Ticket]], ranks: Ranks, owner: Mapping[str, int]
) -> Iterator[Ticket]:
    """The tickets of the tasks that this process owns."""
    for step in steps:
        mine = [ticket for ticket in step if owner[ticket.task] == ranks.rank]
        yield from _ended(step, mine)


def batches_of(
    steps: Iterable[Sequence[Ticket]],
    ranks: Ranks,
    owner: Mapping[str, int],
    start: Mapping[str, int],
    done: Mapping[str, int],
) -> Iterator[Ticket]:
    """A batch of its own for every training ticket, a share of the tasks in evaluation.

    Args:
        steps: The tickets by step.
        ranks: This process.
        owner: Who evaluates which task.
        start: Each task's first number in the schedule.
        done: How many batches of each task were consumed before, by all processes.
    """
    for step in steps:
        mine = []
        for ticket in step:
            if ticket.split == "train":
                past = (ticket.number - start[ticket.task]) * ranks.world
                number = done[ticket.task] + past + ranks.rank
                mine.append(
                    ticket._replace(
                        number=number,
                        repeat=ticket.repeat * ranks.world + ranks.rank,
                        weight=ticket.weight / ranks.world,
                    )
                )
            elif owner[ticket.task] == ranks.rank:
                mine.append(ticket)
        yield from _ended(step, mine)


def _ended(step: Sequence[Ticket], mine: list[Ticket]) -> Iterator[Ticket]:
    if not step or not step[-1].ends_step:  # an evaluation
        yield from mine
    elif mine:
        yield from mine[:-1]
        yield mine[-1]._replace(ends_step=True)
    else:
        yield NOTHING._replace(step=step[-1].step)
