"""Regression: a linear layer on the image embedding, scaled squared error, MAE, RMSE and R2."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from umedpt_core.drawing import caption
from umedpt_core.label_type import LabelType, pick, small_head

Numbers = float | Sequence[float]


class Regression(LabelType):
    """Numbers an image. Raw target: C floats, NaN where unknown; with C = 1 also a plain number.

    Args:
        classes: The names of the C quantities.
        range: Where nearly all values lie, ``(low, high)`` or C such pairs. It is scaled to
            [-sqrt 3, sqrt 3], the even spread with mean 0 and variance 1.
        mean: In place of `range`, together with `std`; one for all quantities or C.
        std: See `mean`.
    """

    def __init__(
        self,
        classes: Sequence[str],
        range: Sequence[Any] | None = None,  # noqa: A002 - the name that a task's spec uses
        mean: Numbers | None = None,
        std: Numbers | None = None,
    ) -> None:
        super().__init__(classes)
        if (range is None) == (mean is None) or (mean is None) != (std is None):
            raise ValueError("give the label option range: [low, high], or else mean and std")
        C = len(self.classes)
        try:
            if range is not None:
                low_C, high_C = np.broadcast_to(np.asarray(range, float), (C, 2)).T
                middle, scale = (low_C + high_C) / 2, (high_C - low_C) / math.sqrt(12)
            else:
                middle, scale = np.asarray(mean, float), np.asarray(std, float)
            self._middle_C = np.broadcast_to(middle, C).astype(np.float32)
            self._scale_C = np.broadcast_to(scale, C).astype(np.float32)
        except (ValueError, TypeError) as error:
            raise ValueError(f"range, mean or std is not for {C} quantities: {error}") from error
        if not (np.isfinite(self._middle_C) & (self._scale_C > 0) & (self._scale_C < np.inf)).all():
            raise ValueError("range must go from low to high, and std be above 0; all finite")

    def head(self, dims: Mapping[str, int]) -> nn.Linear:
        """A linear layer, D -> C."""
        return small_head(nn.Linear(dims["embedding"], len(self.classes)))

    def loss(self, head: nn.Module, blocks: Any, batch: Any) -> Tensor:
        """Mean squared error of the known, scaled numbers.

        Predicting the middle costs 1 on values that are spread evenly over `range`, or that have
        the given `mean` and `std`.
        """
        z_BC = head(blocks.embedding(batch.x_BCHW))
        known_BC = ~batch.target.isnan()
        wanted_BC = (batch.target - z_BC.new_tensor(self._middle_C)) / z_BC.new_tensor(
            self._scale_C
        )
        errors_BC = torch.where(known_BC, z_BC - wanted_BC.nan_to_num(), 0.0)
        return errors_BC.square().sum() / known_BC.sum().clamp(min=1)

    def predict(self, head: nn.Module, blocks: Any, x_BCHW: Tensor) -> Tensor:
        """B x C numbers in the units of the target."""
        z_BC = head(blocks.embedding(x_BCHW))
        return z_BC * z_BC.new_tensor(self._scale_C) + z_BC.new_tensor(self._middle_C)

    def metric(self) -> RegressionMetric:
        """Mean absolute error, root mean squared error and R2."""
        return RegressionMetric(self.classes)

    def check(self, target: Any, size: tuple[int, int]) -> tuple[np.ndarray, int]:
        """The numbers as C values, float32."""
        try:
            numbers_C = np.atleast_1d(np.asarray(target, np.float32))
        except (ValueError, TypeError) as error:
            raise ValueError(f"target {target!r} is no number") from error
        if numbers_C.shape != (len(self.classes),):
            raise ValueError(
                f"{numbers_C.size} numbers where there are {len(self.classes)} quantities"
            )
        if np.isinf(numbers_C).any():
            raise ValueError(f"numbers {numbers_C.tolist()} are not finite; NaN is unknown")
        return numbers_C, 0

    def collate(self, targets: Sequence[np.ndarray]) -> Tensor:
        """B x C, float32."""
        return torch.from_numpy(np.stack(targets))

    def random_target(self, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """Evenly from the range."""
        z_C = rng.uniform(-math.sqrt(3), math.sqrt(3), len(self.classes))
        return self._middle_C + self._scale_C * z_C

    def unbatch(self, prediction: Tensor) -> list[Any]:
        """Vectors of C numbers."""
        return list(prediction.cpu().numpy())

    def draw(self, image: Any, target: Any) -> Any:
        """The first four numbers, each with its name."""
        numbers = zip(self.classes, target, strict=True)
        lines = [f"{name} {'?' if np.isnan(value) else f'{value:.4g}'}" for name, value in numbers]
        return caption(image, lines[:4])

    def row(self, item: np.ndarray) -> dict[str, str | float]:
        """``value``, or ``value_<name>`` of each where there are several."""
        keys = [f"value_{name}" for name in self.classes] if len(self.classes) > 1 else ["value"]
        return dict(zip(keys, item.tolist(), strict=True))


class RegressionMetric:
    """Errors over a split in the units of the target, and those of predicting its mean."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes
        self._predictions: list[Tensor] = []
        self._targets: list[Tensor] = []

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add B x C predictions and B x C targets."""
        self._predictions.append(prediction.double().cpu())
        self._targets.append(target.double().cpu())

    def compute(self, chosen: Sequence[int] | None = None) -> dict[str, float]:
        """Means over the quantities; a quantity without known values is left out."""
        p_NC, y_NC = pick(self._predictions, chosen), pick(self._targets, chosen)
        by_name: dict[str, dict[str, float]] = {}
        for c, name in enumerate(self.classes):
            known_N = ~y_NC[:, c].isnan()
            if known_N.any():
                by_name[name] = _errors(p_NC[known_N, c], y_NC[known_N, c])
        values: dict[str, float] = {}
        for metric in ("mae", "rmse", "r2"):
            for key in (metric, f"{metric}_baseline"):
                found = [errors[key] for errors in by_name.values() if key in errors]
                if found:
                    values[key] = sum(found) / len(found)
            if len(self.classes) > 1:
                values |= {f"{metric}/{n}": e[metric] for n, e in by_name.items() if metric in e}
        return values


def _errors(p_N: Tensor, y_N: Tensor) -> dict[str, float]:
    off_N, spread_N = p_N - y_N, y_N - y_N.mean()
    mse, variance = float(off_N.square().mean()), float(spread_N.square().mean())
    errors = {
        "mae": float(off_N.abs().mean()),
        "mae_baseline": float(spread_N.abs().mean()),
        "rmse": math.sqrt(mse),
        "rmse_baseline": math.sqrt(variance),
    }
    return errors | ({"r2": 1 - mse / variance, "r2_baseline": 0.0} if variance else {})
