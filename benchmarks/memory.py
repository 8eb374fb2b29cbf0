"""Peak activation memory at 2, 8 and 32 tasks: gradient accumulation beside the summed loss.

Counted are the tensors that autograd saves for the backward pass (`saved_tensors_hooks`): the bytes
of their distinct storages that are alive at once, parameters and buffers of the model excluded, and
of that the peak over one optimizer step. "accumulated" is `umedpt_core.engine.train`; "summed"
adds the losses of all tasks and calls backward once. Heads grow with the tasks and are shown apart.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from umedpt_core import load_catalogue
from umedpt_core.blocks.shared import SharedBlocks
from umedpt_core.data.batch import Batch, Ticket
from umedpt_core.engine.model import Model
from umedpt_core.engine.train import train
from umedpt_core.specs import resolve

MIXTURES = {
    # the heaviest first, so that two tasks hold the peak of the mixture
    "classification": ("classification",),
    "all label types": ("segmentation", "detection", "classification", "multilabel"),
}
TASKS, SIZE, BATCH, CLASSES, SEED = (2, 8, 32), (64, 64), 2, 5, 0
MIB = 1 << 20


class Saved:
    """Bytes that autograd keeps alive."""

    def __init__(self, model: torch.nn.Module) -> None:
        own = [*model.parameters(), *model.buffers()]
        self.own = {tensor.untyped_storage().data_ptr() for tensor in own}
        self.uses: Counter[int] = Counter()
        self.now = self.peak = 0

    def hooks(self) -> AbstractContextManager[Any]:
        """Within it every tensor that is saved is counted for as long as it is kept."""
        return torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: _Kept(tensor, self), lambda kept: kept.tensor
        )


class _Kept:
    """A saved tensor, held by the graph alone: deleted when its backward has run."""

    def __init__(self, tensor: Tensor, saved: Saved) -> None:
        storage = tensor.untyped_storage()
        self.tensor, self.saved, self.key, self.size = tensor, saved, storage.data_ptr(), 0
        if self.key not in saved.own:
            self.size = storage.nbytes()
            saved.now += self.size if not saved.uses[self.key] else 0
            saved.uses[self.key] += 1
            saved.peak = max(saved.peak, saved.now)

    def __del__(self) -> None:
        if self.size:
            self.saved.uses[self.key] -= 1
            self.saved.now -= self.size if not self.saved.uses[self.key] else 0


class OneStep:
    """What the loop asks of a run, for a single step."""

    seed = SEED

    def record(self, batch: Batch, loss: Tensor | None) -> None:
        """Forget the loss."""

    def before_update(self) -> None:
        """Nothing to sum or to clip."""

    def end_step(self) -> bool:
        """Stop."""
        return True


def accumulated(model: Model, batches: Sequence[Batch], optimizer: Any) -> None:
    """One step of the engine."""
    train(model, batches, optimizer, OneStep())  # type: ignore[arg-type]


def summed(model: Model, batches: Sequence[Batch], optimizer: Any) -> None:
    """One step in the usual way."""
    sum(model.loss(batch) for batch in batches).backward()
    optimizer.step()
    optimizer.zero_grad()


def build(label_types: Sequence[str], number: int) -> tuple[Model, list[Batch]]:
    """A model with swin_tiny and so many tasks, and one batch a task."""
    catalogue = load_catalogue()
    specs = [catalogue.find("label type", name).spec for name in label_types]
    swap = resolve(catalogue.find("norm", "layernorm").spec.swap)
    torch.manual_seed(SEED)
    needs = {block for spec in specs for block in spec.blocks}
    blocks = SharedBlocks("swin_tiny_patch4_window7_224", needs=needs, swap=swap)
    names = [f"task{n:02}" for n in range(number)]
    made = [resolve(spec.factory)([f"c{c}" for c in range(CLASSES)]) for spec in specs]
    labels = {name: made[n % len(made)] for n, name in enumerate(names)}
    rng = np.random.default_rng(SEED)
    batches = []
    for name, label in labels.items():
        targets = [label.check(label.random_target(SIZE, rng), SIZE)[0] for _ in range(BATCH)]
        ticket = Ticket("train", name, 0, ends_step=name == names[-1])
        x_BCHW = torch.rand(BATCH, 3, *SIZE)
        batches.append(Batch(ticket, x_BCHW, label.collate(targets), ("case",) * BATCH))
    return Model(blocks, labels, SEED), batches


def peak(way: Callable[..., None], label_types: Sequence[str], number: int) -> tuple[float, float]:
    """Peak MiB of saved activations in one step; MiB of the heads."""
    model, batches = build(label_types, number)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    saved = Saved(model)
    with saved.hooks():
        way(model, batches, optimizer)
    return saved.peak / MIB, sum(p.nbytes for p in model.heads.parameters()) / MIB


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2 and 8 tasks only")
    counts = TASKS[:2] if parser.parse_args().quick else TASKS
    print(f"swin_tiny, {SIZE[0]} px, batch {BATCH}, MiB")
    for name, label_types in MIXTURES.items():
        ours, theirs = [], []
        for number in counts:
            (low, heads), (high, _) = (
                peak(way, label_types, number) for way in (accumulated, summed)
            )
            ours.append(low)
            theirs.append(high)
            print(
                f"{name:16} {number:3} tasks  accumulated {low:7.1f}  summed {high:7.1f}  "
                f"ratio {high / low:5.1f}  heads {heads:.2f}"
            )
        print(
            f"memory, {name}: from {counts[0]} to {counts[-1]} tasks the peak grows by "
            f"{max(ours) / min(ours) - 1:.1%} (aim: under 5 %), with the summed loss "
            f"{theirs[-1] / theirs[0]:.1f} times; at {counts[-1]} tasks that way needs "
            f"{theirs[-1] / ours[-1]:.1f} times as much"
        )


if __name__ == "__main__":
    main()
