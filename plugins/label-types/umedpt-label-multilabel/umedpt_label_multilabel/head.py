"""Multi-label classification: a linear layer on the image embedding, binary cross entropy, AUC."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_auroc, binary_f1_score

from umedpt_core.drawing import caption
from umedpt_core.label_type import LabelType, pick, small_head

UNKNOWN = -1


class MultiLabel(LabelType):
    """Several labels an image. Raw target: C values out of 1 (yes), 0 (no), -1 (unknown)."""

    def head(self, dims: Mapping[str, int]) -> nn.Linear:
        """A linear layer, D -> C."""
        return small_head(nn.Linear(dims["embedding"], len(self.classes)))

    def loss(self, head: nn.Module, blocks: Any, batch: Any) -> Tensor:
        """Mean binary cross entropy of the known labels x 1.44269 = 1 / ln 2 (paper: eq. 2)."""
        logits_BC = head(blocks.embedding(batch.x_BCHW))
        return _known_cross_entropy(logits_BC, batch.target) / math.log(2)

    def predict(self, head: nn.Module, blocks: Any, x_BCHW: Tensor) -> Tensor:
        """B x C probabilities, each by itself."""
        return head(blocks.embedding(x_BCHW)).sigmoid()

    def metric(self) -> MultiLabelMetric:
        """Mean AUC, AUC and F1 of each label."""
        return MultiLabelMetric(self.classes)

    def check(self, target: Any, size: tuple[int, int]) -> tuple[np.ndarray, int]:
        """The labels as C values, int8."""
        labels = np.asarray(target)
        if labels.shape != (len(self.classes),):
            raise ValueError(f"{labels.size} labels where there are {len(self.classes)} classes")
        if not np.isin(labels, (0, 1, UNKNOWN)).all():
            raise ValueError(f"labels {labels.tolist()} hold other values than 1, 0 and -1")
        return labels.astype(np.int8), 0

    def collate(self, targets: Sequence[np.ndarray]) -> Tensor:
        """B x C, float32."""
        return torch.from_numpy(np.stack(targets)).float()

    def random_target(self, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """Each label by a coin."""
        return rng.integers(0, 2, len(self.classes), dtype=np.int8)

    def unbatch(self, prediction: Tensor) -> list[Any]:
        """Vectors of C probabilities."""
        return list(prediction.cpu().numpy())

    def draw(self, image: Any, target: Any) -> Any:
        """The names of the labels that are set, or at least as likely as not."""
        likely = np.flatnonzero(np.asarray(target) >= 0.5)
        shown = sorted(likely, key=lambda c: -target[c])[:4]
        return caption(image, [f"{self.classes[c]} {target[c]:.2g}" for c in shown] or ["none"])

    def classes_in(self, target: np.ndarray) -> set[int]:
        """The labels that are set."""
        return set(np.flatnonzero(target == 1).tolist())

    def row(self, item: np.ndarray) -> dict[str, str | float]:
        """The probability of each label, ``p_<name>``."""
        return {f"p_{name}": p for name, p in zip(self.classes, item.tolist(), strict=True)}


class MultiLabelMetric:
    """AUC and F1 over a split, and the loss that the prevalences alone would reach."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes
        self._probabilities: list[Tensor] = []
        self._targets: list[Tensor] = []

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add B x C probabilities and B x C labels."""
        self._probabilities.append(prediction.float().cpu())
        self._targets.append(target.cpu())

    def compute(self, chosen: Sequence[int] | None = None) -> dict[str, float]:
        """The metrics; a label without both a yes and a no has no AUC and is not in the mean."""
        p_NC, y_NC = pick(self._probabilities, chosen), pick(self._targets, chosen)
        areas: dict[str, float] = {}
        scores: list[float] = []
        for c, name in enumerate(self.classes):
            known = y_NC[:, c] != UNKNOWN
            p_N, y_N = p_NC[known, c], y_NC[known, c].long()
            if 0 < int(y_N.sum()) < len(y_N):
                areas[f"auc/{name}"] = float(binary_auroc(p_N, y_N))
                scores.append(float(binary_f1_score(p_N, y_N)))
        prevalence_C = (y_NC == 1).sum(0) / (y_NC != UNKNOWN).sum(0).clamp(min=1)
        constant = torch.logit(prevalence_C.clamp(1e-6, 1 - 1e-6)).expand_as(y_NC)
        values = {"loss_baseline": float(_known_cross_entropy(constant, y_NC)) / math.log(2)}
        if areas:
            values |= {
                "auc": sum(areas.values()) / len(areas),
                "auc_baseline": 0.5,
                "f1": sum(scores) / len(scores),
            }
        return values | areas


def _known_cross_entropy(logits_BC: Tensor, labels_BC: Tensor) -> Tensor:
    known_BC = labels_BC != UNKNOWN
    losses_BC = F.binary_cross_entropy_with_logits(logits_BC, labels_BC.clamp(min=0), known_BC)
    return losses_BC * known_BC.numel() / known_BC.sum().clamp(min=1)
