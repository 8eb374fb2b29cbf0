from collections import Counter

import pytest
import umedpt_task_bach
from umedpt_task_bach.data import FOLDERS, PHOTOS, TEST, make_fake

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

(SPEC,) = umedpt_task_bach.umedpt_tasks()


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def test_fake_splits(root):
    cases = {split: open_split(SPEC, root, split, None) for split in ("train", "val", "test")}
    assert Counter(case.target for case in cases["test"]) == dict.fromkeys(range(4), 3)
    both = Counter(case.target for case in [*cases["train"], *cases["val"]])
    assert both == dict.fromkeys(range(4), 6)
    dark = dict.fromkeys(range(4), 0)
    for case in [case for part in cases.values() for case in part]:
        assert root / case.id == case.path
        assert case.path.parent.name == list(FOLDERS)[case.target]
        dark[case.target] += int((case.image[..., 1] < 100).sum())
    assert dark[0] < dark[1] < dark[2] < dark[3]


def test_folders_are_their_classes():
    folders = [name.lower() for name in FOLDERS]
    plain = [name.removesuffix(" carcinoma").replace(" ", "") for name in SPEC.classes]
    assert folders == plain


def test_the_division_of_the_whole_set():
    sizes = {name: len(numbers) for name, numbers in TEST.items()}
    assert sizes == {"Normal": 23, "Benign": 48, "InSitu": 30, "Invasive": 31}
    assert all(1 <= number <= 100 for numbers in TEST.values() for number in numbers)


def test_channels_are_red_green_blue(root):
    ground = open_split(SPEC, root, "test", None)[0].image[0, 0]
    assert ground.tolist() == [230, 170, 220]


def test_other_names_and_folders(root):
    (root / PHOTOS / "Benign" / "b001.tif").rename(root / PHOTOS / "Benign" / "first.tif")
    with pytest.raises(DataError, match=r"first\.tif: no name like is012\.tif"):
        open_split(SPEC, root, "train", None)
    (root / PHOTOS / "InSitu").rename(root / PHOTOS / "In situ")
    with pytest.raises(DataError, match="Photos/InSitu is missing"):
        open_split(SPEC, root, "test", None)
    (root / PHOTOS / "InSitu").mkdir()
    (root / PHOTOS / "InSitu" / "Thumbs.db").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"Photos/InSitu: no \*\.tif here"):
        open_split(SPEC, root, "test", None)


class TestConformance(Conformance):
    distribution = "umedpt-task-bach"
