from collections import Counter

import pytest
import umedpt_task_radimagenet
from umedpt_task_radimagenet import LABELS
from umedpt_task_radimagenet.data import CLASSES, class_of, make_fake

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

(SPEC,) = umedpt_task_radimagenet.umedpt_tasks()
SPLITS = ("train", "val", "test")


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def change(root, before, after):
    table = root / "RadiologyAI_test.csv"
    table.write_text(table.read_text().replace(before, after))


def test_classes():
    assert len(set(CLASSES)) == 165
    by_modality = Counter(name.split("/")[0] for name in CLASSES)
    assert by_modality == {"CT": 34, "MR": 116, "US": 15}
    assert len(LABELS) == 10


def test_fake_splits(root):
    cases = {split: open_split(SPEC, root, split, None) for split in SPLITS}
    assert [len(part) for part in cases.values()] == [24, 8, 8]
    every = [case for part in cases.values() for case in part]
    assert len({case.id for case in every}) == 40
    for case in every[1:]:
        assert root / case.id == case.path
        bright = ("CT/abd/normal", "CT/lung/airspace_opacity", "MR/hip/abductor_pathology", "US/gb")
        assert CLASSES[case.target] == bright[round(case.image.mean() / 50) - 1]


def test_an_empty_image_is_read(root):
    case = open_split(SPEC, root, "train", None)[0]
    assert case.image.shape == (56, 56, 3)
    assert not case.image.any()


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("radiology_ai/MR/mriabd/normal", "mr/mriabd/normal"),
        ("radiology_ai/CT/lung/Airspace_opacity", "ct/lung/airspace_opacity"),
        ("radiology_ai/MR/spine/cord_pathology_", "mr/spine/cord_pathology"),
        ("radiology_ai/MR/shoulder/ca++_tendinosis", "mr/shoulder/ca_tendinosis"),
        ("radiology_ai/US/thyroid_nodule", "us/thyroid_nodule"),
    ],
)
def test_class_of_a_folder(folder, name):
    assert class_of(folder) == name
    assert name in map(str.lower, CLASSES)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("filename", "file", r"RadiologyAI_test\.csv: no column 'filename'"),
        ("US/gb", "US/bile", r"RadiologyAI_test\.csv: images in 'radiology_ai/US/bile'"),
    ],
)
def test_tables_that_cannot_be_used(root, before, after, message):
    change(root, before, after)
    with pytest.raises(DataError, match=message):
        open_split(SPEC, root, "test", None)


def test_missing_files(root):
    case = open_split(SPEC, root, "test", None)[0]
    case.path.unlink()
    with pytest.raises(DataError, match=case.path.name):
        _ = case.image
    (root / "RadiologyAI_val.csv").unlink()
    with pytest.raises(DataError, match=r"RadiologyAI_val\.csv is missing"):
        open_split(SPEC, root, "val", None)


class TestConformance(Conformance):
    distribution = "umedpt-task-radimagenet"
