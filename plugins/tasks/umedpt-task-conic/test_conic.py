import pickle

import numpy as np
import pytest
import umedpt_task_conic
from umedpt_task_conic.data import make_fake, read_boxes, read_row

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

(SPEC,) = umedpt_task_conic.umedpt_tasks()
SPLITS = ("train", "val", "test")


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def test_fake_splits(root):
    parts = {split: open_split(SPEC, root, split, None) for split in SPLITS}
    assert sum(map(len, parts.values())) == 16
    assert len(parts["test"]) in (4, 6)
    patients = [{case.patient for case in part} for part in parts.values()]
    assert sum(map(len, patients)) == len(set().union(*patients)) == 8
    for case in [case for part in parts.values() for case in part]:
        assert case.id.startswith(f"{case.patient}-000")
        assert len(pickle.dumps(case)) < 1000
        assert case.image.shape == (64, 64, 3)
        assert case.image.dtype == np.uint8
        assert not isinstance(case.image, np.memmap)
        target = case.target
        for (x0, y0, x1, y1), label in zip(
            target["boxes"].astype(int), target["labels"], strict=True
        ):
            assert case.image[(y0 + y1) // 2, (x0 + x1) // 2, 0] == 60 + 20 * label


def test_every_class_in_every_split(root):
    for split in SPLITS:
        found = [case.target["labels"] for case in open_split(SPEC, root, split, None)]
        assert set(np.concatenate(found)) == set(range(6))


def test_a_patch_without_nuclei_has_no_box(root):
    target = read_boxes(root / "labels.npy", 15)
    assert target["boxes"].shape == (0, 4)
    assert target["labels"].shape == (0,)


def test_boxes_and_classes_of_instances(tmp_path):
    labels = np.zeros((1, 8, 9, 2), np.uint16)
    labels[0, 2:4, 3:7] = (300, 6)
    labels[0, 0, 8] = (7, 1)  # one pixel in the corner
    np.save(tmp_path / "labels.npy", labels)
    target = read_boxes(tmp_path / "labels.npy", 0)
    assert target["boxes"].tolist() == [[8, 0, 9, 1], [3, 2, 7, 4]]
    assert target["labels"].tolist() == [0, 5]


def test_a_renamed_column_and_files_of_other_lengths(root):
    info = root / "patch_info.csv"
    text = info.read_text()
    info.write_text(text.replace("patch_info", "patch"))
    with pytest.raises(DataError, match=r"patch_info\.csv: no column 'patch_info'"):
        open_split(SPEC, root, "train", None)
    info.write_text(text + "crag_99-0000\n")
    with pytest.raises(DataError, match=r"images\.npy: its shape is \(16, .* N = 17"):
        open_split(SPEC, root, "train", None)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "patch_info.csv"])
def test_missing_and_truncated_files(root, name):
    path = root / name
    path.rename(root / "other")
    with pytest.raises(DataError, match=f"{name} is missing"):
        open_split(SPEC, root, "train", None)
    if path.suffix == ".npy":
        for size in (0, 50, 5000):
            path.write_bytes((root / "other").read_bytes()[:size])
            with pytest.raises(DataError, match=f"{name}: cannot be read as an array"):
                open_split(SPEC, root, "train", None)


def test_objects_are_not_unpickled(root):
    np.save(root / "images.npy", np.array([{}] * 16, object), allow_pickle=True)
    with pytest.raises(DataError, match=r"images\.npy: cannot be read as an array"):
        open_split(SPEC, root, "train", None)
    assert read_row(root / "labels.npy", 0).shape == (64, 64, 2)


class TestConformance(Conformance):
    distribution = "umedpt-task-conic"
