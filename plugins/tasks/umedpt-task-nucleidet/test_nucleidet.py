import gzip
import pickle

import cv2
import numpy as np
import pytest
import umedpt_task_nucleidet
from umedpt_task_nucleidet import CASES_FILE
from umedpt_task_nucleidet.data import make_fake, read_boxes, read_patients

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

(SPEC,) = umedpt_task_nucleidet.umedpt_tasks()
SPLITS = ("train", "val", "test")


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def test_fake_splits(root):
    parts = {split: open_split(SPEC, root, split, None) for split in SPLITS}
    assert sum(map(len, parts.values())) == 16
    assert min(map(len, parts.values())) > 0
    patients = [{case.patient for case in part} for part in parts.values()]
    assert sum(map(len, patients)) == len(set().union(*patients))
    for case in [case for part in parts.values() for case in part]:
        assert root / case.id == case.path
        assert case.patient.startswith("TCGA-D")
        assert len(pickle.dumps(case)) < 1000
        image, target = case.image.astype(int), case.target
        assert image.shape == (60, 60, 3)
        assert 3 <= len(target["boxes"]) <= 6
        for x0, y0, x1, y1 in target["boxes"].astype(int):
            red = image[..., 0]
            assert red[(y0 + y1) // 2, (x0 + x1) // 2] < 150 < red[y0, x0]


def test_patches_without_mask_are_left_out_and_only_those(root):
    ids = {case.path.name for split in SPLITS for case in open_split(SPEC, root, split, None)}
    base = root / "manual_segmentation_data"
    assert (base / "49_crop.png").is_file()
    assert not ids & {"49_crop.png", "59_crop.png"}
    case = open_split(SPEC, root, "train", None)[0]
    mask = case.path.name.replace("crop", "labeled_mask_corrected")
    (base / mask).unlink()
    with pytest.raises(DataError, match=f"{mask}: no such file"):
        _ = case.target


def test_boxes_of_numbered_nuclei(tmp_path):
    mask = np.zeros((8, 9), np.uint16)
    mask[2:4, 3:7], mask[0, 8] = 300, 1
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    target = read_boxes(tmp_path / "m.png")
    assert target["boxes"].tolist() == [[8, 0, 9, 1], [3, 2, 7, 4]]
    assert target["labels"].tolist() == [0, 0]


def test_patients(root):
    path = root / CASES_FILE
    patients = read_patients(path)
    assert len(patients) == 18
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert read_patients(path) == patients
    path.write_text(
        "Some words about 7 of TCGA-AA-0000\nPatch-ID,CancerType,TCGA\n"
        '1,blca,tcga-xf-a9sl-01Z\n2,blca,\n"3.0",brca,TCGA-A1-A0SB\n'
    )
    assert read_patients(path) == {1: "TCGA-XF-A9SL", 3: "TCGA-A1-A0SB"}


def test_a_renamed_column_or_file(root):
    path = root / CASES_FILE
    text = path.read_text()
    path.write_text(text.replace("Patch-ID", "Patch"))
    with pytest.raises(DataError, match=rf"{CASES_FILE}: no column 'Patch-ID'"):
        open_split(SPEC, root, "train", None)
    path.write_text(text.replace("TCGA-D", "D"))
    with pytest.raises(DataError, match=rf"{CASES_FILE}: no row names a TCGA case"):
        open_split(SPEC, root, "train", None)
    path.unlink()
    with pytest.raises(DataError, match=rf"{CASES_FILE} is missing"):
        open_split(SPEC, root, "train", None)


def test_the_folder_may_be_left_out_but_not_its_files(root):
    base = root / "manual_segmentation_data"
    for path in base.iterdir():
        path.rename(root / path.name)
    with pytest.raises(DataError, match=r"manual_segmentation_data: no <number>_crop\.png"):
        open_split(SPEC, root, "train", None)
    base.rmdir()
    assert sum(len(open_split(SPEC, root, split, None)) for split in SPLITS) == 16


class TestConformance(Conformance):
    distribution = "umedpt-task-nucleidet"
