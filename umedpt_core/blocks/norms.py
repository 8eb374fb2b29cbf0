"""Replacing the normalization layers of the shared blocks (paper: Architecture)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

Swap = Callable[[nn.Module, int], nn.Module | None]


@dataclass
class SwapReport:
    """What a swap did.

    Attributes:
        replaced: Number of layers replaced, by the class name of the old layer.
        scales_dropped: Layers whose learned scale (not all ones) was not carried over.
        zero_scales: Layers that were initialised with a scale of zero, which opens a residual
            branch slowly; a norm without parameters opens it at once.
    """

    replaced: dict[str, int] = field(default_factory=dict)
    scales_dropped: int = 0
    zero_scales: int = 0

    def __str__(self) -> str:
        if not self.replaced:
            return "kept every norm"
        text = "replaced " + ", ".join(f"{n} {name}" for name, n in sorted(self.replaced.items()))
        if self.scales_dropped:
            text += f"; {self.scales_dropped} pretrained scales were dropped: retrain before use"
        if self.zero_scales:
            text += f"; {self.zero_scales} of them started at scale 0 and now start at 1"
        return text


def swap_norms(root: nn.Module, swap: Swap) -> SwapReport:
    """Replace every normalization layer below a module.

    An activation or dropout that timm keeps inside its norm layers stays, behind the new layer.

    Args:
        root: Changed in place.
        swap: (old layer, channels) -> new layer, or None to leave it.
    """
    report = SwapReport()
    for parent in list(root.modules()):
        for name, old in list(parent.named_children()):
            channels = norm_channels(old)
            if channels is None or (new := swap(old, channels)) is None:
                continue
            _record(report, old, new)
            extras = [m for key in ("drop", "act") if (m := getattr(old, key, None)) is not None]
            extras = [m for m in extras if not isinstance(m, nn.Identity)]
            setattr(parent, name, nn.Sequential(new, *extras) if extras else new)
    return report


def norm_channels(module: nn.Module) -> int | None:
    """The number of channels of a normalization layer; None for any other module."""
    if isinstance(module, _BatchNorm | _InstanceNorm):
        return int(module.num_features)
    if isinstance(module, nn.GroupNorm):
        return int(module.num_channels)
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return int(module.normalized_shape[-1])
    return None


def _record(report: SwapReport, old: nn.Module, new: nn.Module) -> None:
    kind = type(old).__name__
    report.replaced[kind] = report.replaced.get(kind, 0) + 1
    scale = getattr(old, "weight", None)
    if scale is None or getattr(new, "weight", None) is not None:
        return
    report.zero_scales += int(bool((scale == 0).all()))
    report.scales_dropped += int(not bool((scale == 0).all() or (scale == 1).all()))
