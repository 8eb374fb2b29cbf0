"""AdamW, its learning rate over time, and gradient clipping."""

from __future__ import annotations

import math
from typing import Any

import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from ..mix import OptimizerSettings
from .model import Model


def make_optimizer(model: Model, settings: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW over all parameters, fused.

    Args:
        model: To be trained; norms are swapped already.
        settings: With `layer_decay`, the encoder's layers learn the slower the earlier they are;
            with `encoder_lr`, all of it at that rate.
    """
    encoder: nn.Module = model.blocks.encoder.net
    layers: list[dict[str, Any]] = [{"params": list(encoder.parameters()), "lr_scale": 1.0}]
    if settings.layer_decay is not None:
        layers = param_groups_layer_decay(
            encoder, settings.weight_decay, layer_decay=settings.layer_decay
        )
    scale = (settings.encoder_lr or settings.lr) / settings.lr
    groups = [
        {"params": layer["params"], "scale": scale * layer["lr_scale"], "hold": settings.hold}
        for layer in layers
    ]
    own = {id(p) for layer in layers for p in layer["params"]}
    rest = [p for p in model.parameters() if id(p) not in own]
    groups.append({"params": rest, "scale": 1.0, "hold": 0})
    return torch.optim.AdamW(groups, settings.lr, weight_decay=settings.weight_decay, fused=True)


def set_rate(
    optimizer: torch.optim.Optimizer, settings: OptimizerSettings, step: int, steps: int
) -> None:
    """Set the learning rate of an optimizer step: a pure function of its number.

    Args:
        optimizer: Of :func:`make_optimizer`.
        settings: Warm-up steps, then constant or down to 0 along half a cosine.
        step: From 0.
        steps: Of the whole run.
    """
    rate = settings.lr
    if step < settings.warmup:
        rate *= (step + 1) / (settings.warmup + 1)
    elif settings.schedule == "cosine":
        done = (step - settings.warmup) / max(1, steps - settings.warmup)
        rate *= (1 + math.cos(math.pi * done)) / 2
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"] if step >= group["hold"] else 0.0


def clip(model: nn.Module, norm: float | None) -> None:
    """Scale all gradients down to a common norm, where they exceed it."""
    if norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), norm)
