"""Checks of a norm."""

from __future__ import annotations

import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from ..specs import resolve
from .kit import Failure, Subject, check

CHANNELS = 48
NORMS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "BatchNorm2d": (nn.BatchNorm2d(CHANNELS), (2, CHANNELS, 6, 4)),
    "InstanceNorm2d": (nn.InstanceNorm2d(CHANNELS), (2, CHANNELS, 6, 4)),
    "GroupNorm": (nn.GroupNorm(4, CHANNELS), (2, CHANNELS, 6, 4)),
    "LayerNorm": (nn.LayerNorm(CHANNELS), (2, 6, CHANNELS)),
    "RMSNorm": (nn.RMSNorm(CHANNELS), (2, 6, CHANNELS)),
    # A layer norm by class, but of maps: timm's ConvNeXt is built with it.
    "LayerNorm2d": (LayerNorm2d(CHANNELS), (2, CHANNELS, 6, 4)),
}
"""The norms that timm's encoders and our decoders are made of, with the shape of an input."""


@check(
    "norm",
    "swap gives a module, or None",
    hint="swap is (old module, channels) -> nn.Module, or None to leave the old one",
    needs=("resolves",),
)
def swaps(subject: Subject) -> None:
    """For every kind of norm."""
    for name, (old, _) in NORMS.items():
        new = resolve(subject.spec.swap)(old, CHANNELS)
        if new is not None and not isinstance(new, nn.Module):
            raise Failure(f"for {name} it gives {type(new).__name__}")


@check(
    "norm",
    "swapped norms keep shapes and are finite",
    hint="norms of maps get B x C x H x W, those of tokens B x N x C",
    needs=("swaps",),
)
def norms(subject: Subject) -> None:
    """In training and afterwards, with gradients."""
    for name, (old, shape) in NORMS.items():
        new = resolve(subject.spec.swap)(old, CHANNELS)
        if new is None:
            continue
        for training in (True, False):
            x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
            y: Tensor = new.train(training)(x)
            if y.shape != x.shape:
                raise Failure(f"for {name}, {tuple(x.shape)} becomes {tuple(y.shape)}")
            y.square().sum().backward()  # type: ignore[no-untyped-call]
            if not y.isfinite().all() or x.grad is None or not x.grad.isfinite().all():
                raise Failure(f"for {name}, outputs or gradients are not finite")
