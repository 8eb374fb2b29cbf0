import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import umedpt_task_dsb2018
from PIL import Image
from umedpt_task_dsb2018.data import make_fake

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

SEGMENTATION, DETECTION = umedpt_task_dsb2018.umedpt_tasks()


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def open_all(spec, root):
    return [c for split in ("train", "val", "test") for c in open_split(spec, root, split, None)]


def test_fake_splits(root):
    segmented, detected = open_all(SEGMENTATION, root), open_all(DETECTION, root)
    assert len({case.patient for case in segmented}) == 12
    assert [case.patient for case in segmented] == [case.patient for case in detected]
    for mask_case, box_case in zip(segmented, detected, strict=True):
        assert (root / mask_case.id).is_dir()
        assert len(pickle.dumps(mask_case)) < 1000
        mask, image = mask_case.target, mask_case.image.astype(int).sum(axis=2)
        assert mask.dtype == np.uint8
        assert image.shape == mask.shape == (48, 48)
        inside, outside = image[mask == 1], image[mask == 0]
        assert inside.min() > outside.max() or inside.max() < outside.min()
        target, union = box_case.target, np.zeros_like(mask)
        assert 3 <= len(target["boxes"]) <= 5
        assert target["labels"].tolist() == [0] * len(target["boxes"])
        for x0, y0, x1, y1 in target["boxes"].astype(int):
            part = mask[y0:y1, x0:x1]
            assert all(edge.any() for edge in (part[0], part[-1], part[:, 0], part[:, -1]))
            union[y0:y1, x0:x1] = 1
        assert (mask <= union).all()


def test_an_empty_mask_file_counts_as_a_box_without_area(root):
    case = open_all(DETECTION, root)[0]
    before = case.target["boxes"]
    Image.new("L", (48, 48)).save(root / case.id / "masks" / "zz.png")
    assert case.target["boxes"].tolist() == [*before.tolist(), [0, 0, 0, 0]]


def test_masks_that_cannot_be_used(root):
    cases = open_all(SEGMENTATION, root)
    Image.new("L", (24, 48)).save(root / cases[0].id / "masks" / "zz.png")
    with pytest.raises(DataError, match=r"zz\.png: the mask is \(48, 24\)"):
        _ = cases[0].target
    for path in (root / cases[1].id / "masks").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="masks: no mask"):
        _ = cases[1].target
    path = next((root / cases[2].id / "masks").iterdir())
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=path.name):
        _ = cases[2].target


def test_missing_folder_and_truncated_image(root):
    case = open_all(DETECTION, root)[0]
    case.path.write_bytes(case.path.read_bytes()[:200])
    with pytest.raises(DataError, match=case.path.name):
        _ = case.image
    shutil.rmtree(root / "stage1_train")
    with pytest.raises(DataError, match="stage1_train is missing"):
        open_all(DETECTION, root)


@pytest.mark.skipif("UMEDPT_TEST_DATA" not in os.environ, reason="UMEDPT_TEST_DATA is not set")
def test_real_data():
    root = Path(os.environ["UMEDPT_TEST_DATA"]) / "dsb2018"
    segmented, detected = open_all(SEGMENTATION, root), open_all(DETECTION, root)
    assert len(segmented) == len(detected) == 58
    boxes = np.concatenate([case.target["boxes"] for case in detected])
    assert len(boxes) == 1531
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    for case in segmented:
        assert case.image.shape == (*case.target.shape, 3)
        assert case.target.max() == 1


class TestConformance(Conformance):
    distribution = "umedpt-task-dsb2018"
