from collections import Counter

import pytest
import umedpt_task_breakhis
from umedpt_task_breakhis.data import BREAST, make_fake, read_name

from umedpt_core import ConfigError, DataError
from umedpt_core.data.tasks import make_options, open_split
from umedpt_core.testing import Conformance

(SPEC,) = umedpt_task_breakhis.umedpt_tasks()
SPLITS = ("train", "val", "test")


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def open_all(root, **options):
    chosen = make_options(SPEC, options)
    return {split: list(open_split(SPEC, root, split, chosen)) for split in SPLITS}


def test_fake_splits(root):
    cases = open_all(root)
    every = [case for part in cases.values() for case in part]
    assert len(every) == 18
    for case in every:
        assert root / case.id == case.path
        assert "/200X/" in case.id
        assert case.target == ("/malignant/" in case.id)
        assert (case.image.mean() < 130) == case.target
    assert {case.target for case in cases["test"]} == {0, 1}


def test_slides_of_a_patient_stay_together(root):
    cases = open_all(root, magnifications=[40, 100, 200, 400])
    patients = [{case.patient for case in part} for part in cases.values()]
    assert sum(map(len, patients)) == len(set().union(*patients)) == 6
    counts = Counter(case.patient for part in cases.values() for case in part)
    assert counts == {
        "14-22549": 16,
        "14-21998": 16,
        "14-13412": 16,
        "14-3411": 8,
        "14-19979": 8,
        "14-12465": 8,
    }
    copies = [case for part in cases.values() for case in part if case.patient == "14-13412"]
    assert len({case.path.read_bytes() for case in copies}) == 8


def test_the_magnification_moves_no_patient_out_of_test(root):
    patients = [
        {case.patient for case in open_all(root, magnifications=chosen)["test"]}
        for chosen in ([40], [100, 400], [40, 100, 200, 400])
    ]
    assert patients[0] == patients[1] == patients[2]


def test_magnifications_that_do_not_exist(root):
    for chosen in ([50], [], 200):
        with pytest.raises(ConfigError, match=r"breakhis: options\.magnifications"):
            make_options(SPEC, {"magnifications": chosen})


@pytest.mark.parametrize(
    ("name", "patient", "magnification"),
    [
        ("SOB_B_TA-14-4659-40-001", "14-4659", "40"),
        ("SOB_M_PC-15-190EF-400-012", "15-190", "400"),
        ("SOB_B_F-14-14134E-100-003", "14-14134", "100"),
    ],
)
def test_names(tmp_path, name, patient, magnification):
    read = read_name(tmp_path / f"{name}.png")
    assert read == {"patient": patient, "magnification": magnification}


def test_other_names_and_folders(root):
    path = next((root / BREAST).rglob("*.png"))
    path.rename(path.with_name("copy.png"))
    with pytest.raises(DataError, match=r"copy\.png: no name like SOB_B_TA-14-4659-40-001"):
        open_all(root)
    (root / BREAST / "malignant").rename(root / BREAST / "cancer")
    with pytest.raises(DataError, match="breast/malignant is missing"):
        open_all(root)


class TestConformance(Conformance):
    distribution = "umedpt-task-breakhis"
