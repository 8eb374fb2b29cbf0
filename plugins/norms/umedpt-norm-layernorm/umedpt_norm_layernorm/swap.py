"""The two swaps. Each gets one norm layer and returns its replacement."""

from __future__ import annotations

import torch
from torch import nn


def without_parameters(old: nn.Module, channels: int) -> nn.Module:
    """Layer norm without scale and bias, for any norm layer."""
    return _like(old, channels, affine=False)


def with_parameters(old: nn.Module, channels: int) -> nn.Module:
    """Layer norm with a scale and a bias a channel; those of a layer norm are carried over."""
    new = _like(old, channels, affine=True)
    if isinstance(old, nn.LayerNorm) and old.elementwise_affine:
        with torch.no_grad():
            new.weight.copy_(old.weight)
            if old.bias is not None:
                new.bias.copy_(old.bias)
    return new


def _like(old: nn.Module, channels: int, *, affine: bool) -> nn.Module:
    """Token norms stay over the last dimension; norms of maps span (C, H, W) of one sample.

    timm's LayerNorm2d and its kin (LayerNormAct2d, LayerNorm2dFp32) are LayerNorms by class but
    normalise the channels of an NCHW map at each pixel by itself, so they are norms of maps.
    """
    if isinstance(old, nn.LayerNorm | nn.RMSNorm) and "2d" not in type(old).__name__:
        return nn.LayerNorm(channels, eps=old.eps or 1e-6, elementwise_affine=affine)
    return nn.GroupNorm(1, channels, eps=old.eps, affine=affine)
