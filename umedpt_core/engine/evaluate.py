"""Evaluating on held-out cases: loss and the label type's metrics, task by task."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ..data.batch import Batch
from .model import Model


@torch.no_grad()
def evaluate(model: Model, batches: Iterable[Batch]) -> dict[str, dict[str, float]]:
    """Evaluate the batches' tasks.

    A batch is always evaluated whole: Dice and FCOS losses are no means over images.

    Args:
        model: Put into evaluation mode, and back into the mode it had.
        batches: On the device; empty ones are passed over.

    Returns:
        For each task ``loss`` (mean of the batches, weighted by their images), ``n`` (images), and
        the label type's metrics.
    """
    losses: dict[str, list[tuple[torch.Tensor, int]]] = {}
    metrics: dict[str, Any] = {}
    was_training = model.training
    model.eval()
    try:
        for batch in batches:
            if not len(batch):
                continue
            task = batch.ticket.task
            with model.blocks.keeping_features():
                losses.setdefault(task, []).append((model.loss(batch), len(batch)))
                # In evaluation a bag is a batch by itself.
                x_BCHW = batch.x_BCHW[None] if batch.bags else batch.x_BCHW
                prediction = model.predict(task, x_BCHW)
            metrics.setdefault(task, model.labels[task].metric()).update(prediction, batch.target)
    finally:
        model.train(was_training)
    results: dict[str, dict[str, float]] = {}
    for task, parts in sorted(losses.items()):
        n = sum(size for _, size in parts)
        loss = sum(float(loss) * size for loss, size in parts) / n
        results[task] = {"loss": loss, "n": n, **metrics[task].compute()}
    return results
