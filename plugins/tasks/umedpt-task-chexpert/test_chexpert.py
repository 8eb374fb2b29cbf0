import pickle

import numpy as np
import pytest
import umedpt_task_chexpert
from umedpt_task_chexpert.data import FINDINGS, Options, make_fake

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

(SPEC,) = umedpt_task_chexpert.umedpt_tasks()
FIRST = "CheXpert-v1.0 batch 1 (validate & csv)"


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def open_part(root, split, **options):
    return open_split(SPEC, root, split, Options(**options))


def test_fake_splits(root):
    for split, images in (("train", 28), ("val", 16)):
        cases = open_part(root, split)
        assert len(cases) == images == 2 * len({case.patient for case in cases})
        targets = np.stack([case.target for case in cases])
        assert targets.dtype == np.int8
        assert (targets == 1).any(axis=0).all()
        for case in cases:
            assert root / case.id == case.path
            assert case.patient in case.id
            assert len(pickle.dumps(case)) < 1000
            grid = case.image.reshape(4, 16, 4, 12)[:, 4:12, :, 3:9].mean(axis=(1, 3)).ravel()
            assert ((grid[:14] > 120) == (case.target == 1)).all()


def test_labels_of_both_policies(root):
    def values(**options):
        targets = np.stack([case.target for case in open_part(root, "train", **options)])
        return {value: int((targets == value).sum()) for value in (-1, 0, 1)}

    default = values()
    assert default[-1] > 0
    assert values(uncertain="zeros") == {-1: 0, 0: default[0] + default[-1], 1: default[1]}
    assert values(uncertain="ones") == {-1: 0, 0: default[0], 1: default[1] + default[-1]}
    blank = values(blank="ignore")
    assert blank[1] == default[1]
    assert blank[-1] > default[-1]
    case = open_part(root, "train", blank="ignore")[0]
    assert case.target.tolist() == [1, 0, -1, 0, -1, 0, -1, -1, -1, 0, -1, 0, -1, 0]


def test_the_other_layouts(root):
    ids = [case.id for case in open_part(root, "train")]
    small = root / "CheXpert-v1.0-small"
    for part in ("train", "valid"):
        text = (root / FIRST / f"{part}.csv").read_text()
        (root / FIRST / f"{part}.csv").write_text(text.replace("v1.0/", "v1.0-small/"))
    (root / FIRST).rename(small)
    (small / "train").mkdir()
    for patient in root.glob("* (train ?)/*"):
        patient.rename(small / "train" / patient.name)
    assert len(open_part(root, "val")) == 16
    moved = [case.id for case in open_part(root, "train")]
    assert moved[0] == "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg"
    assert [name.split("/")[-3:] for name in moved] == [name.split("/")[-3:] for name in ids]
    assert open_part(small, "train")[0].id == "train/patient00001/study1/view1_frontal.jpg"


def test_a_missing_archive_leaves_its_patients_out(root):
    (root / "CheXpert-v1.0 batch 3 (train 2)").rename(root / "elsewhere")
    assert len(open_part(root, "train")) == 18


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("Pleural Other", "Pleura", "train.csv: no column 'Pleural Other'"),
        ("Path", "File", "train.csv: no column 'Path'"),
        ("-1.0", "maybe", r"train.csv, .*patient00001.*: Pneumonia is 'maybe'"),
        ("patient", "person", r"train: no patient of train\.csv here"),
    ],
)
def test_tables_that_cannot_be_used(root, before, after, message):
    table = root / FIRST / "train.csv"
    assert before in table.read_text()
    table.write_text(table.read_text().replace(before, after))
    with pytest.raises(DataError, match=message):
        open_part(root, "train")


def test_renamed_folders(root):
    (root / FIRST / "valid").rename(root / FIRST / "validation")
    with pytest.raises(DataError, match=r"valid: no patient of valid\.csv here"):
        open_part(root, "val")
    (root / FIRST).rename(root / "batch 1")
    with pytest.raises(DataError, match=r"CheXpert-v1\.0/train\.csv is missing"):
        open_part(root, "train")


def test_all_observations_are_columns():
    assert len(FINDINGS) == 14


class TestConformance(Conformance):
    distribution = "umedpt-task-chexpert"
