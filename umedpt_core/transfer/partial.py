"""Fine-tuning few parameters of the shared blocks: BitFit and LoRA (paper: Discussion)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..blocks.shared import SharedBlocks
from ..errors import ConfigError

RANK = 8
SCALE = 2.0
"""LoRA's alpha / rank: the factor of the low-rank addition."""


class LowRank(nn.Module):
    """Adds a product of two thin matrices to a weight; at first 0 (Hu et al., ICLR 2022).

    Args:
        weight: Out x in, for a 1 x 1 convolution out x in x 1 x 1.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        out, into = weight.shape[:2]
        rank = min(RANK, out, into)
        self.down = nn.Parameter(weight.new_empty(rank, into))
        self.up = nn.Parameter(weight.new_zeros(out, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with its addition."""
        return weight + SCALE * (self.up @ self.down).view_as(weight)


def train_biases(blocks: SharedBlocks) -> list[nn.Parameter]:
    """Let the biases of the shared blocks train, and nothing else of them (Ben Zaken et al., 2022).

    Raises:
        ConfigError: The encoder has none.
    """
    blocks.requires_grad_(False)
    chosen = [p for name, p in blocks.named_parameters() if name.rpartition(".")[2] == "bias"]
    if not any(name.endswith("bias") for name, _ in blocks.encoder.named_parameters()):
        raise ConfigError(
            "mode bitfit: the encoder has no biases (its norms were swapped); use finetune or lora"
        )
    for parameter in chosen:
        parameter.requires_grad_(True)
    return chosen


def add_low_rank(blocks: SharedBlocks, seed: int) -> list[nn.Parameter]:
    """Add trainable low-rank matrices to the encoder's linear layers and 1 x 1 convolutions.

    Args:
        blocks: All its own parameters are fixed.
        seed: Of their initialisation.

    Raises:
        ConfigError: The encoder has no such layer.
    """
    blocks.requires_grad_(False)
    torch.manual_seed(seed)
    added = []
    for layer in list(blocks.encoder.modules()):
        if _is_linear(layer):
            low_rank = LowRank(layer.weight)  # type: ignore[arg-type]
            parametrize.register_parametrization(layer, "weight", low_rank)
            added += [low_rank.down, low_rank.up]
    if not added:
        raise ConfigError("mode lora: the encoder has no linear layer; use finetune or bitfit")
    return added


def merge_low_rank(blocks: SharedBlocks) -> None:
    """Make the additions part of the weights, so that the blocks are built as before."""
    for layer in list(blocks.encoder.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def _is_linear(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.kernel_size == (1, 1) and layer.groups == 1
    return isinstance(layer, nn.Linear)
