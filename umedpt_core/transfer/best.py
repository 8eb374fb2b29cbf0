"""Choosing an epoch on held-out cases."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from torch import nn


class Best:
    """Remembers a module as it was when the held-out loss was lowest.

    Args:
        module: In training.

    Attributes:
        module: A copy, as it was then.
        step: When that was, in epochs or optimizer steps; 0 where nothing was offered.
        loss: The held-out loss then.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = deepcopy(module)
        self.step = 0
        self.loss = float("inf")

    def offer(self, module: nn.Module, step: int, loss: float) -> None:
        """Take the module's present state, if it is the best so far."""
        if loss < self.loss:
            self.step, self.loss = step, loss
            self.module.load_state_dict(module.state_dict())

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it beside the copy."""
        return {"best": self.step, "best_loss": self.loss} if self.step else {}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from what :attr:`state` was."""
        self.step, self.loss = state.get("best", 0), state.get("best_loss", float("inf"))
