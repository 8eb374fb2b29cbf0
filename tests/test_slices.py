"""Slices and bags of volumes, from the file to the batch, and back into the volume."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from umedpt_label_bag.head import Bag as BagLabel
from umedpt_label_classification.head import Classification
from umedpt_label_detection.head import Detection
from umedpt_label_segmentation.head import Segmentation

from umedpt_core import Bag, ConfigError, DataError, Slices, Volume
from umedpt_core.data import slices
from umedpt_core.data.batch import Batch, Ticket
from umedpt_core.data.cache import open_cache
from umedpt_core.data.draw import Draw
from umedpt_core.data.inspection import inspect_task
from umedpt_core.data.loader import Instances, make_loader
from umedpt_core.data.tasks import TaskData, open_task
from umedpt_core.transfer.scores import score_volumes
from umedpt_core.use.preview import preview_sheet
from umedpt_core.use.volumes import segment_volume

SHAPE = (20, 24, 28)
TOMOGRAPHY = "umedpt_augment_tomography.profile"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("UMEDPT_CACHE", str(tmp_path))
    return tmp_path / "cases"


@dataclass(frozen=True)
class Case:
    id: str
    image: Any = None
    target: Any = None

    @property
    def patient(self) -> str:
        return self.id


def volume(voxels: np.ndarray, spacing: float = 1.0) -> Volume:
    return Volume(voxels, np.diag([spacing, spacing, spacing, 1.0]))


def coded(number: int = 0) -> np.ndarray:
    """Every voxel tells its place; the case's number is the noise."""
    code = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    return code + np.random.default_rng(number).random(SHAPE, dtype=np.float32)


def block() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[5:9, 6:12, 7:16] = 1
    return mask


def make_task(instances=None, label=None, geometry="none", cases=None, **fields) -> TaskData:
    cases = cases or [Case(f"c{i}", volume(coded(i)), i % 2) for i in range(5)]
    facts = {"intensity": "ct", "augmentation": None, "volume_augmentation": None, "batch_size": 4}
    return TaskData(
        "v",
        {"train": cases, "val": cases},
        label or Classification(["no", "yes"]),
        geometry,
        instances=instances or Slices(size=(32, 32), per_case=6),
        **(facts | fields),
    )


def mask_task(mask=None, image=None, **fields) -> TaskData:
    target = volume(block() if mask is None else mask)
    case = Case("m", volume(coded() if image is None else image), target)
    spec = fields.pop("instances", Slices(size=(32, 32), axis="axial", per_case=5))
    return make_task(spec, Segmentation(["lesion"]), "mask", [case], **fields)


def cut(task: TaskData, draw: Draw, seed: int | None = None):
    case = task.cases["train"][0]
    return slices.cut(task, case, slices.load(task, case, seed), draw)


# One slice


@pytest.mark.parametrize(
    ("axis", "shape"), [("axial", (24, 28)), ("coronal", (20, 28)), ("sagittal", (20, 24))]
)
def test_an_axis_gives_its_plane_with_the_mask_that_belongs_to_it(axis, shape):
    mask = (coded() % 3).astype(np.uint8)  # known at every voxel
    task = mask_task(mask, instances=Slices(size=(32, 32), axis=axis))
    task = replace(task, label=Segmentation(["a", "b", "c"]))
    image, target, dropped = cut(task, Draw(2, 5))
    index = ("axial", "coronal", "sagittal").index(axis)
    depth = SHAPE[index]
    place = int(2.5 / 5 * depth)
    code = coded()
    expected = (code.take(place, index) - code.min()) / (code.max() - code.min())
    assert image.shape == (*shape, 3)
    assert np.abs(image - expected[..., None]).max() < 1e-4
    assert (target == mask.take(place, index)).all()
    assert dropped == 0


@pytest.mark.parametrize("sequences", [1, 2, 3])
def test_sequences_become_three_channels_each_with_its_own_range(sequences):
    voxels = np.stack([coded(c) * 10**c for c in range(sequences)], axis=-1)
    image, _, _ = cut(make_task(cases=[Case("s", volume(voxels), 0)]), Draw(3, 6))
    own = [(v - v.min()) / (v.max() - v.min()) for v in (coded(c) for c in range(sequences))]
    third = {1: own[0], 2: (own[0] + own[-1]) / 2, 3: own[-1]}[sequences]
    for channel, expected in enumerate([own[0], own[min(1, sequences - 1)], third]):
        assert np.abs(image[..., channel] - expected[11]).max() < 1e-4


def test_boxes_follow_into_the_slices_that_cross_them():
    boxes = np.array([[5, 6, 7, 9, 12, 16], [0, 0, 0, 20, 4, 5]], np.float32)
    target = {"boxes": boxes, "labels": np.array([0, 1])}
    task = make_task(
        Slices(size=(32, 32), axis="axial"),
        Detection(["a", "b"]),
        "boxes",
        [Case("b", volume(coded()), target)],
    )
    _, crossed, _ = cut(task, Draw(8, 20))
    assert crossed["boxes"].tolist() == [[7, 6, 16, 12], [0, 0, 5, 4]]
    _, above, _ = cut(task, Draw(4, 20))
    assert above["labels"].tolist() == [1]


def test_foreground_is_asked_for_by_share():
    def found(share: float) -> float:
        task = mask_task(instances=Slices(size=(32, 32), axis="axial", foreground=share))
        case = task.cases["train"][0]
        arrays = slices.load(task, case, 0)
        draws = [Draw(n % 8, 8, seed) for seed in range(20) for n in range(8)]
        return np.mean([slices.cut(task, case, arrays, draw)[1].any() for draw in draws])

    assert found(0.0) == pytest.approx(4 / 20, abs=0.05)
    assert found(0.5) == pytest.approx(0.5 + 0.5 * 4 / 20, abs=0.1)
    assert found(1.0) == 1.0


@settings(derandomize=True, deadline=None, max_examples=40)
@given(of=st.integers(1, 12), seed=st.integers(0, 2**32 - 1) | st.none())
def test_the_instances_of_a_visit_are_spread_over_the_volume(of, seed):
    places = [slices._spread(number, of, 24, seed) for number in range(of)]
    assert places == sorted(places)
    assert all(number * 24 / of - 1 <= place for number, place in enumerate(places))
    assert all(0 <= place < 24 for place in places)


def test_a_random_axis_is_one_for_a_batch_and_all_in_time():
    instances = Instances({"v": make_task(Slices(size=64, per_case=4))}, seed=0, window=3)
    shapes = {tuple(instances[Ticket("train", "v", n)].x_BCHW.shape[2:]) for n in range(12)}
    assert shapes == {(64, 64)} or len(shapes) > 1
    task = make_task(Slices(size=(32, 32)))
    axes = {slices.axis_of("random", SHAPE, batch) for batch in range(20)}
    assert axes == {0, 1, 2}
    assert cut(task, Draw(0, 4, 1, 5))[0].shape == cut(task, Draw(3, 4, 9, 5))[0].shape


# What cannot be used

BROKEN: dict[str, tuple[Any, str]] = {
    "constant": (mask_task(image=np.full(SHAPE, 3.0, np.float32)), "every voxel is 3.0"),
    "four sequences": (
        mask_task(image=np.stack([coded()] * 4, axis=-1)),
        "has 4 sequences for 3 channels",
    ),
    "another shape": (
        mask_task(mask=np.zeros((20, 24, 27), np.uint8)),
        "does not lie on the image",
    ),
    "unknown class": (mask_task(mask=np.full(SHAPE, 7, np.uint8)), "mask holds 7"),
    "too thin": (
        mask_task(image=coded()[:, :8], mask=block()[:, :8]),
        "too thin for axial slices",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_case_that_cannot_be_used_says_why(name):
    task, text = BROKEN[name]
    with pytest.raises(DataError, match=text):
        cut(task, Draw(0, 5))


FOREGROUND = """
from umedpt_core import Slices
@hookimpl
def umedpt_tasks():
    yield task("front", instances=Slices(foreground=0.5))
"""


def test_foreground_of_a_task_without_masks_is_a_mistake_of_its_plugin(site):
    site.add("umedpt-task-front", FOREGROUND)
    with pytest.raises(ConfigError, match="task front: there is no foreground to sample"):
        open_task(site.load(), "front", ["train"])


def test_a_mask_that_lies_elsewhere_is_found():
    case = mask_task().cases["train"][0]
    moved = replace(case, target=Volume(block(), np.diag([1.0, 1, 1, 1]) + np.eye(4, k=3) * 9))
    with pytest.raises(DataError, match="does not lie on the image"):
        cut(make_task(Slices(), Segmentation(["a"]), "mask", [moved]), Draw())


def test_inspection_finds_all_that_is_broken_and_what_is_suspicious():
    cases = [task.cases["train"][0] for task, _ in BROKEN.values()]
    cases = [replace(case, id=name) for name, case in zip(BROKEN, cases, strict=True)]
    empty = Case("empty", volume(coded()), volume(np.zeros(SHAPE, np.uint8)))
    fine = replace(mask_task().cases["train"][0], id="fine")
    task = replace(mask_task(), cases={"train": [*cases, empty, fine]})
    found = {f.case: f for findings in inspect_task(task, workers=0) for f in findings}
    assert set(found) == {*BROKEN, "empty"}
    assert {name for name, finding in found.items() if finding.broken} == set(BROKEN)
    assert all(text in found[name].problem for name, (_, text) in BROKEN.items())
    assert "the mask is empty" in found["empty"].problem


# Batches


def augmented_task(**fields) -> TaskData:
    cases = [Case(f"m{i}", volume(coded(i)), volume(block())) for i in range(5)]
    return make_task(
        Slices(size=(32, 32), per_case=6, foreground=0.5),
        Segmentation(["lesion"]),
        "mask",
        cases,
        augmentation="umedpt_augment_standard.profile:image_transforms",
        volume_augmentation=f"{TOMOGRAPHY}:volume_transforms",
        **fields,
    )


def content(batch: Batch) -> tuple[Any, ...]:
    return batch.ids, batch.x_BCHW.numpy().tobytes(), batch.target.numpy().tobytes()


TICKETS = [Ticket("train", "v", n) for n in range(9)] + [Ticket("val", "v", n) for n in range(3)]


@pytest.fixture(scope="module")
def uncached() -> list[tuple[Any, ...]]:
    instances = Instances({"v": augmented_task()}, seed=3, window=3)
    return [content(instances[ticket]) for ticket in TICKETS]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_and_the_cache_change_nothing(workers, uncached):
    with open_cache(1) as cache:
        instances = Instances({"v": augmented_task()}, 3, window=3, cache=cache)
        assert [content(batch) for batch in make_loader(instances, TICKETS, workers)] == uncached
        assert set(cache.loads().values()) == {1}


def test_a_cache_too_small_for_the_window_changes_nothing_but_loads(uncached):
    with open_cache(60_000 / 1e9) as cache:
        instances = Instances({"v": augmented_task()}, 3, window=3, cache=cache)
        assert [content(batch) for batch in make_loader(instances, TICKETS, 0)] == uncached
        assert cache.reloads() > 0


def test_going_on_in_the_middle_gives_the_same_batches(uncached):
    with open_cache(1) as cache:
        instances = Instances({"v": augmented_task()}, 3, window=3, cache=cache)
        assert [content(instances[ticket]) for ticket in TICKETS[5:]] == uncached[5:]


def test_a_batch_mixes_the_cases_of_the_window():
    """Where a pass ends a case may be there twice, of both passes."""
    instances = Instances({"v": make_task()}, seed=0, window=4)
    kinds = [len(set(instances[Ticket("train", "v", number)].ids)) for number in range(12)]
    assert min(kinds) >= 2
    assert np.mean(kinds) > 3


def test_a_visit_is_augmented_anew():
    instances = Instances({"v": augmented_task(batch_size=1)}, seed=0, window=1)
    batches = [instances[Ticket("train", "v", number)] for number in range(60)]
    assert len({content(batch)[1] for batch in batches}) == 60


def test_evaluation_takes_evenly_spread_slices_in_the_order_of_cases():
    batches = [
        Instances({"v": make_task()}, seed=0)[Ticket("val", "v", number)] for number in range(8)
    ]
    assert [name for batch in batches for name in batch.ids] == [
        f"c{case}" for case in range(5) for _ in range(6)
    ]


# Bags


def bag_task(**fields) -> TaskData:
    spec = Bag(size=(32, 32), **fields)
    return make_task(spec, BagLabel(["no", "yes"]), batch_size=2)


def test_a_bag_holds_all_slices_and_evaluation_has_one_a_batch():
    task = bag_task(axis="coronal")
    instances = Instances({"v": task}, seed=0)
    batch = instances[Ticket("train", "v", 0)]
    assert batch.bags == (24, 24)
    assert batch.x_BCHW.shape == (48, 3, 32, 32)
    assert len(batch) == len(batch.target) == 2
    assert task.batches("val") == 5
    assert instances[Ticket("val", "v", 4)].ids == ("c4",)


def test_a_bag_can_be_limited_to_evenly_spread_slices():
    image, _, _ = cut(bag_task(most=5), Draw())
    every = cut(bag_task(), Draw())[0]
    assert [next(i for i, e in enumerate(every) if (e == s).all()) for s in image] == [
        2,
        6,
        10,
        14,
        18,
    ]


# Back into the volume


class Threshold(torch.nn.Module):
    """Stands for a model: marks the bright half."""

    def __init__(self, label) -> None:
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.labels = {"v": label}

    def predict(self, task: str, x_BCHW: torch.Tensor) -> torch.Tensor:
        return (x_BCHW[:, 0] > 0.5).long()


@pytest.mark.parametrize("axis", ["random", "axial", "coronal", "sagittal"])
@pytest.mark.parametrize("thin", [False, True])
def test_slices_return_to_their_place_in_the_volume(axis, thin):
    """Along a random axis a thin volume has only one that can be sliced."""
    mask = block()[:, 4:14] if thin and axis in ("random", "coronal") else block()
    spec = Slices(size=(96, 96), axis=axis)
    task = mask_task(mask, mask.astype(np.float32), instances=spec)
    model: Any = Threshold(task.label)
    assert (segment_volume(model, task, task.cases["val"][0]) == mask).mean() > 0.98
    scores = score_volumes(model, task, "val", resamples=0).metrics
    assert scores["dice"] > 0.9
    assert scores["dice"] > scores["dice_baseline"]


def test_resampled_volumes_are_scored_on_their_own_grid():
    bright = np.repeat(np.repeat(np.repeat(block(), 2, 0), 2, 1), 2, 2).astype(np.float32)
    mask = Volume(bright.astype(np.uint8), np.diag([0.5, 0.5, 0.5, 1]))
    case = Case("fine", Volume(bright, mask.affine), mask)
    spec = Slices(size=(96, 96), axis="axial", spacing=1.0)
    task = make_task(spec, Segmentation(["lesion"]), "mask", [case])
    model: Any = Threshold(task.label)
    assert segment_volume(model, task, case).shape == (40, 48, 56)
    assert score_volumes(model, task, "val", resamples=0).metrics["dice"] > 0.8


def test_only_masks_of_slices_can_be_put_back():
    task = make_task()
    model: Any = Threshold(task.label)
    with pytest.raises(ConfigError, match="only masks of slices"):
        score_volumes(model, task, "val")


# Pictures


@pytest.mark.parametrize("task", [augmented_task(), bag_task()], ids=["slices", "bag"])
def test_a_preview_has_a_row_a_case_even_of_a_broken_one(task):
    broken = Case("broken", volume(np.zeros(SHAPE, np.float32)), 0)
    cases = [*task.cases["train"][:2], broken]
    sheet = preview_sheet(replace(task, cases={"train": cases}), "train", cases=3, instances=2)
    good, bad = np.asarray(sheet.crop((230, 0, sheet.width, 200))), np.asarray(sheet)[-200:, 230:]
    assert good.std() > 20
    assert bad.std() == 0
