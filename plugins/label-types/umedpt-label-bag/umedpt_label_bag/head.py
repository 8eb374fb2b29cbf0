"""Bags: classification of a learned weighted average of the instances' embeddings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from umedpt_label_classification.head import Classification, ClassificationMetric

from umedpt_core.drawing import caption
from umedpt_core.label_type import small_head

CHUNK = 32
"""Instances whose activations are in memory at a time."""


class Bag(Classification):
    """One class a bag of images, such as the slices of a volume. Raw target: a class index.

    A bag may hold any number of instances, and their order has no meaning (paper: Assessing 3D
    context preservation in pretraining).

    Args:
        classes: At least two names.
    """

    def head(self, dims: Mapping[str, int]) -> BagHead:
        """A score an instance and a linear layer, D -> C."""
        return BagHead(dims["embedding"], len(self.classes))

    def loss(self, head: nn.Module, blocks: Any, batch: Any) -> Tensor:
        """Cross entropy / ln C over the bags; without `batch.bags` every image is one."""
        bags = batch.bags or (1,) * len(batch.x_BCHW)
        logits_BC, _ = head(embed(blocks, batch.x_BCHW), bags)
        return F.cross_entropy(logits_BC, batch.target) / math.log(len(self.classes))

    def predict(self, head: nn.Module, blocks: Any, x_BCHW: Tensor) -> dict[str, Tensor]:
        """Probabilities, and what each instance weighs.

        Args:
            head: What :meth:`head` made.
            blocks: The shared blocks.
            x_BCHW: B x N x 3 x H x W, B bags of N; or B x 3 x H x W, B bags of one.

        Returns:
            ``probabilities``, B x C, and ``weights``, B x N; both sum to 1.
        """
        x_BNCHW = x_BCHW if x_BCHW.ndim == 5 else x_BCHW[:, None]
        B, N = x_BNCHW.shape[:2]
        logits_BC, weights = head(embed(blocks, x_BNCHW.flatten(0, 1)), (N,) * B)
        return {"probabilities": logits_BC.softmax(1), "weights": torch.stack(weights)}

    def metric(self) -> BagMetric:
        """Macro F1, accuracy and mean one-against-rest AUC, over bags."""
        return BagMetric(len(self.classes))

    def unbatch(self, prediction: Mapping[str, Tensor]) -> list[Any]:
        """For each bag C ``probabilities`` and N ``weights``."""
        p_BC, w_BN = (prediction[key].cpu().numpy() for key in ("probabilities", "weights"))
        return [{"probabilities": p, "weights": w} for p, w in zip(p_BC, w_BN, strict=True)]

    def draw(self, image: Any, target: Any) -> Any:
        """The class's name; of a prediction also its probability, and the heaviest instance."""
        if isinstance(target, int):
            return super().draw(image, target)
        p_C, w_N = target["probabilities"], target["weights"]
        best, heaviest = int(np.argmax(p_C)), int(np.argmax(w_N))
        lines = [
            f"{self.classes[best]} {p_C[best]:.2f}",
            f"slice {heaviest + 1}/{len(w_N)}: {w_N[heaviest]:.2f}",
        ]
        return caption(image, lines)

    def row(self, item: Mapping[str, np.ndarray]) -> dict[str, str | float]:
        """As of a classification."""
        return super().row(item["probabilities"])


class BagHead(nn.Module):
    """A softmax over learned scores weighs a bag's embeddings; one linear layer classifies.

    Args:
        D: Width of the embeddings.
        C: Number of classes.
    """

    def __init__(self, D: int, C: int) -> None:
        super().__init__()
        self.score = small_head(nn.Linear(D, 1, bias=False))  # the softmax would cancel a bias
        self.classify = small_head(nn.Linear(D, C))

    def forward(self, e_ND: Tensor, bags: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """Logits and weights of bags.

        Args:
            e_ND: The embeddings of all bags' instances, one bag after the other.
            bags: How many instances each bag holds; N is their sum.

        Returns:
            B x C logits, and for each bag the weights of its instances.
        """
        scores_N = self.score(e_ND).squeeze(1)
        weights = [scores.softmax(0) for scores in scores_N.split(tuple(bags))]
        pairs = zip(weights, e_ND.split(tuple(bags)), strict=True)
        return self.classify(torch.stack([w_N @ e_ND for w_N, e_ND in pairs])), weights


class BagMetric(ClassificationMetric):
    """The metrics of classification, over bags."""

    def update(self, prediction: Mapping[str, Tensor], target: Tensor) -> None:
        """Add the prediction for B bags and their class indices."""
        super().update(prediction["probabilities"], target)


def embed(blocks: Any, x_NCHW: Tensor) -> Tensor:
    """The embeddings of any number of images, in bounded memory.

    More than `CHUNK` of them go through the encoder in two passes: the first keeps the embeddings
    alone, the second, part of the backward pass, computes the activations anew, chunk by chunk and
    with the same random numbers. Gradients stay those of one pass, up to rounding, as long as the
    blocks see each image by itself: batch norm in training mode would not.

    Args:
        blocks: The shared blocks.
        x_NCHW: N x 3 x H x W, values in [0, 1].

    Returns:
        N x D.
    """
    if len(x_NCHW) <= CHUNK:
        return blocks.embedding(x_NCHW)
    chunks = x_NCHW.split(CHUNK)
    trained = isinstance(blocks, nn.Module) and any(p.requires_grad for p in blocks.parameters())
    if not (trained and torch.is_grad_enabled()):
        return torch.cat([blocks.embedding(x) for x in chunks])
    # Reentrant: the other way's graph nodes, kept from the first pass, fragment the CPU's heap, so
    # that memory grows with the bag after all. It needs an input that asks for gradients.
    start = torch.zeros((), requires_grad=True)
    again = partial(checkpoint, lambda x, _: blocks.embedding(x), use_reentrant=True)
    return torch.cat([again(x, start) for x in chunks])
