"""The swap: it gets one norm layer and returns its replacement."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MapRMSNorm(nn.Module):
    """Divides a map by its root mean square over (C, H, W), then scales every channel.

    Args:
        channels: C.
        eps: Added to the mean square.
    """

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The same shape."""
        square_B111 = x_BCHW.square().mean((1, 2, 3), keepdim=True)
        return x_BCHW * (square_B111 + self.eps).rsqrt() * self.weight[:, None, None]


def swap(old: nn.Module, channels: int) -> nn.Module:
    """Token norms stay over the last dimension; norms of maps span the sample.

    timm's LayerNorm2d and RmsNorm2d are token norms by class, but take maps.
    """
    eps = getattr(old, "eps", None) or 1e-6
    if isinstance(old, nn.LayerNorm | nn.RMSNorm) and "2d" not in type(old).__name__:
        return nn.RMSNorm(channels, eps=eps)
    return MapRMSNorm(channels, eps)
