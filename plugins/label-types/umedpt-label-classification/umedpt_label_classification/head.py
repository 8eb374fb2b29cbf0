"""Classification: a linear layer on the image embedding, cross entropy, F1, accuracy and AUC."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_auroc, multiclass_f1_score

from umedpt_core.drawing import caption
from umedpt_core.label_type import LabelType, pick, small_head


class Classification(LabelType):
    """One class an image. Raw target: a class index.

    Args:
        classes: At least two names.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__(classes)
        if len(self.classes) < 2:
            raise ValueError("classification needs at least two classes")

    def head(self, dims: Mapping[str, int]) -> nn.Linear:
        """A linear layer, D -> C."""
        return small_head(nn.Linear(dims["embedding"], len(self.classes)))

    def loss(self, head: nn.Module, blocks: Any, batch: Any) -> Tensor:
        """Cross entropy / ln C, which is 1 for uniform predictions.

        The paper's eq. (1) prints "x log C", against its own aim of losses close to one.
        """
        logits_BC = head(blocks.embedding(batch.x_BCHW))
        return F.cross_entropy(logits_BC, batch.target) / math.log(len(self.classes))

    def predict(self, head: nn.Module, blocks: Any, x_BCHW: Tensor) -> Tensor:
        """B x C probabilities."""
        return head(blocks.embedding(x_BCHW)).softmax(1)

    def metric(self) -> ClassificationMetric:
        """Macro F1, accuracy and mean one-against-rest AUC."""
        return ClassificationMetric(len(self.classes))

    def check(self, target: Any, size: tuple[int, int]) -> tuple[int, int]:
        """The class index as an int."""
        scalar = np.asarray(target)
        value = scalar.item() if scalar.size == 1 else target
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise ValueError(f"label {target!r} is no class index")
        if not 0 <= value < len(self.classes):
            raise ValueError(f"label {value} is outside the classes 0..{len(self.classes) - 1}")
        return int(value), 0

    def collate(self, targets: Sequence[int]) -> Tensor:
        """B class indices, int64."""
        return torch.tensor(targets, dtype=torch.int64)

    def random_target(self, size: tuple[int, int], rng: np.random.Generator) -> int:
        """Any class."""
        return int(rng.integers(len(self.classes)))

    def unbatch(self, prediction: Tensor) -> list[Any]:
        """Vectors of C probabilities."""
        return list(prediction.cpu().numpy())

    def draw(self, image: Any, target: Any) -> Any:
        """The class's name, with its probability where there is one."""
        if isinstance(target, int):
            return caption(image, [self.classes[target]])
        best = int(np.argmax(target))
        return caption(image, [f"{self.classes[best]} {target[best]:.2f}"])

    def classes_in(self, target: int) -> set[int]:
        """The one class."""
        return {target}

    def row(self, item: np.ndarray) -> dict[str, str | float]:
        """``class``, the likeliest, and the probability of each, ``p_<class>``."""
        p_C = zip(self.classes, item.tolist(), strict=True)
        return {"class": self.classes[int(np.argmax(item))], **{f"p_{name}": p for name, p in p_C}}


class ClassificationMetric:
    """F1, accuracy and AUC over a split, beside what the majority class alone would reach."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self._probabilities: list[Tensor] = []
        self._targets: list[Tensor] = []

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add B x C probabilities and B class indices."""
        self._probabilities.append(prediction.float().cpu())
        self._targets.append(target.cpu())

    def compute(self, chosen: Sequence[int] | None = None) -> dict[str, float]:
        """The metrics; AUC is left out where only one class occurs."""
        p_NC, y_N = pick(self._probabilities, chosen), pick(self._targets, chosen)
        counts = y_N.bincount(minlength=self.classes)
        share = float(counts.max() / len(y_N))
        values = {
            "f1": float(multiclass_f1_score(p_NC, y_N, self.classes, average="macro")),
            "accuracy": float((p_NC.argmax(1) == y_N).float().mean()),
            "f1_baseline": 2 * share / (1 + share) / int((counts > 0).sum()),
            "accuracy_baseline": share,
        }
        mixed = [c for c in range(self.classes) if 0 < counts[c] < len(y_N)]
        if mixed:
            areas = [float(binary_auroc(p_NC[:, c], (y_N == c).long())) for c in mixed]
            values |= {"auc": sum(areas) / len(areas), "auc_baseline": 0.5}
        return values
