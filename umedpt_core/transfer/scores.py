"""Metrics on a test set, with bootstrap confidence intervals over its patients."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..counters import seed_of
from ..data import slices
from ..data.tasks import TaskData
from ..engine.model import Model
from ..errors import DataError
from ..label_type import LabelType
from ..use.volumes import segment, slices_of

QUANTILES = 0.025, 0.975
"""The ends of a 95 % interval."""

Compute = Callable[[Sequence[int] | None], dict[str, float]]


@dataclass(frozen=True)
class Scores:
    """The metrics of a model on a test set.

    Attributes:
        metrics: By name, ``<name>_baseline`` included.
        intervals: The ends of the 95 % confidence interval of those that have one.
        n: What they were computed over: images, bags or volumes.
    """

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    n: int


def score(
    label: LabelType,
    pairs: Iterable[tuple[Any, Any, Sequence[str]]],
    patients: Mapping[str, str],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Scores:
    """A label type's metrics over the predictions of a test set.

    The intervals are percentiles of the bootstrap: patients are drawn with replacement, as many as
    there are, and all images of a drawn patient come along, each time that it is drawn. A resample
    that does not define a metric, such as an AUC without both classes, is left out; a metric that
    fewer than half of them define has no interval, nor has any where there is only one patient.

    Args:
        label: The label type at work.
        pairs: Prediction, collated target and case ids, batch by batch.
        patients: The patient of each case id.
        resamples: How many; 0: no intervals.
        seed: Of the draws.

    Raises:
        DataError: There are no pairs.
    """
    metric, owners = label.metric(), []
    for prediction, target, ids in pairs:
        metric.update(prediction, target)
        owners += [patients[case] for case in ids]
    return _scores(metric.compute, owners, resamples, seed)


def score_volumes(
    model: Model, task: TaskData, split: str, *, resamples: int = 1000, seed: int = 0
) -> Scores:
    """The label type's metrics of each volume, averaged over the usable volumes of a split.

    Slices are predicted one by one and put back into their volume first. A metric that a volume
    does not define is averaged over the others.

    Args:
        model: Put into evaluation mode.
        task: See :func:`umedpt_core.use.volumes.segment_volume`, with the split opened.
        split: Which one.
        resamples: See :func:`score`; what is drawn is patients with their volumes.
        seed: See :func:`score`.

    Raises:
        ConfigError: The task's instances are no slices, or its targets no masks.
        DataError: No case of the split can be used.
    """
    slices_of(task)
    model.eval()
    values: list[dict[str, float]] = []
    owners: list[str] = []
    for case in task.cases[split]:
        try:
            voxels = slices.load(task, case, None)["image"]  # checks the target too
            target = np.asarray(case.target.voxels)
            prediction = segment(model, task, voxels, target.shape)
        except Exception:  # noqa: S112  # was reported when its slices were read
            continue
        metric = task.label.metric()
        metric.update(_tall(prediction), _tall(target))
        values.append(metric.compute())
        owners.append(case.patient)

    def mean(chosen: Sequence[int] | None = None) -> dict[str, float]:
        found = defaultdict(list)
        for place in range(len(values)) if chosen is None else chosen:
            for name, value in values[place].items():
                found[name].append(value)
        return {name: math.fsum(each) / len(each) for name, each in found.items()}

    return _scores(mean, owners, resamples, seed)


def _scores(compute: Compute, owners: Sequence[str], resamples: int, seed: int) -> Scores:
    """Metrics and intervals; `owners` are the patients of the images that were added."""
    if not owners:
        raise DataError("no case can be scored: each was skipped, for the reasons given above")
    metrics = compute(None)
    rivals = [name for name in metrics if not name.endswith("_baseline")]
    found = _resampled(compute, owners, resamples, seed)
    intervals = {
        name: tuple(np.quantile(found[name], QUANTILES).tolist())
        for name in rivals
        if len(found[name]) * 2 >= resamples > 0
    }
    return Scores(metrics, intervals, len(owners))


def _resampled(
    compute: Compute, owners: Sequence[str], resamples: int, seed: int
) -> dict[str, list[float]]:
    """The values of each metric over the resamples that define it.

    scipy.stats.bootstrap takes one statistic that is always defined; here one pass over a resample
    gives all metrics, or some of them.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for place, patient in enumerate(owners):
        places[patient].append(place)
    patients = [places[patient] for patient in sorted(places)]
    rng = np.random.default_rng(seed_of(seed, "bootstrap"))
    found: dict[str, list[float]] = defaultdict(list)
    if len(patients) == 1:
        return found
    for _ in range(resamples):
        drawn = rng.integers(len(patients), size=len(patients))
        for name, value in compute([n for one in drawn for n in patients[one]]).items():
            if math.isfinite(value):
                found[name].append(value)
    return found


def _tall(voxels: NDArray[Any]) -> torch.Tensor:
    """A volume as a batch of one tall image: metrics of masks count pixels."""
    return torch.from_numpy(voxels.reshape(1, -1, voxels.shape[-1]).astype(np.int64))
