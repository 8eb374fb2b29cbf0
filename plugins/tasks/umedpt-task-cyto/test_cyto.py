import shutil
from collections import Counter

import pytest
import umedpt_task_cyto
from umedpt_task_cyto.data import CODES, make_fake

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

(SPEC,) = umedpt_task_cyto.umedpt_tasks()
SPLITS = ("train", "val", "test")


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def open_all(root):
    return {split: open_split(SPEC, root, split, None) for split in SPLITS}


def test_fake_splits(root):
    cases = open_all(root)
    assert len(CODES) == len(SPEC.classes) == 21
    assert Counter(case.target for case in cases["test"]) == dict.fromkeys(range(21), 2)
    every = [case for part in cases.values() for case in part]
    assert len({case.patient for case in every}) == len(every) == 126
    for case in every:
        assert root / case.id == case.path
        assert case.path.name.startswith(CODES[case.target])
        assert case.image[24, 24, 1] < 100 < case.image[0, 0, 1]


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("ABE", "abnormal eosinophil"),
        ("EBO", "erythroblast"),
        ("KSC", "smudge cell"),
        ("LYT", "lymphocyte"),
        ("MYB", "myelocyte"),
        ("NGS", "segmented neutrophil"),
        ("PLM", "plasma cell"),
        ("PMO", "promyelocyte"),
    ],
)
def test_codes(code, name):
    assert SPEC.classes[CODES.index(code)] == name


def test_rare_classes_lie_directly_in_their_folder(root):
    ids = [case.id for part in open_all(root).values() for case in part]
    assert "BM_cytomorphology_data/ABE/ABE_00001.jpg" in ids
    assert "BM_cytomorphology_data/ART/0001-1000/ART_00001.jpg" in ids


def test_the_classes_may_lie_in_the_root(root):
    part = {case.path.name for case in open_split(SPEC, root, "test", None)}
    inner = root / "BM_cytomorphology_data"
    assert {case.path.name for case in open_split(SPEC, inner, "test", None)} == part


def test_missing_and_empty_folders(root):
    base = root / "BM_cytomorphology_data"
    (base / "PLM").rename(base / "plasma")
    with pytest.raises(DataError, match="BM_cytomorphology_data/PLM is missing"):
        open_all(root)
    (base / "PLM" / "0001-1000").mkdir(parents=True)
    with pytest.raises(DataError, match=r"PLM: no \*\.jpg here"):
        open_all(root)
    shutil.rmtree(base)
    with pytest.raises(DataError, match="BM_cytomorphology_data/ABE is missing"):
        open_all(root)


class TestConformance(Conformance):
    distribution = "umedpt-task-cyto"
