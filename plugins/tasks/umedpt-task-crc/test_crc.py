from collections import Counter

import numpy as np
import pytest
import umedpt_task_crc
from umedpt_task_crc.data import TISSUES, make_fake

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

(SPEC,) = umedpt_task_crc.umedpt_tasks()


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def test_the_two_archives_are_the_splits(root):
    cases = {split: open_split(SPEC, root, split, None) for split in ("train", "val", "test")}
    assert len(cases["train"]) + len(cases["val"]) == 36
    assert Counter(case.target for case in cases["test"]) == dict.fromkeys(range(9), 2)
    for case in [*cases["train"], *cases["test"]]:
        archive, tissue, name = case.id.split("/")
        assert TISSUES[case.target] == tissue == name.partition("-")[0]
        assert (archive == "CRC-VAL-HE-7K") == (case in cases["test"])
        assert root / case.id == case.path
        assert case.image.shape == (48, 48, 3)


def test_folders_are_the_classes_they_abbreviate():
    names = dict(zip(TISSUES, SPEC.classes, strict=True))
    assert names.pop("STR") == "cancer-associated stroma"
    assert names.pop("TUM") == "colorectal adenocarcinoma epithelium"
    assert names.pop("MUS") == "smooth muscle"
    assert all(name.startswith(folder.lower()) for folder, name in names.items())


def test_channels_are_red_green_blue(root):
    adipose = open_split(SPEC, root, "test", None)[0].image
    assert adipose[..., 0].mean() > 150 > adipose[..., 2].mean()


def test_a_patch_without_dynamic_range_is_kept(root):
    cases = [case for split in ("train", "val") for case in open_split(SPEC, root, split, None)]
    broken = [case for case in cases if set(np.unique(case.image)) <= {0, 255}]
    assert [case.target for case in broken] == [2]


def test_other_files_are_left_out(root):
    folder = root / "CRC-VAL-HE-7K" / "ADI"
    (folder / "._ADI-TCGA-AAAAAAAA.tif").write_bytes(b"resource fork")
    (folder / "readme.txt").write_text("no image")
    assert len(open_split(SPEC, root, "test", None)) == 18


def test_renamed_and_empty_folders(root):
    (root / "NCT-CRC-HE-100K" / "STR").rename(root / "NCT-CRC-HE-100K" / "STROMA")
    with pytest.raises(DataError, match="NCT-CRC-HE-100K/STR is missing"):
        open_split(SPEC, root, "train", None)
    (root / "NCT-CRC-HE-100K" / "STR").mkdir()
    with pytest.raises(DataError, match=r"NCT-CRC-HE-100K/STR: no \*\.tif here"):
        open_split(SPEC, root, "train", None)
    (root / "CRC-VAL-HE-7K").rename(root / "test")
    with pytest.raises(DataError, match="CRC-VAL-HE-7K/ADI is missing"):
        open_split(SPEC, root, "test", None)


class TestConformance(Conformance):
    distribution = "umedpt-task-crc"
