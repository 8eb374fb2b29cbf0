import os
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import umedpt_task_bccd
from umedpt_task_bccd.data import make_fake

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

(SPEC,) = umedpt_task_bccd.umedpt_tasks()
SPLITS = ("train", "val", "test")


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def annotation(root):
    return root / "BCCD" / "Annotations" / "BloodImage_00000.xml"


def test_fake_splits(root):
    cases = {split: open_split(SPEC, root, split, None) for split in SPLITS}
    assert [len(part) for part in cases.values()] == [8, 4, 4]
    for case in [case for part in cases.values() for case in part]:
        assert root / case.id == case.path
        assert len(pickle.dumps(case)) < 1000
        target, image = case.target, case.image.astype(int)
        assert target["boxes"].dtype == np.float32
        assert Counter(target["labels"].tolist()) == {0: 3, 1: 1, 2: 1}
        for x0, y0, x1, y1 in target["boxes"].astype(int):
            assert image[(y0 + y1) // 2, (x0 + x1) // 2].sum() < 600 < image[y0, x0].sum()


def test_the_inner_folder_is_a_root_too(root):
    assert len(open_split(SPEC, root / "BCCD", "train", None)) == 8


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("WBC", "Basophil", "BloodImage_00000.xml: unknown class 'Basophil'"),
        ("<xmax>", "<xmax>wide", "BloodImage_00000.xml: cannot be read as a VOC annotation"),
        ("</annotation>", "", "BloodImage_00000.xml: cannot be read as a VOC annotation"),
        (
            "<annotation>",
            '<!DOCTYPE a [<!ENTITY e "e">]><annotation>',
            "BloodImage_00000.xml: cannot be read as a VOC annotation",
        ),
    ],
)
def test_annotations_that_cannot_be_used(root, before, after, message):
    text = annotation(root).read_text()
    annotation(root).write_text(text.replace(before, after))
    with pytest.raises(DataError, match=message):
        _ = open_split(SPEC, root, "train", None)[0].target


def test_missing_files(root):
    annotation(root).unlink()
    case = open_split(SPEC, root, "train", None)[0]
    with pytest.raises(DataError, match=r"BloodImage_00000\.xml: no such file"):
        _ = case.target
    with pytest.raises(DataError, match=r"ImageSets/Main/train\.txt is missing"):
        open_split(SPEC, root / "BCCD" / "JPEGImages", "train", None)


def test_truncated_image(root):
    case = open_split(SPEC, root, "test", None)[0]
    case.path.write_bytes(case.path.read_bytes()[:200])
    with pytest.raises(DataError, match=case.path.name):
        _ = case.image


@pytest.mark.skipif("UMEDPT_TEST_DATA" not in os.environ, reason="UMEDPT_TEST_DATA is not set")
def test_real_data():
    root = Path(os.environ["UMEDPT_TEST_DATA"]) / "bccd"
    cases = {split: open_split(SPEC, root, split, None) for split in SPLITS}
    assert [len(part) for part in cases.values()] == [205, 87, 72]
    every = {case.patient: case.target for part in cases.values() for case in part}
    labels = np.concatenate([target["labels"] for target in every.values()])
    assert np.bincount(labels).tolist() == [4155, 372, 361]
    edges = np.concatenate([target["boxes"] for target in every.values()])
    assert edges[:, :2].min() == 0
    assert edges[:, 2:].max(axis=0).tolist() == [640, 480]
    flat = {
        name: int((np.diff(target["boxes"].reshape(-1, 2, 2), axis=1) <= 0).any(axis=(1, 2)).sum())
        for name, target in every.items()
    }
    assert {name: n for name, n in flat.items() if n} == {
        "BloodImage_00338": 1,
        "BloodImage_00343": 1,
    }
    assert cases["test"][0].image.shape == (480, 640, 3)


class TestConformance(Conformance):
    distribution = "umedpt-task-bccd"
