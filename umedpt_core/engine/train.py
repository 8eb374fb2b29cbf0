"""Algorithm 1 of the paper: one task's batch at a time, gradients accumulated, then a step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from ..counters import seed_of
from ..data.batch import Batch
from .model import Model

if TYPE_CHECKING:
    from .run import Run


def train(
    model: Model, batches: Iterable[Batch], optimizer: torch.optim.Optimizer, run: Run
) -> None:
    """Train until the run says stop.

    Only one task's graph exists at a time; its activations are gone after its backward pass.

    Args:
        model: Shared blocks and the tasks' heads.
        batches: In the order of the schedule, on the device.
        optimizer: Over all parameters.
        run: Collects losses, and decides at the end of each step whether to go on.
    """
    model.train()
    optimizer.zero_grad(set_to_none=True)
    for batch in batches:
        ticket = batch.ticket
        if len(batch):  # an empty batch still reaches the update
            torch.manual_seed(seed_of(run.seed, ticket.step, ticket.task, ticket.repeat))
            loss = model.loss(batch)
            (ticket.weight * loss).backward()  # type: ignore[no-untyped-call]
            run.record(batch, loss.detach())
        else:
            run.record(batch, None)
        if ticket.ends_step:
            run.before_update()  # gradients of all processes are summed here, and clipped
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if run.end_step():
                return
