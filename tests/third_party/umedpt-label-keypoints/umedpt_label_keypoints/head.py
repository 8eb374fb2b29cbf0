"""Keypoints: one convolution on the pixel embeddings, divergence of heatmaps, mean distance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from umedpt_core.drawing import colour
from umedpt_core.label_type import LabelType, pick

Points = dict[str, np.ndarray]
"""``keypoints``: N x 2 (x, y), ``labels``: N."""


class Keypoints(LabelType):
    """At most one point a class. Raw target: keypoints, N x 2 (x, y), and labels, N indices.

    The first pixel's center is 0, 0. A class without a point is unknown.

    Args:
        classes: The names of the points.
        sigma: Standard deviation in pixels of the heatmap that is to be learned.
    """

    def __init__(self, classes: Sequence[str], sigma: float = 1.5) -> None:
        super().__init__(classes)
        if not 0.5 <= sigma <= 8:
            raise ValueError(f"sigma is {sigma}, not 0.5 to 8 pixels")
        self.sigma = sigma

    def head(self, dims: Mapping[str, int]) -> nn.Conv2d:
        """A 1 x 1 convolution, D -> C, with outputs near 0; no bias, which a softmax cancels."""
        layer = nn.Conv2d(dims["pixels"], len(self.classes), 1, bias=False)
        nn.init.normal_(layer.weight, std=0.1 / math.sqrt(dims["pixels"]))
        return layer

    def loss(self, head: nn.Module, blocks: Any, batch: Any) -> Tensor:
        """Divergence of the softmax over an image's pixels from a Gaussian around the point.

        It is KL(q || p) / KL(q || even) = (H(q, p) - H(q)) / (log HW - H(q)): 1 for a flat heatmap,
        0 for the Gaussian itself. The mean is over the known points of the batch.
        """
        z_BCHW = head(blocks.pixels(batch.x_BCHW))
        known_BC = ~batch.target.isnan().any(-1)
        log_p_NP = z_BCHW[known_BC].flatten(1).log_softmax(1)
        q_NP = gaussians(batch.target[known_BC], z_BCHW.shape[-2:], self.sigma)
        entropy_N = torch.special.entr(q_NP).sum(1)
        cross_N = -(q_NP * log_p_NP).sum(1)
        losses_N = (cross_N - entropy_N) / (math.log(q_NP.shape[1]) - entropy_N)
        return losses_N.sum() / max(1, len(losses_N))

    def predict(self, head: nn.Module, blocks: Any, x_BCHW: Tensor) -> Tensor:
        """B x C x 2: the peak (x, y) of every class."""
        z_BCHW = head(blocks.pixels(x_BCHW))
        peak_BC, width = z_BCHW.flatten(2).argmax(2), z_BCHW.shape[3]
        return torch.stack([peak_BC % width, peak_BC // width], -1).float()

    def metric(self) -> Distance:
        """Mean distance."""
        return Distance()

    def check(self, target: Any, size: tuple[int, int]) -> tuple[Points, int]:
        """Positions as float32, labels as int64; points outside the image are dropped."""
        try:
            xy_N2 = np.asarray(target["keypoints"], np.float32).reshape(-1, 2)
            labels_N = np.asarray(target["labels"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ValueError(f"target is no dict of N x 2 keypoints and labels: {error}") from error
        if labels_N.shape != (len(xy_N2),):
            raise ValueError(f"{labels_N.size} labels for {len(xy_N2)} keypoints")
        if labels_N.size and labels_N.dtype.kind not in "iu":
            raise ValueError(f"labels of {labels_N.dtype}, which holds no class indices")
        wrong_N = (labels_N < 0) | (labels_N >= len(self.classes))
        if wrong_N.any():
            last = len(self.classes) - 1
            raise ValueError(f"label {labels_N[wrong_N][0]} is outside the classes 0..{last}")
        if len(set(labels_N.tolist())) < len(labels_N):
            raise ValueError("a class has more than one keypoint")
        inside_N = ((xy_N2 >= 0) & (xy_N2 < size[::-1])).all(1)  # NaN is not inside
        points = {"keypoints": xy_N2[inside_N], "labels": labels_N[inside_N].astype(np.int64)}
        return points, int((~inside_N).sum())

    def collate(self, targets: Sequence[Points]) -> Tensor:
        """B x C x 2 positions, NaN where there is none."""
        xy_BC2 = np.full((len(targets), len(self.classes), 2), np.nan, np.float32)
        for xy_C2, target in zip(xy_BC2, targets, strict=True):
            xy_C2[target["labels"]] = target["keypoints"]
        return torch.from_numpy(xy_BC2)

    def random_target(self, size: tuple[int, int], rng: np.random.Generator) -> Points:
        """Points of one to all classes, anywhere."""
        C = len(self.classes)
        labels_N = rng.permutation(C)[: rng.integers(1, C + 1)]
        limit = (size[1] - 1, size[0] - 1)
        return {"keypoints": rng.uniform(0, limit, (len(labels_N), 2)), "labels": labels_N}

    def unbatch(self, prediction: Tensor) -> list[Any]:
        """A point for every class, in the form of a checked target."""
        labels_C = np.arange(len(self.classes))
        return [{"keypoints": xy_C2, "labels": labels_C} for xy_C2 in prediction.cpu().numpy()]

    def draw(self, image: Any, target: Any) -> Any:
        """A circle in the colour of its class around every point."""
        image = image.copy()
        radius = max(3, min(image.shape[:2]) // 20)
        for (x, y), label in zip(target["keypoints"], target["labels"], strict=True):
            center = (round(float(x)), round(float(y)))
            cv2.circle(image, center, radius, colour(int(label)), 1, cv2.LINE_AA)
        return image

    def classes_in(self, target: Points) -> set[int]:
        """The classes that have a point."""
        return set(target["labels"].tolist())


def gaussians(xy_N2: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """N x HW: a Gaussian around every point, which sums to 1 over the image's pixels."""
    y_H, x_W = (torch.arange(edge, device=xy_N2.device, dtype=xy_N2.dtype) for edge in size)
    squared_NHW = (y_H[:, None] - xy_N2[:, 1, None, None]) ** 2 + (
        x_W - xy_N2[:, 0, None, None]
    ) ** 2
    return (-squared_NHW.flatten(1) / (2 * sigma**2)).softmax(1)


class Distance:
    """Mean distance in pixels from the known points of a split to the peaks of their classes.

    The baseline is that of each class's mean position.
    """

    def __init__(self) -> None:
        self._predictions: list[Tensor] = []
        self._targets: list[Tensor] = []

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add B x C x 2 positions, predicted and true."""
        self._predictions.append(prediction.double().cpu())
        self._targets.append(target.double().cpu())

    def compute(self, chosen: Sequence[int] | None = None) -> dict[str, float]:
        """Both means; nothing where no point is known."""
        if not self._targets:
            return {}
        true_BC2 = pick(self._targets, chosen)
        known_BC = ~true_BC2.isnan().any(-1)
        if not known_BC.any():
            return {}
        rivals = {
            "distance": pick(self._predictions, chosen),
            "distance_baseline": true_BC2.nanmean(0).expand_as(true_BC2),
        }
        return {
            name: float((xy_BC2 - true_BC2)[known_BC].norm(dim=-1).mean())
            for name, xy_BC2 in rivals.items()
        }
