import shutil
from collections import Counter

import numpy as np
import pytest
import umedpt_task_imagenet
from umedpt_task_imagenet import SYNSETS
from umedpt_task_imagenet.data import FAKE_CLASSES, INDEX, SOLUTION, make_fake

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

(SPEC,) = umedpt_task_imagenet.umedpt_tasks()


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def colour(image):
    """0 to 2: the brightest of red, green and blue; 3: none."""
    middle = image[16:32, 16:32].astype(int).mean(axis=(0, 1))
    return 3 if np.ptp(middle) < 40 else int(middle.argmax())


def test_classes():
    assert len(SPEC.classes) == len(set(SPEC.classes)) == 1000
    assert list(SYNSETS) == sorted(SYNSETS)
    assert SPEC.classes[:2] == ("tench", "goldfish")
    assert SPEC.classes[-1] == "toilet tissue"


def test_fake_splits(root):
    cases = {split: open_split(SPEC, root, split, None) for split in ("train", "val", "test")}
    assert len(cases["train"]) + len(cases["val"]) == 32
    assert Counter(case.target for case in cases["test"]) == dict.fromkeys((0, 1, 134, 517), 2)
    seen = {}
    for case in [case for part in cases.values() for case in part]:
        assert root / case.id == case.path
        assert seen.setdefault(case.target, colour(case.image)) == colour(case.image)
    assert set(seen.values()) == {0, 1, 2, 3}


def test_files_that_are_no_rgb_jpeg(root):
    folder = root / "ILSVRC" / "Data" / "CLS-LOC" / "train"
    assert (folder / "n01440764" / "n01440764_0.JPEG").read_bytes().startswith(b"\x89PNG")
    cases = [case for split in ("train", "val") for case in open_split(SPEC, root, split, None)]
    shapes = {case.path.name: (case.image.shape, case.image.dtype) for case in cases}
    assert set(shapes.values()) == {((48, 56, 3), np.dtype(np.uint8))}


def test_val_in_folders_and_no_folders_above(root):
    base = root / "ILSVRC" / "Data" / "CLS-LOC"
    flat = {case.path.name: case.target for case in open_split(SPEC, root, "test", None)}
    for case in open_split(SPEC, root, "test", None):
        folder = base / "val" / list(SYNSETS)[case.target]
        folder.mkdir(exist_ok=True)
        case.path.rename(folder / case.path.name)
    (root / SOLUTION).unlink()
    cases = open_split(SPEC, base, "test", None)
    assert {case.path.name: case.target for case in cases} == flat
    assert cases[0].id == "val/n01440764/ILSVRC2012_val_00000001.JPEG"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("PredictionString", "Solution", r"LOC_val_solution\.csv: no column 'PredictionString'"),
        ("val_00000003", "val_00000009", "has no row for ILSVRC2012_val_00000003.JPEG"),
        ("n01440764", "n00000000", "has the unknown class 'n00000000'"),
    ],
)
def test_tables_that_cannot_be_used(root, before, after, message):
    (root / SOLUTION).write_text((root / SOLUTION).read_text().replace(before, after))
    with pytest.raises(DataError, match=message):
        open_split(SPEC, root, "test", None)


def test_missing_and_renamed(root):
    base = root / "ILSVRC" / "Data" / "CLS-LOC"
    (root / SOLUTION).unlink()
    with pytest.raises(DataError, match=r"val: no folders .* no LOC_val_solution\.csv"):
        open_split(SPEC, root, "test", None)
    (base / "train" / FAKE_CLASSES[0]).rename(base / "train" / "tench")
    with pytest.raises(DataError, match="train/tench: no WordNet id"):
        open_split(SPEC, root, "train", None)
    shutil.move(base / "train", base / "training")
    with pytest.raises(DataError, match="train is missing"):
        open_split(SPEC, root, "train", None)
    assert INDEX["n15075141"] == 999


class TestConformance(Conformance):
    distribution = "umedpt-task-imagenet"
