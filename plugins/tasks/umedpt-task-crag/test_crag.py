import pickle
import shutil

import cv2
import numpy as np
import pytest
import umedpt_task_crag
from umedpt_task_crag.data import cut, make_fake

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

(SPEC,) = umedpt_task_crag.umedpt_tasks()


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def test_fake_splits(root):
    parts = {split: open_split(SPEC, root, split, None) for split in ("train", "val", "test")}
    assert [len(part) for part in parts.values()] == [27, 9, 18]
    assert {case.patient for case in parts["test"]} == {"test_1", "test_2"}
    assert not {case.patient for case in parts["train"]} & {case.patient for case in parts["val"]}
    for case in [case for part in parts.values() for case in part]:
        assert len(pickle.dumps(case)) < 1000
        image, mask = case.image, case.target
        assert image.shape == (48, 50, 3)
        assert mask.shape == (48, 50)
        assert np.unique(mask).tolist() == [0, 1]
        assert mask[24, 25] == 1
        assert image[24, 25].min() > 220
        assert image[mask == 0, 0].mean() > 190  # red


def test_tiles_cover_an_image_once():
    image = np.arange(1511 * 1516).reshape(1511, 1516)
    rows = [np.hstack([cut(image, (row, column)) for column in range(3)]) for row in range(3)]
    assert (np.vstack(rows) == image).all()
    assert cut(image, (0, 1)).shape == (503, 505)


def test_an_annotation_without_image_is_left_out(root):
    assert (root / "CRAG/valid/Annotation/test_3.png").is_file()
    assert not any("test_3" in case.id for case in open_split(SPEC, root, "test", None))


def test_other_names_of_the_folders(root):
    base = root / "CRAG"
    assert len(open_split(SPEC, base, "test", None)) == 18
    (base / "valid" / "Annotation").rename(base / "valid" / "Annotations")
    (base / "valid").rename(base / "test")
    (root / "CRAG_v2").mkdir()
    base.rename(root / "CRAG_v2" / "CRAG")
    cases = open_split(SPEC, root, "test", None)
    assert cases[0].id == "CRAG_v2/CRAG/test/Images/test_1.png:0,0"
    assert cases[0].target.max() == 1


@pytest.mark.parametrize("folder", ["train/Images", "train/Annotation", "valid/Images", "valid"])
def test_renamed_and_empty_folders(root, folder):
    base = root / "CRAG"
    split = "train" if "train" in folder else "test"
    (base / folder).rename(base / "other")
    with pytest.raises(DataError, match=rf"CRAG/{folder}(/Images)? is missing"):
        open_split(SPEC, root, split, None)
    if "/" in folder:
        (base / folder).mkdir()
        with pytest.raises(DataError, match=rf"{folder}: no \*\.png here"):
            open_split(SPEC, root, split, None)


def test_files_that_cannot_be_used(root):
    cases = open_split(SPEC, root, "test", None)
    annotation = root / "CRAG/valid/Annotation"
    cv2.imwrite(str(annotation / "test_1.png"), np.zeros((144, 150, 3), np.uint8))
    with pytest.raises(DataError, match=r"test_1\.png: a mask has one channel"):
        _ = cases[0].target
    shutil.rmtree(annotation)
    with pytest.raises(DataError, match=r"test_1\.png: no such file"):
        _ = cases[0].target
    image = root / "CRAG/valid/Images/test_1.png"
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(DataError, match=r"test_1\.png: cannot be read"):
        _ = cases[0].image


class TestConformance(Conformance):
    distribution = "umedpt-task-crag"
