import pickle

import numpy as np
import pytest
import umedpt_task_coco
from umedpt_task_coco import OBJECTS
from umedpt_task_coco.data import GAPS, make_fake

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

SEGMENTATION, DETECTION = umedpt_task_coco.umedpt_tasks()
SPLITS = ("train", "val", "test")


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def change(root, before, after):
    path = root / "annotations" / "instances_train2017.json"
    path.write_text(path.read_text().replace(before, after))


def test_categories():
    assert len(set(OBJECTS)) == 80
    assert SEGMENTATION.classes == ("background", *OBJECTS)
    assert 90 - len(GAPS) == 80


def test_fake_splits(root):
    cases = {split: open_split(DETECTION, root, split, None) for split in SPLITS}
    assert sum(map(len, cases.values())) == 32
    assert {case.id.split("/")[0] for case in cases["test"]} == {"val2017"}
    for case in [case for part in cases.values() for case in part]:
        assert root / case.id == case.path
        assert len(pickle.dumps(case)) < 2000


@pytest.mark.parametrize("split", ["train", "test"])
def test_boxes_have_the_classes_of_their_ids(root, split):
    names = ("person", "stop sign", "zebra", "toothbrush")
    labels = {OBJECTS.index(name) for name in names}
    _, *cases = sorted(open_split(DETECTION, root, split, None), key=lambda case: case.id)
    for case in cases:
        target, image = case.target, case.image.astype(int)
        assert set(target["labels"].tolist()) >= labels
        x0, y0, x1, y1 = target["boxes"][target["labels"] == OBJECTS.index("stop sign")][0]
        red, green, _ = image[int(y0 + y1) // 2, int(x0 + x1) // 2]
        assert red > 2 * green


def test_masks_show_the_smaller_object_and_do_not_know_crowds(root):
    boxes = {case.id: case.target for case in open_split(DETECTION, root, "test", None)}
    crowds = 0
    for case in open_split(SEGMENTATION, root, "test", None):
        mask, target = case.target, boxes[case.id]
        assert mask.shape == case.image.shape[:2]
        crowds += (mask == 255).any()
        for name in ("person", "toothbrush") if len(target["labels"]) else ():
            ((x0, y0, x1, y1),) = target["boxes"][target["labels"] == OBJECTS.index(name)]
            center = mask[int(y0 + y1) // 2, int(x0 + x1) // 2]
            assert center == OBJECTS.index("toothbrush") + 1
        flat = {OBJECTS.index("chair") + 1}
        assert set(np.unique(mask)) - {0, 255} == set((target["labels"] + 1).tolist()) - flat
    assert crowds == 2


def test_masks_agree_with_the_publishers_tool(root):
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO

    tool = COCO(root / "annotations" / "instances_val2017.json")
    for case in open_split(SEGMENTATION, root, "test", None):
        things = tool.loadAnns(tool.getAnnIds(int(case.path.stem)))
        expected = np.zeros((48, 64), np.uint8)
        for thing in sorted(things, key=lambda thing: (-thing["iscrowd"], -thing["area"])):
            name = tool.cats[thing["category_id"]]["name"]
            value = 255 if thing["iscrowd"] else OBJECTS.index(name) + 1
            expected[tool.annToMask(thing).astype(bool)] = value
        assert (case.target == expected).mean() > 0.97  # the tool rounds outlines otherwise


def test_empty_images_and_boxes_without_height(root):
    cases = sorted(
        [case for split in ("train", "val") for case in open_split(DETECTION, root, split, None)],
        key=lambda case: case.id,
    )
    assert cases[0].target["boxes"].shape == (0, 4)
    chair = cases[1].target["labels"] == OBJECTS.index("chair")
    (box,) = cases[1].target["boxes"][chair]
    assert box.tolist() == [5, 5, 6, 5]
    masks = {
        case.id: case.target
        for split in ("train", "val")
        for case in open_split(SEGMENTATION, root, split, None)
    }
    assert not masks[cases[0].id].any()
    assert OBJECTS.index("chair") + 1 not in masks[cases[1].id]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"zebra"', '"okapi"', r"instances_train2017\.json: .* okapi, zebra"),
        ('"bbox"', '"box"', r"instances_train2017\.json: .* annotations\.0\.bbox: Field"),
        ('"file_name"', '"name"', r"instances_train2017\.json: .* images\.0\.file_name: Field"),
        ("[", "<", r"instances_train2017\.json: cannot be read as JSON"),
    ],
)
def test_annotations_that_cannot_be_used(root, before, after, message):
    change(root, before, after)
    with pytest.raises(DataError, match=message):
        open_split(DETECTION, root, "train", None)


def test_a_missing_image(root):
    case = open_split(DETECTION, root, "test", None)[0]
    case.path.unlink()
    with pytest.raises(DataError, match=case.path.name):
        _ = case.image


@pytest.mark.parametrize("name", ["val2017", "annotations/instances_val2017.json"])
def test_renamed_folders_and_files(root, name):
    (root / name).rename(root / "other")
    with pytest.raises(DataError, match=f"{name} is missing"):
        open_split(SEGMENTATION, root, "test", None)


class TestConformance(Conformance):
    distribution = "umedpt-task-coco"
