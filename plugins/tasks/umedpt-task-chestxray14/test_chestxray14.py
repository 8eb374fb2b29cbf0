import os
from pathlib import Path

import numpy as np
import pytest
import umedpt_task_chestxray14
from umedpt_task_chestxray14.data import make_fake

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

(SPEC,) = umedpt_task_chestxray14.umedpt_tasks()


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def open_all(root):
    return [c for split in ("train", "val", "test") for c in open_split(SPEC, root, split, None)]


def test_fake_splits(root):
    cases = open_all(root)
    assert len({case.id for case in cases}) == 24
    targets = np.stack([case.target for case in cases])
    assert targets.dtype == np.int8
    assert targets.any(axis=0).all()
    assert sum(not target.any() for target in targets) == 2
    for case in cases:
        grid = case.image.reshape(4, 16, 4, 16)[:, 4:12, :, 4:12].mean(axis=(1, 3)).ravel()
        assert ((grid[:14] > 120) == case.target).all()
    patients = [
        {case.patient for case in open_split(SPEC, root, split, None)}
        for split in ("train", "val", "test")
    ]
    assert sum(map(len, patients)) == len(set().union(*patients)) == 18


def test_the_other_layout_and_a_subset(root):
    for number, path in enumerate(sorted((root / "images").iterdir())[:20]):
        folder = root / f"images_{number % 12 + 1:03}" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.name)
    for path in (root / "images").iterdir():
        path.unlink()
    (root / "images").rmdir()
    (root / "Data_Entry_2017.csv").rename(root / "Data_Entry_2017_v2020.csv")
    cases = open_all(root)
    assert len(cases) == 20
    assert all(case.id.startswith("images_0") and case.image.shape == (64, 64) for case in cases)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("|Edema", "|Oedema", r"Data_Entry_2017.csv, line \d+: unknown finding 'Oedema'"),
        ("No Finding", "No Finding|Mass", "line 2: unknown finding 'No Finding'"),
        ("Patient ID", "Person", "no column 'Patient ID'"),
        (".png", ".jpg", "no image that Data_Entry_2017.csv lists"),
    ],
)
def test_tables_that_cannot_be_used(root, before, after, message):
    table = root / "Data_Entry_2017.csv"
    assert before in table.read_text()
    table.write_text(table.read_text().replace(before, after))
    with pytest.raises(DataError, match=message):
        open_all(root)


def test_missing_table(root):
    (root / "Data_Entry_2017.csv").unlink()
    with pytest.raises(DataError, match=r"Data_Entry_2017\.csv is missing"):
        open_all(root)


def test_truncated_image(root):
    case = open_all(root)[0]
    case.path.write_bytes(case.path.read_bytes()[:200])
    with pytest.raises(DataError, match=case.path.name):
        _ = case.image


@pytest.mark.skipif("UMEDPT_TEST_DATA" not in os.environ, reason="UMEDPT_TEST_DATA is not set")
def test_real_data():
    cases = open_all(Path(os.environ["UMEDPT_TEST_DATA"]) / "chestxray14")
    assert len(cases) == len({case.patient for case in cases}) == 311
    assert np.stack([case.target for case in cases]).any(axis=0).all()
    case = next(case for case in cases if case.id == "images/00000282_000.png")
    assert np.flatnonzero(case.target).tolist() == [2, 3, 5, 8]
    assert case.image.shape == (224, 224)


class TestConformance(Conformance):
    distribution = "umedpt-task-chestxray14"
