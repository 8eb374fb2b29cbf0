"""Folding the scale and shift of a layer norm into the linear layers that read it.

A linear layer takes W (s * n + b) + c of a normalised token n, which is (W s) n + (W b + c).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Trace:
    """What reads the output of each norm, seen in one run of the network.

    In that run the outputs of all norms and linear layers are cut out of the graph, so that
    autograd names the norms a tensor comes from with no other norm or linear layer in between.

    Attributes:
        same: Norms whose replacement gives the same output, scale and shift included.
    """

    def __init__(self, new: dict[nn.Module, nn.Module]) -> None:
        self.new = new
        self.same: set[nn.Module] = set()
        self._foldable: dict[nn.Module, nn.LayerNorm] = {}
        self._cuts: dict[nn.Module, Tensor] = {}
        self._sources: dict[nn.Linear, nn.Module | None] = {}
        self._mixed: set[nn.Module | None] = set()

    @torch.enable_grad()
    def record(self, root: nn.Module, run: Callable[[], Iterable[Tensor]]) -> None:
        """Run the network once."""
        linears = [module for module in root.modules() if isinstance(module, nn.Linear)]
        handles = [norm.register_forward_hook(self._after_norm) for norm in self.new]
        handles += [linear.register_forward_hook(self._after_linear) for linear in linears]
        try:
            for output in run():
                self._mixed.update(self._origins(output))
        finally:
            for handle in handles:
                handle.remove()

    def fold(self, norm: nn.Module) -> bool:
        """Fold a norm into what reads it; False: something else than linear layers reads it."""
        if norm in self._mixed or norm not in self._foldable:
            return False
        readers = [linear for linear, source in self._sources.items() if source is norm]
        for linear in readers:
            _fold(self._foldable[norm], linear)
        return bool(readers)

    def _origins(self, x: Tensor) -> list[nn.Module]:
        if not self._cuts or not x.requires_grad:
            return []
        gradients = torch.autograd.grad(
            x.sum(), list(self._cuts.values()), retain_graph=True, allow_unused=True
        )
        return [norm for norm, g in zip(self._cuts, gradients, strict=True) if g is not None]

    def _after_norm(self, old: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        self._mixed.update(self._origins(inputs[0]))
        if old in self._cuts:  # used twice
            self._mixed.add(old)
        with torch.no_grad():
            plain = self.new[old](inputs[0])
            if _close(plain, output):
                self.same.add(old)
            elif isinstance(old, nn.LayerNorm) and _close(_affine(old, plain), output):
                self._foldable[old] = old
        self._cuts[old] = output.detach().requires_grad_()
        return self._cuts[old].clone()

    def _after_linear(self, linear: nn.Linear, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        norms = self._origins(inputs[0])
        first = linear not in self._sources
        if first and len(norms) == 1 and _same_tokens(inputs[0], self._cuts[norms[0]]):
            self._sources[linear] = norms[0]
        else:
            self._mixed.update([*norms, self._sources.get(linear)])
            self._sources[linear] = None
        return output.detach()


def add_folded_biases(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Before loading a state dict: biases of linear layers that folding has given one.

    For `register_load_state_dict_pre_hook` of whatever was given to `swap_norms`.
    """
    for name, linear in module.named_modules():
        missing = isinstance(linear, nn.Linear) and linear.bias is None
        if missing and (bias := state.get(f"{prefix}{name}.bias")) is not None:
            linear.bias = nn.Parameter(linear.weight.new_zeros(bias.shape))


def match_biases(module: nn.Module, state: Mapping[str, Any]) -> None:
    """Give linear layers a bias, or take it, as those had whose state will be loaded by name."""
    add_folded_biases(module, dict(state), "")
    for name, linear in module.named_modules():
        known = isinstance(linear, nn.Linear) and f"{name}.weight" in state
        if known and f"{name}.bias" not in state:
            linear.bias = None


@torch.no_grad()
def _fold(norm: nn.LayerNorm, linear: nn.Linear) -> None:
    """Let a linear layer do what the scale and shift of the norm before it did."""
    weight = linear.weight.double()
    if norm.bias is not None and (norm.bias != 0).any():
        if linear.bias is None:
            linear.bias = nn.Parameter(linear.weight.new_zeros(linear.out_features))
        linear.bias.copy_(linear.bias.double() + weight @ norm.bias.double())
    linear.weight.copy_(weight * norm.weight.double())


def _same_tokens(one: Tensor, two: Tensor) -> bool:
    """Whether two tensors hold the same tokens bit for bit, in whatever order and shape."""
    one, two = (x.detach().flatten(0, -2) for x in (one, two))
    return one.shape == two.shape and torch.equal(
        torch.unique(one, dim=0), torch.unique(two, dim=0)
    )


def _close(one: Tensor, two: Tensor) -> bool:
    """Whether two outputs agree up to the rounding of float32."""
    return bool((one - two).abs().max() <= 1e-4 * two.abs().max())


def _affine(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """Scale and shift of a layer norm alone, over the last dimension."""
    if x.shape[-1] != norm.normalized_shape[-1]:  # of maps
        return x
    x = x * norm.weight
    return x if norm.bias is None else x + norm.bias
