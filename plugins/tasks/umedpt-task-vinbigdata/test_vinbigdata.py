import pickle

import numpy as np
import pytest
import umedpt_task_vinbigdata
from umedpt_task_vinbigdata.data import CLASSES, make_fake, merge

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

(SPEC,) = umedpt_task_vinbigdata.umedpt_tasks()


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def open_all(root):
    return [c for split in ("train", "val", "test") for c in open_split(SPEC, root, split, None)]


def test_fake_splits(root):
    cases = open_all(root)
    assert len(cases) == 21
    assert len(open_split(SPEC, root, "test", None)) == 7
    targets = [case.target for case in cases]
    assert {index for target in targets for index in target["labels"].tolist()} == set(range(14))
    assert sum(not len(target["boxes"]) for target in targets) == 3
    for case, target in zip(cases, targets, strict=True):
        assert case.id == f"train/{case.patient}.dicom"
        assert len(pickle.dumps(case)) < 2000
        image = case.image
        assert image.dtype == np.int16
        assert image.shape == (64, 56)
        for index, (x0, y0, x1, y1) in zip(target["labels"], target["boxes"], strict=True):
            assert np.abs([x0 - index % 4 * 14 - 1, y0 - index // 4 * 16 - 2]).max() <= 1
            inside = image[int(y0) + 2 : int(y1) - 2, int(x0) + 2 : int(x1) - 2]
            assert inside.mean() > 1500 > np.median(image)  # of both photometric kinds


def test_boxes_of_several_radiologists_become_one():
    aorta = [(0, 10, 10, 30, 30), (0, 12, 10, 32, 30), (0, 11, 10, 31, 30)]
    far, other = (0, 60, 60, 80, 80), (3, 10, 10, 30, 30)
    target = merge([*aorta, far, other])
    assert target["labels"].tolist() == [0, 0, 3]
    assert target["boxes"].tolist() == [[11, 10, 31, 30], [60, 60, 80, 80], [10, 10, 30, 30]]
    assert target["boxes"].dtype == np.float32
    assert len(merge([(0, 0, 0, 10, 10), (0, 0, 0, 10, 4)])["boxes"]) == 1  # an IoU of 0.4
    assert len(merge([(0, 0, 0, 10, 10), (0, 0, 0, 10, 3.9)])["boxes"]) == 2
    assert merge([])["boxes"].shape == (0, 4)
    assert merge([(1, 5, 5, 5, 5), (1, 5, 5, 5, 5)])["boxes"].shape == (2, 4)  # no area


def test_any_subset_of_the_images(root):
    case = open_all(root)[0]
    (root / case.id).unlink()
    assert len(open_all(root)) == 20


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("x_min", "left", "train.csv: no column 'x_min'"),
        ("image_id", "image", "train.csv: no column 'image_id'"),
        ("No finding,14,", "No finding,15,", "cannot be used .class_id 15"),
        (f"{CLASSES[0]},0,R8,", f"{CLASSES[0]},0,R8,wide", "image .*: cannot be used"),
    ],
)
def test_tables_that_cannot_be_used(root, before, after, message):
    table = root / "train.csv"
    assert before in table.read_text()
    table.write_text(table.read_text().replace(before, after))
    with pytest.raises(DataError, match=message):
        open_all(root)


def test_renamed_files(root):
    for path in (root / "train").iterdir():
        path.rename(path.with_suffix(".png"))
    with pytest.raises(DataError, match=r"train: no \*\.dicom that train\.csv names"):
        open_all(root)
    (root / "train").rename(root / "images")
    with pytest.raises(DataError, match=r"train is missing"):
        open_all(root)
    (root / "train.csv").unlink()
    with pytest.raises(DataError, match=r"train\.csv is missing"):
        open_all(root)


def test_truncated_image(root):
    case = open_all(root)[0]
    path = root / case.id
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match=path.name):
        _ = case.image


class TestConformance(Conformance):
    distribution = "umedpt-task-vinbigdata"
