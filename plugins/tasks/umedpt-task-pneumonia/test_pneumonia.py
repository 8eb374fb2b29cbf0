import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
import umedpt_task_pneumonia
from umedpt_task_pneumonia.data import make_fake, patient_of

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

(SPEC,) = umedpt_task_pneumonia.umedpt_tasks()


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path / "pneumonia", seed=0)
    return tmp_path / "pneumonia"


def test_fake_splits(root):
    cases = {split: open_split(SPEC, root, split, None) for split in ("train", "val", "test")}
    assert sum(map(len, cases.values())) == 24
    assert Counter(case.target for case in cases["test"]) == {0: 4, 1: 4}
    patients = [{case.patient for case in part} for part in cases.values()]
    assert sum(map(len, patients)) == len(set().union(*patients))
    for case in cases["test"]:
        assert case.target == ("/PNEUMONIA/" in case.id)
        assert (case.image[12:38, 10:26].mean() > 90) == case.target
        assert root / case.id == case.path


@pytest.mark.parametrize(
    ("stem", "patient"),
    [
        ("person1946_bacteria_4874", "person1946"),
        ("IM-0115-0001", "IM-0115"),
        ("IM-0011-0001-0002", "IM-0011"),
        ("NORMAL2-IM-0381-0001", "NORMAL2-IM-0381"),
        ("BACTERIA-1008087-0001", "BACTERIA-1008087"),
        ("scan", "scan"),
    ],
)
def test_patient(stem, patient):
    assert patient_of(stem) == patient


def test_the_archive_folder_and_kaggles_val(root, tmp_path):
    train = open_split(SPEC, root, "train", None)
    every = len(train) + len(open_split(SPEC, root, "val", None))
    for case in train[:1] + train[-1:]:
        moved = root / case.id.replace("train", "val")
        moved.parent.mkdir(parents=True)
        case.path.rename(moved)
    shutil.move(root, tmp_path / "chest_xray")
    parts = [open_split(SPEC, tmp_path, split, None) for split in ("train", "val")]
    ids = [case.id for part in parts for case in part]
    assert len(ids) == every
    assert sum(name.startswith("chest_xray/val/") for name in ids) == 2


def test_missing_and_empty_folders(root):
    shutil.rmtree(root / "test" / "NORMAL")
    with pytest.raises(DataError, match="test/NORMAL is missing"):
        open_split(SPEC, root, "test", None)
    (root / "test" / "NORMAL").mkdir()
    with pytest.raises(DataError, match=r"test/NORMAL: no \*\.jpeg here"):
        open_split(SPEC, root, "test", None)


def test_truncated_image(root):
    case = open_split(SPEC, root, "test", None)[0]
    case.path.write_bytes(case.path.read_bytes()[:200])
    with pytest.raises(DataError, match=case.path.name):
        _ = case.image


@pytest.mark.skipif("UMEDPT_TEST_DATA" not in os.environ, reason="UMEDPT_TEST_DATA is not set")
def test_real_data():
    root = Path(os.environ["UMEDPT_TEST_DATA"]) / "pneumonia"
    cases = {split: open_split(SPEC, root, split, None) for split in ("train", "val", "test")}
    assert Counter(case.target for case in cases["test"]) == {0: 234, 1: 390}
    both = Counter(case.target for case in [*cases["train"], *cases["val"]])
    assert both == {0: 269, 1: 775}
    assert cases["test"][0].image.shape == (224, 224, 3)


class TestConformance(Conformance):
    distribution = "umedpt-task-pneumonia"
