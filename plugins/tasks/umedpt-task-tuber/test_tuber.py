import shutil
from collections import Counter

import pytest
import umedpt_task_tuber
from umedpt_task_tuber.data import make_fake

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

(SPEC,) = umedpt_task_tuber.umedpt_tasks()
IMAGES = "ChinaSet_AllFiles/CXR_png"


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def open_all(root):
    return {split: open_split(SPEC, root, split, None) for split in ("train", "val", "test")}


def test_fake_splits(root):
    cases = open_all(root)
    assert len(cases["test"]) == 7
    every = [case for part in cases.values() for case in part]
    assert Counter(case.target for case in every) == {0: 12, 1: 12}
    assert len({case.patient for case in every}) == 24
    for case in every:
        assert root / case.id == case.path
        assert case.target == int(case.id[-5])
        assert (case.image[12:40, 10:26].mean() > 90) == case.target
    assert {case.image.ndim for case in every} == {2, 3}


def test_the_other_layouts(root):
    ids = {split: [case.patient for case in part] for split, part in open_all(root).items()}
    for folder in ("images/images", "images", "CXR_png"):
        other = root.parent / f"other-{folder.replace('/', '-')}"
        shutil.copytree(root / IMAGES, other / folder)
        cases = open_all(other)
        assert {split: [case.patient for case in part] for split, part in cases.items()} == ids
        assert cases["test"][0].id.startswith(f"{folder}/CHNCXR_")
    assert len(open_split(SPEC, root / "ChinaSet_AllFiles", "test", None)) == 7


def test_renamed_folders_and_files(root):
    for path in (root / IMAGES).glob("*.png"):
        path.rename(path.with_name(path.name.replace("CHNCXR", "CXR")))
    with pytest.raises(DataError, match=r"CXR_png: no CHNCXR_\*_0\.png"):
        open_split(SPEC, root, "test", None)
    (root / IMAGES).rename(root / "ChinaSet_AllFiles" / "png")
    with pytest.raises(DataError, match=r"ChinaSet_AllFiles/CXR_png is missing"):
        open_split(SPEC, root, "test", None)


def test_truncated_image(root):
    case = open_split(SPEC, root, "test", None)[0]
    case.path.write_bytes(case.path.read_bytes()[:200])
    with pytest.raises(DataError, match=case.path.name):
        _ = case.image


class TestConformance(Conformance):
    distribution = "umedpt-task-tuber"
