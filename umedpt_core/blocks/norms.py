"""Replacing the normalization layers of the shared blocks (paper: Architecture)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from .folding import Trace

Swap = Callable[[nn.Module, int], nn.Module | None]


@dataclass
class SwapReport:
    """What a swap did.

    Attributes:
        replaced: Number of layers replaced, by the class name of the old layer.
        folded: Pretrained layers whose scale and shift went into the linear layers behind them:
            the network computes the same.
        dropped: Pretrained layers that lost their scale, their shift or their way to take
            statistics: the network computes something else.
        zero_scales: Layers that were initialised with a scale of zero, which opens a residual
            branch slowly; a norm without parameters opens it at once.
    """

    replaced: dict[str, int] = field(default_factory=dict)
    folded: int = 0
    dropped: int = 0
    zero_scales: int = 0

    def __str__(self) -> str:
        if not self.replaced:
            return "kept every norm"
        text = "replaced " + ", ".join(f"{n} {name}" for name, n in sorted(self.replaced.items()))
        if self.folded:
            text += (
                f"; {self.folded} pretrained ones were folded into the linear layers behind them"
            )
        if self.dropped:
            text += (
                f"; scale, shift or statistics of {self.dropped} pretrained ones were dropped: "
                "retrain before use"
            )
        if self.zero_scales:
            text += f"; {self.zero_scales} of them started at scale 0 and now start at 1"
        return text


def swap_norms(
    root: nn.Module, swap: Swap, run: Callable[[], Iterable[Tensor]] | None = None
) -> SwapReport:
    """Replace every normalization layer below a module.

    An activation or dropout that timm keeps inside its norm layers stays, behind the new layer.
    Where a pretrained layer norm is read by linear layers alone and its replacement has no
    parameters, its scale and shift are folded into them, which changes nothing but rounding. A
    linear layer without bias gets one if the shift needs it.

    Args:
        root: Changed in place.
        swap: (old layer, channels) -> new layer, or None to leave it.
        run: Runs the network in evaluation mode and returns its outputs; shows what reads each
            norm. None folds nothing.
    """
    places = [
        (parent, name, old, channels)
        for parent in root.modules()
        for name, old in parent.named_children()
        if (channels := norm_channels(old)) is not None
    ]
    swapped = {old: _replacement(old, channels, swap) for _, _, old, channels in places}
    new = {old: layer for old, layer in swapped.items() if layer is not None}
    trace = Trace(new)
    if run and any(isinstance(old, nn.LayerNorm) and _pretrained(old) for old in new):
        trace.record(root, run)
    report = SwapReport()
    for old in new:
        report.replaced[type(old).__name__] = report.replaced.get(type(old).__name__, 0) + 1
        if _pretrained(old):
            folded = trace.fold(old)
            report.folded += folded
            report.dropped += not folded and old not in trace.same
        report.zero_scales += _closed(old) and getattr(new[old], "weight", None) is None
    for parent, name, old, _ in places:
        if old in new:
            setattr(parent, name, new[old])
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


def _replacement(old: nn.Module, channels: int, swap: Swap) -> nn.Module | None:
    if (new := swap(old, channels)) is None:
        return None
    extras = [m for key in ("drop", "act") if (m := getattr(old, key, None)) is not None]
    extras = [m for m in extras if not isinstance(m, nn.Identity)]
    return nn.Sequential(new, *extras) if extras else new


def _pretrained(norm: nn.Module) -> bool:
    """Whether a norm differs from how norms are initialised."""
    start = {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1}
    return not _closed(norm) and any(
        (value := getattr(norm, key, None)) is not None and bool((value != initial).any())
        for key, initial in start.items()
    )


def _closed(norm: nn.Module) -> bool:
    scale = getattr(norm, "weight", None)
    return scale is not None and bool((scale == 0).all())
