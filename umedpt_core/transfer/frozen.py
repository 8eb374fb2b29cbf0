"""The head on fixed shared blocks (paper: the frozen setting, or linear probing)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..blocks.shared import Blocks
from ..counters import seed_of
from ..data.batch import Batch
from ..errors import DataError, UmedptError
from ..label_type import LabelType
from .best import Best
from .features import Features
from .settings import WEIGHT_DECAY, AdaptSettings

Pair = tuple[Any, Any, tuple[str, ...]]


def train_head(
    label: LabelType,
    head: nn.Module,
    features: Features,
    fit: Sequence[int],
    held: Sequence[int],
    settings: AdaptSettings,
    note: Callable[[int, float], None],
) -> Best | None:
    """Train a head on kept features.

    Args:
        label: The task's label type.
        head: Changed in place.
        features: Outputs of the fixed blocks.
        fit: Places of the training instances.
        held: Places of those that the epoch is chosen on, where the settings say so.
        settings: Epochs, learning rate, batch size, seed.
        note: Told the epochs made and the mean loss of the latest.

    Returns:
        The best epoch's head, where it is chosen.

    Raises:
        DataError: There is nothing to train on, or nothing to choose the epoch on.
        UmedptError: The loss is not finite.
    """
    if not fit:
        raise DataError("no case of the train split can be used")
    optimizer = torch.optim.AdamW(
        head.parameters(), settings.probe_lr, weight_decay=WEIGHT_DECAY, fused=True
    )
    best = Best(head) if settings.val else None
    for epoch in range(settings.epochs):
        generator = torch.Generator().manual_seed(seed_of(settings.seed, "order", epoch))
        order = [fit[place] for place in torch.randperm(len(fit), generator=generator).tolist()]
        losses = []
        for batch in features.batches(order, settings.batch_size):
            loss = label.loss(head, features, batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.detach())
        note(epoch + 1, finite(losses, "probe_lr"))
        if best:
            kept = features.batches(held, settings.batch_size)
            best.offer(head, epoch + 1, mean_loss(label, head, features, kept))
    return best


def finite(losses: Sequence[Tensor], rate: str) -> float:
    """The mean loss.

    Raises:
        UmedptError: It is not finite.
    """
    mean = torch.stack(list(losses)).mean().item()
    if not torch.tensor(mean).isfinite():
        raise UmedptError(f"the loss is {mean}; try a lower {rate}")
    return mean


@torch.no_grad()
def mean_loss(label: LabelType, head: nn.Module, blocks: Blocks, batches: Iterable[Batch]) -> float:
    """The loss over batches, weighted by their cases.

    Raises:
        DataError: There are none: every held-out case was skipped.
    """
    pairs = [(label.loss(head, blocks, batch).item(), len(batch)) for batch in batches]
    if not pairs:
        raise DataError("no held-out case can be used; leave out --val")
    return sum(loss * n for loss, n in pairs) / sum(n for _, n in pairs)


@torch.no_grad()
def predictions(
    label: LabelType, head: nn.Module, blocks: Blocks, batches: Iterable[Batch]
) -> Iterator[Pair]:
    """Prediction, target and case ids of each batch; a bag is a batch by itself."""
    for batch in batches:
        x_BCHW = batch.x_BCHW[None] if batch.bags else batch.x_BCHW
        yield label.predict(head, blocks, x_BCHW), batch.target, batch.ids
