import pickle
import shutil

import numpy as np
import pytest
import umedpt_task_kvasir
from PIL import Image
from umedpt_task_kvasir.data import make_fake

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

(SPEC,) = umedpt_task_kvasir.umedpt_tasks()


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def open_all(root):
    return [c for split in ("train", "val", "test") for c in open_split(SPEC, root, split, None)]


def test_fake_splits(root):
    assert len(open_split(SPEC, root, "test", None)) == 5
    cases = open_all(root)
    assert len({case.patient for case in cases}) == len(cases) == 16
    for case in cases:
        assert root / case.id == case.path
        assert len(pickle.dumps(case)) < 1000
        red = case.image[..., 0].astype(int)
        assert case.target.shape == red.shape
        assert red[case.target == 1].mean() > red[case.target == 0].mean() + 50


def test_masks_of_jpeg_are_thresholded(root):
    modes = set()
    for case in open_all(root):
        with Image.open(root / case.id.replace("images", "masks")) as mask:
            modes.add(mask.mode)
            grey = np.asarray(mask.convert("L"))
        assert set(np.unique(grey)) - {0, 255}
        assert np.unique(case.target).tolist() == [0, 1]
        assert (case.target == (grey > 127)).all()
    assert modes == {"L", "RGB"}


def test_the_inner_folder_is_a_root_too(root):
    assert len(open_all(root / "Kvasir-SEG")) == 16
    (root / "Kvasir-SEG").rename(root / "kvasir-seg")
    assert len(open_all(root)) == 16


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_renamed_and_empty_folders(root, folder):
    base = root / "Kvasir-SEG"
    (base / folder).rename(base / "other")
    with pytest.raises(DataError, match=f"Kvasir-SEG/{folder} is missing"):
        open_split(SPEC, root, "train", None)
    (base / folder).mkdir()
    with pytest.raises(DataError, match=rf"{folder}: no \*\.jpg here"):
        open_split(SPEC, root, "train", None)


def test_missing_and_truncated_files(root):
    first, second = open_split(SPEC, root, "train", None)[:2]
    (root / first.id.replace("images", "masks")).unlink()
    with pytest.raises(DataError, match=rf"masks/{first.path.name}: no such file"):
        _ = first.target
    second.path.write_bytes(second.path.read_bytes()[:200])
    with pytest.raises(DataError, match=second.path.name):
        _ = second.image
    shutil.rmtree(root / "Kvasir-SEG")
    with pytest.raises(DataError, match="images is missing"):
        open_all(root)


class TestConformance(Conformance):
    distribution = "umedpt-task-kvasir"
