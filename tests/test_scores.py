"""Scores: metrics of a test set, with bootstrap intervals over patients."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from torchmetrics.functional.classification import multiclass_f1_score, multiclass_jaccard_index
from umedpt_label_classification.head import Classification
from umedpt_label_segmentation.head import Segmentation

from umedpt_core import DataError, Slices, Volume
from umedpt_core.data.tasks import TaskData
from umedpt_core.transfer.scores import score, score_volumes


class Right:
    """The share of right answers, and what some resamples leave undefined."""

    def __init__(self) -> None:
        self.right: list[bool] = []
        self.asked: list[list[int]] = []

    def update(self, prediction: Sequence[int], target: Sequence[int]) -> None:
        self.right += [p == t for p, t in zip(prediction, target, strict=True)]

    def compute(self, chosen: Sequence[int] | None = None) -> dict[str, float]:
        places = list(range(len(self.right)) if chosen is None else chosen)
        self.asked.append(places)
        share = float(np.mean([self.right[place] for place in places]))
        values = {"right": share, "right_baseline": 0.5}
        often = {"often": share} if 0 in places else {}
        seldom = {"seldom": share} if {0, 1} <= set(places) else {}
        return values | often | seldom


def answers(right: Sequence[bool], patients: Sequence[str], **options: Any) -> tuple[Any, Right]:
    """Scored in two batches."""
    metric, half = Right(), len(right) // 2
    ids = [f"image {n}" for n in range(len(right))]
    pairs = [
        (right[part], [True] * len(right[part]), ids[part])
        for part in (slice(half), slice(half, None))
    ]
    label: Any = SimpleNamespace(metric=lambda: metric)
    return score(label, pairs, dict(zip(ids, patients, strict=True)), **options), metric


def many(n: int) -> list[str]:
    return [f"patient {number}" for number in range(n)]


def test_an_interval_is_that_of_the_binomial_distribution():
    """Of 80 of 100 independent images the bootstrap draws binomially."""
    scores, _ = answers([True] * 80 + [False] * 20, many(100), resamples=3000)
    assert (scores.n, scores.metrics["right"]) == (100, 0.8)
    wanted = binom.ppf((0.025, 0.975), 100, 0.8) / 100
    np.testing.assert_allclose(scores.intervals["right"], wanted, atol=0.01)
    assert "right_baseline" in scores.metrics
    assert "right_baseline" not in scores.intervals


def test_the_images_of_a_patient_stay_together():
    patients = ["b", "a", "a", "b", "c", "a"]
    scores, metric = answers([False, True, True, False, True, True], patients, resamples=200)
    groups = {"a": [1, 2, 5], "b": [0, 3], "c": [4]}
    drawn = [
        [p for p in groups for _ in range(asked.count(groups[p][0]))] for asked in metric.asked
    ]
    for asked, names in zip(metric.asked[1:], drawn[1:], strict=True):
        assert len(names) == 3
        assert sorted(asked) == sorted(n for name in names for n in groups[name])
    assert len({tuple(names) for names in drawn[1:]}) == 10  # all that three of three can be
    assert scores.intervals["right"] == (0, 1)  # single images would give a narrower one


def test_the_intervals_are_a_function_of_the_seed():
    right = [n % 3 > 0 for n in range(50)]
    first, again, other = (
        answers(right, many(50), resamples=100, seed=seed)[0] for seed in (1, 1, 2)
    )
    assert first == again
    assert first.metrics == other.metrics
    assert first.intervals != other.intervals
    order = np.random.default_rng(0).permutation(50)
    shuffled = answers([right[n] for n in order], [many(50)[n] for n in order], resamples=100)[0]
    wanted = answers(right, many(50), resamples=100)[0].intervals["right"]
    assert shuffled.intervals["right"] == pytest.approx(wanted)


def test_a_metric_that_few_resamples_define_has_no_interval():
    """Of ten patients a resample holds the first with 65 %, the first two with 41 %."""
    scores, _ = answers([True, False] * 5, many(10), resamples=400)
    assert {"right", "often", "seldom", "right_baseline"} == scores.metrics.keys()
    assert {"right", "often"} == scores.intervals.keys()


def test_what_has_no_interval_at_all():
    assert answers([True, False], ["a", "a"], resamples=10)[0].intervals == {}
    scores, metric = answers([True, False], ["a", "b"], resamples=0)
    assert (scores.intervals, len(metric.asked)) == ({}, 1)
    with pytest.raises(DataError, match="no case can be scored"):
        answers([], [])


@settings(deadline=None, max_examples=10, derandomize=True)
@given(st.integers(0, 10**6), st.integers(2, 4))
def test_an_interval_holds_the_metric_of_a_classification(seed, C):
    rng = np.random.default_rng(seed)
    y_N = rng.integers(0, C, 60)
    p_NC = torch.tensor(rng.random((60, C)) + np.eye(C)[y_N] * 0.5).softmax(1)
    ids = [str(n) for n in range(60)]
    pairs = [(p_NC[:40], torch.tensor(y_N[:40]), ids[:40])]
    pairs += [(p_NC[40:], torch.tensor(y_N[40:]), ids[40:])]
    owners = {name: f"patient {number // 2}" for number, name in enumerate(ids)}
    label = Classification([f"class {c}" for c in range(C)])
    scores = score(label, pairs, owners, resamples=60, seed=seed)
    assert scores.intervals.keys() == {"f1", "accuracy", "auc"}
    for name, (low, high) in scores.intervals.items():
        assert 0 <= low <= scores.metrics[name] <= high <= 1
        assert low < high


def test_the_metrics_of_masks_are_those_of_torchmetrics():
    rng = np.random.default_rng(0)
    predicted, true = torch.tensor(rng.integers(0, 3, (2, 8, 16, 16)))
    true[:, :2] = 255
    label = Segmentation(["background", "organ", "lesion"])
    pairs = [(predicted[:5], true[:5], "abcde"), (predicted[5:], true[5:], "fgh")]
    metrics = score(label, pairs, dict.fromkeys("abcdefgh", "p"), resamples=0).metrics
    iou = multiclass_jaccard_index(predicted, true, 3, ignore_index=255)
    dice = multiclass_f1_score(predicted, true, 3, average=None, ignore_index=255)[1:].mean()
    assert metrics["miou"] == pytest.approx(float(iou), abs=1e-6)
    assert metrics["dice"] == pytest.approx(float(dice), abs=1e-6)


class Bright(torch.nn.Module):
    """Stands for a model: marks the bright half."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def predict(self, task: str, x_BCHW: torch.Tensor) -> torch.Tensor:
        return (x_BCHW[:, 0] > 0.5).long()


def volume_case(name: str, patient: str, found: slice, true: slice) -> Any:
    image, mask = np.zeros((2, 4, 16, 16), np.float32)
    image[:, found], mask[:, true] = 1, 1
    image, mask = (Volume(voxels, np.eye(4)) for voxels in (image, mask.astype(np.uint8)))
    return SimpleNamespace(id=name, patient=patient, image=image, target=mask)


def volume_task(*cases: Any) -> TaskData:
    facts = {"intensity": "ct", "augmentation": None, "volume_augmentation": None, "batch_size": 4}
    spec = Slices(size=(16, 16), axis="axial")
    return TaskData("v", {"test": cases}, Segmentation(["lesion"]), "mask", spec, **facts)


def test_volumes_are_averaged_and_resampled_by_patient():
    perfect, half, missed = slice(0, 4), slice(2, 6), slice(8, 12)
    cases = [
        volume_case("1", "a", perfect, perfect),
        volume_case("2", "a", half, perfect),
        volume_case("3", "b", missed, perfect),
    ]
    broken = SimpleNamespace(id="4", patient="c", image=None, target=None)
    model: Any = Bright()
    scores = score_volumes(model, volume_task(*cases, broken), "test", resamples=100)
    assert scores.n == 3
    assert scores.metrics["dice"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    # Only patient a, or only b: a quarter of the resamples each.
    assert scores.intervals["dice"] == pytest.approx((0, 3 / 4))
    assert "dice_baseline" not in scores.intervals
    with pytest.raises(DataError, match="no case"):
        score_volumes(model, volume_task(broken), "test")
