"""Training on images: all parameters, few of them, or the head alone (paper: fine-tuning)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..counters import seed_of
from ..engine.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from ..engine.model import Model
from ..engine.stop import Stop
from ..errors import DataError, Interrupted
from .best import Best
from .frozen import finite, mean_loss
from .loading import Loading
from .partial import add_low_rank, train_biases
from .settings import WEIGHT_DECAY, AdaptSettings

FEW = 100
"""Few parameters take a rate that is this many times as high as that of all."""
ROWS = 20
"""Of the training loss, about."""
SAVE_EVERY = 300
"""Seconds between two checkpoints."""


def number_of_steps(loading: Loading, settings: AdaptSettings) -> int:
    """Optimizer steps of training on images."""
    steps = settings.epochs * loading.steps_per_epoch
    if settings.mode == "frozen" or settings.updates is None:
        return steps
    return min(steps, settings.updates)


def trained_parameters(model: Model, settings: AdaptSettings) -> list[dict[str, Any]]:
    """What the mode trains, with its learning rates.

    Raises:
        ConfigError: The encoder has nothing of what the mode trains.
    """
    head = list(model.heads.parameters())
    if settings.mode == "frozen":
        return [{"params": head, "lr": settings.probe_lr}]
    if settings.mode == "finetune":
        model.blocks.requires_grad_(True)
        shared, rate = list(model.blocks.parameters()), settings.lr
    elif settings.mode == "bitfit":
        shared, rate = train_biases(model.blocks), FEW * settings.lr
    else:
        shared = add_low_rank(model.blocks, seed_of(settings.seed, "lora"))
        rate = FEW * settings.lr
    return [{"params": shared, "lr": rate}, {"params": head, "lr": settings.head_lr}]


def train_on_images(
    model: Model,
    loading: Loading,
    groups: list[dict[str, Any]],
    settings: AdaptSettings,
    folder: Path,
    note: Callable[[int, float], None],
    stop: Stop,
    *,
    augmented: bool,
) -> Best | None:
    """Train on images, from the latest checkpoint in the folder, if there is one.

    Batch statistics stay as they are: a small set is no better sample than what they come from.

    Args:
        model: With the task's head; put into evaluation mode in the end.
        loading: Gives the batches.
        groups: Of :func:`trained_parameters`.
        settings: Epochs, updates, seed.
        folder: For checkpoints, which are written now and then and when stopped.
        note: Told the optimizer steps made and the mean loss since the last time.
        stop: Asks to stop after the current step.
        augmented: Whether the images are.

    Raises:
        DataError: No case can be used, or none of those that the epoch is chosen on.
        Interrupted: Stopped; a checkpoint is written.
        UmedptError: The loss is not finite, or the disk is full.
    """
    per_epoch, steps = loading.steps_per_epoch, number_of_steps(loading, settings)
    optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY, fused=True)
    best = Best(model) if settings.val else None
    models: dict[str, nn.Module] = {"model": model}
    if best:
        models["best"] = best.module
    state: dict[str, Any] = {"step": 0}
    if saved := list_checkpoints(folder):
        state = load_checkpoint(saved[-1], models, optimizer)
        if best:
            best.resume(state)
    first = state["step"]
    log_every = per_epoch * math.ceil(steps / per_epoch / ROWS)
    losses: list[Tensor] = []
    last_save = time.monotonic()
    _train_mode(model)
    batches = loading.training(first, steps, augmented=augmented)
    for step, batch in enumerate(batches, first + 1):
        if len(batch):
            torch.manual_seed(seed_of(settings.seed, step, loading.data.name))
            loss = model.loss(batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.detach())
        if step % log_every == 0 or step == steps:
            if not losses:
                raise DataError("no case of the train split can be used")
            note(step, finite(losses, "lr"))
            losses.clear()
        if best and (step % per_epoch == 0 or step == steps):
            best.offer(model, step, held_out_loss(model, loading))
        if stop.asked or time.monotonic() - last_save > SAVE_EVERY:
            state = {"step": step} | (best.state if best else {})
            save_checkpoint(folder, models, optimizer, state, keep=1)
            last_save = time.monotonic()
            if stop.asked and step < steps:
                raise Interrupted(
                    f"stopped after step {step} of {steps}, all saved; go on with --resume"
                )
    model.eval()
    return best


def held_out_loss(model: Model, loading: Loading) -> float:
    """The loss on the validation share."""
    (label,), (head,) = model.labels.values(), model.heads.values()
    model.eval()
    loss = mean_loss(label, head, model.blocks, loading.evaluation("val"))
    _train_mode(model)
    return loss


def _train_mode(model: Model) -> None:
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
