import pickle

import cv2
import numpy as np
import pytest
import umedpt_task_shapes
from umedpt_task_shapes import SHAPES
from umedpt_task_shapes.data import Options, draw_scene, draw_shape

from umedpt_core import ConfigError, load_catalogue
from umedpt_core.data.tasks import make_label, make_options, open_split
from umedpt_core.testing import Conformance

SPECS = {spec.label_type: spec for spec in umedpt_task_shapes.umedpt_tasks()}
CLASSIFICATION = SPECS["classification"]


def open_all(spec, cases):
    options = make_options(spec, {"cases": cases})
    return {split: open_split(spec, None, split, options) for split in ("train", "val", "test")}


@pytest.mark.parametrize("seed", range(20))
def test_mask_boxes_and_kinds_agree(seed):
    image, kinds, mask, boxes = draw_scene(seed, 3)
    assert (image.shape, image.dtype, mask.dtype) == ((64, 64, 3), np.uint8, np.uint8)
    assert 1 <= len(kinds) == len(boxes) <= 3
    _, place, stats, _ = cv2.connectedComponentsWithStats((mask > 0).astype(np.uint8))
    found = [
        (x, y, x + width, y + height, *np.unique(mask[place == index]) - 1)
        for index, (x, y, width, height, _) in enumerate(stats[1:], start=1)
    ]  # one component a shape: they do not touch
    drawn = [(*box, kind) for box, kind in zip(boxes.tolist(), kinds, strict=True)]
    assert sorted(found) == sorted(drawn)


@pytest.mark.parametrize("number", range(5))
def test_the_targets_of_a_case_tell_of_the_same_scene(number):
    def scene(label_type):
        case = open_all(SPECS[label_type], 10)["train"][number]
        return case.target, draw_scene(*case._seed())

    kind, (_, kinds, *_) = scene("classification")
    assert [kind] == kinds
    labels, (_, kinds, *_) = scene("multilabel")
    assert np.flatnonzero(labels).tolist() == sorted(set(kinds))
    mask, (_, kinds, *_) = scene("segmentation")
    assert set(np.unique(mask)) == {0, *(k + 1 for k in kinds)}
    target, (_, kinds, _, boxes) = scene("detection")
    assert target["labels"].tolist() == kinds
    assert (target["boxes"] == boxes).all()


@pytest.mark.parametrize("label_type", SPECS)
def test_the_label_type_takes_every_target(label_type):
    spec = SPECS[label_type]
    label = make_label(spec, load_catalogue().find("label type", label_type).spec)
    seen = set()
    for case in open_all(spec, 40)["train"]:
        target, dropped = label.check(case.target, case.image.shape[:2])
        assert dropped == 0
        seen |= {
            "classification": lambda t: {t},
            "multilabel": lambda t: set(np.flatnonzero(t)),
            "segmentation": lambda t: set(np.unique(t)),
            "detection": lambda t: set(t["labels"]),
        }[label_type](target)
    assert seen == set(range(len(spec.classes)))


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_stays_within_its_radius(name):
    for angle in (-20, 0, 13):
        rows, columns = np.nonzero(draw_shape(name, np.array([32, 30]), 12, angle))
        assert len(rows) > 100
        assert np.hypot(columns - 32, rows - 30).max() < 14


def test_shapes_stand_out_from_the_ground():
    for seed in range(20):
        image, kinds, mask, _ = draw_scene(seed, 3)
        for kind in kinds:
            difference = image[mask == kind + 1].mean(0) - image[mask == 0].mean(0)
            assert abs(difference).max() > 40


def test_a_case_is_drawn_alike_every_time():
    case = open_all(SPECS["segmentation"], 10)["train"][0]
    again = pickle.loads(pickle.dumps(case))  # noqa: S301
    assert again.id == case.id
    assert (again.image == case.image).all()
    assert (again.target == case.target).all()
    assert len(pickle.dumps(case)) < 300


def test_no_two_scenes_are_alike():
    cases = [
        case for spec in SPECS.values() for part in open_all(spec, 10).values() for case in part
    ]
    assert len({case.id for case in cases}) == 40
    assert len({case.image.tobytes() for case in cases}) == 40


def test_splits():
    parts = open_all(CLASSIFICATION, 200)
    assert [len(parts[split]) for split in ("train", "val", "test")] == [140, 20, 40]
    patients = [{case.patient for case in part} for part in parts.values()]
    assert len(set.union(*patients)) == sum(map(len, patients)) == 200


def test_the_default_is_600_cases():
    assert make_options(CLASSIFICATION, {}) == Options(cases=600)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cases": 9}, "task shapes-classification: options.cases: .* greater than or equal to 10"),
        ({"cases": "many"}, "options.cases: .* valid integer"),
        ({"case": 20}, "options.case: Extra inputs are not permitted"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ConfigError, match=message):
        make_options(CLASSIFICATION, options)


class TestConformance(Conformance):
    distribution = "umedpt-task-shapes"
