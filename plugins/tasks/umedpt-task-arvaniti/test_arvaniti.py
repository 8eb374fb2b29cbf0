from collections import Counter

import numpy as np
import pytest
import umedpt_task_arvaniti
from PIL import Image
from umedpt_task_arvaniti.data import make_fake, read_patterns

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

(SPEC,) = umedpt_task_arvaniti.umedpt_tasks()
SPLITS = ("train", "val", "test")


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def test_splits_are_whole_microarrays(root):
    cases = {split: open_split(SPEC, root, split, None) for split in SPLITS}
    arrays = {split: {case.patient.split("_")[0] for case in cases[split]} for split in SPLITS}
    assert arrays == {"train": {"ZT111", "ZT199", "ZT204"}, "val": {"ZT76"}, "test": {"ZT80"}}
    for part in cases.values():
        assert np.array([case.target for case in part]).any(axis=0).all()
        assert all(root / case.id == case.path for case in part)


def test_the_darker_core_has_the_higher_pattern(root):
    darkest = {
        max(np.flatnonzero(case.target)): case.image[16:48, 16:48].min()
        for case in open_split(SPEC, root, "train", None)
    }
    assert darkest[0] > darkest[2] > darkest[3]


def test_files_that_are_no_images_and_cores_without_a_mask_are_left_out(root):
    assert len(list(root.rglob("._*.jpg"))) == len(list(root.rglob("._*.png"))) == 24
    assert (root / "ZT80_38_C" / "ZT80_38_C_2_1.jpg").is_file()
    cases = open_split(SPEC, root, "test", None)
    assert Counter(case.id.split("/")[0] for case in cases) == {
        "ZT80_38_A": 2,
        "ZT80_38_B": 2,
        "ZT80_38_C": 2,
    }


@pytest.mark.parametrize(
    ("indices", "patterns"),
    [
        ((0, 4), [1, 0, 0, 0]),
        ((1, 3, 4), [0, 1, 0, 1]),
        ((2, 2), [0, 0, 1, 0]),
        ((4, 4), [-1, -1, -1, -1]),
    ],
)
def test_patterns_are_the_indices_of_a_palette(tmp_path, indices, patterns):
    image = Image.fromarray(np.array([indices], np.uint8))
    image.putpalette([9] * 15)
    image.save(tmp_path / "mask.png")
    assert read_patterns(tmp_path / "mask.png") == patterns


def test_masks_that_cannot_be_used(root):
    case = open_split(SPEC, root, "test", None)[0]
    path = root / "Gleason_masks_test_pathologist1" / f"mask1_{case.patient}.png"
    Image.fromarray(np.full((8, 8), 7, np.uint8)).save(path)
    with pytest.raises(DataError, match=rf"{path.name}: holds \[7\]"):
        _ = case.target
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    with pytest.raises(DataError, match=f"{path.name}: a mask has one channel"):
        _ = case.target


def test_renamed_folders(root):
    (root / "ZT199_1_B").rename(root / "ZT199_1_D")
    with pytest.raises(DataError, match="ZT199_1_B is missing"):
        open_split(SPEC, root, "train", None)
    (root / "Gleason_masks_train").rename(root / "masks")
    with pytest.raises(DataError, match=r"Gleason_masks_train: no mask_ZT76_39_A_1_1\.png"):
        open_split(SPEC, root, "val", None)


class TestConformance(Conformance):
    distribution = "umedpt-task-arvaniti"
