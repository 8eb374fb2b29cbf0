"""Mean average precision as COCO defines it, over all images or over chosen ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""From this overlap (IoU) on a detection may meet a box."""
RECALLS = np.linspace(0, 1, 101)

Items = list[dict[str, np.ndarray]]


class DetectionMetric:
    """COCO's mean average precision.

    faster-coco-eval decides which detection meets which box, and gives the precision over all
    images. It takes no image twice, nor its matches back, so over chosen images the precision is
    averaged here, from the matches of each image.

    Args:
        classes: Their number.
        most: Detections of an image at most; of more the metric would take the best.
    """

    def __init__(self, classes: int, most: int) -> None:
        self.classes, self.most = classes, most
        self._found: Items = []
        self._true: Items = []
        self._matches: list[_Matches] = []

    def update(self, prediction: list[dict[str, Tensor]], target: list[dict[str, Tensor]]) -> None:
        """Add the detections and the true boxes of a batch."""
        self._found += _arrays(prediction, ("boxes", "labels", "scores"))
        self._true += _arrays(target, ("boxes", "labels"))
        self._matches = []

    def compute(self, chosen: Sequence[int] | None = None) -> dict[str, float]:
        """The metrics; nothing where there is no true box. A constant prediction reaches 0."""
        if chosen is None:
            precision_TRC = _evaluate(*self._datasets(), THRESHOLDS, self.most)
        else:
            precision_TRC = self._precision_over(chosen)
        precision_TRC = precision_TRC[:, :, precision_TRC[0, 0] > -1]  # classes with a box
        if not precision_TRC.size:
            return {}
        return {
            "map50": float(precision_TRC[0].mean()),
            "map": float(precision_TRC.mean()),
            "map50_baseline": 0.0,
        }

    def _datasets(self) -> tuple[Any, Any]:
        """True and found boxes as the library takes them."""
        from faster_coco_eval import COCO

        shared = {
            "images": [{"id": n} for n in range(len(self._true))],
            "categories": [{"id": c} for c in range(self.classes)],
        }
        true, found = (_annotations(items) for items in (self._true, self._found))
        return COCO(shared | {"annotations": true}), COCO(shared | {"annotations": found})

    def _match(self) -> list[_Matches]:
        """The matches of each image; the library marks them at the first threshold only."""
        true, found = self._datasets()
        hits = []
        for threshold in THRESHOLDS:
            _evaluate(true, found, np.array([threshold]), self.most)
            hits.append([found.anns[n + 1].get("tp", False) for n in range(len(found.anns))])
        ends = np.cumsum([len(item["labels"]) for item in self._found])
        return [
            _Matches(found["labels"], found["scores"], hit_TD, true["labels"])
            for found, true, hit_TD in zip(
                self._found, self._true, np.split(np.array(hits), ends[:-1], 1), strict=True
            )
        ]

    def _precision_over(self, chosen: Sequence[int]) -> np.ndarray:
        """T x R x C: the best precision at or beyond a recall; -1 for a class without a box."""
        self._matches = self._matches or self._match()
        parts = zip(*(self._matches[n] for n in chosen), strict=True)
        label_D, score_D, hit_TD, true_N = (np.concatenate(part, -1) for part in parts)
        order = np.argsort(-score_D, kind="stable")
        label_D, hit_TD = label_D[order], hit_TD[:, order]
        precision_TRC = np.full((len(THRESHOLDS), len(RECALLS), self.classes), -1.0)
        boxes_C = np.bincount(true_N, minlength=self.classes)
        for c in boxes_C.nonzero()[0]:
            hits_TD = hit_TD[:, label_D == c].cumsum(1)
            best_TD = hits_TD / np.arange(1, hits_TD.shape[1] + 1)
            best_TD = np.maximum.accumulate(best_TD[:, ::-1], 1)[:, ::-1]
            best_TD = np.pad(best_TD, ((0, 0), (0, 1)))  # recalls that are never reached
            for t, hits_D in enumerate(hits_TD):
                place_R = np.searchsorted(hits_D / boxes_C[c], RECALLS)
                precision_TRC[t, :, c] = best_TD[t, place_R]
        return precision_TRC


class _Matches(NamedTuple):
    """Of one image: its D detections, whether they meet a box, and the classes of its boxes."""

    label_D: np.ndarray
    score_D: np.ndarray
    hit_TD: np.ndarray
    true_N: np.ndarray


def _evaluate(true: Any, found: Any, thresholds: np.ndarray, most: int) -> np.ndarray:
    """T x R x C precision; marks the found ones that meet a box at the first threshold as tp."""
    from faster_coco_eval import COCOeval_faster

    evaluation = COCOeval_faster(true, found, "bbox", extra_calc=True)
    params = evaluation.params
    params.iouThrs, params.recThrs, params.maxDets = thresholds, RECALLS, [most]
    params.areaRng, params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    precision_TRC: np.ndarray = evaluation.eval["precision"][..., 0, 0]
    return precision_TRC


def _arrays(items: list[dict[str, Tensor]], keys: tuple[str, ...]) -> Items:
    return [{key: item[key].cpu().numpy() for key in keys} for item in items]


def _annotations(items: Items) -> list[dict[str, Any]]:
    """Boxes as COCO writes them, numbered from 1 in the order of the images."""
    found: list[dict[str, Any]] = []
    for image, item in enumerate(items):
        corners_N2, sizes_N2 = item["boxes"][:, :2], item["boxes"][:, 2:] - item["boxes"][:, :2]
        boxes_N4 = np.concatenate([corners_N2, sizes_N2], 1).tolist()
        scores_N = item.get("scores", np.ones(len(boxes_N4))).tolist()
        for box, label, score in zip(boxes_N4, item["labels"].tolist(), scores_N, strict=True):
            facts = {"bbox": box, "area": box[2] * box[3], "category_id": label, "score": score}
            found.append({"id": len(found) + 1, "image_id": image, "iscrowd": 0} | facts)
    return found
