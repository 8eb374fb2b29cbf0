import pickle
import shutil

import numpy as np
import pydicom
import pytest
import umedpt_task_siim
from umedpt_task_siim.data import make_fake, read_mask

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

(SPEC,) = umedpt_task_siim.umedpt_tasks()


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def open_all(root):
    return [c for split in ("train", "val", "test") for c in open_split(SPEC, root, split, None)]


def test_fake_splits(root):
    parts = [open_split(SPEC, root, split, None) for split in ("train", "val", "test")]
    assert len(parts[2]) == 6
    for part in parts:
        assert any(case.target.any() for case in part)
    for case in open_all(root):
        image, mask = case.image, case.target
        assert image.dtype == mask.dtype == np.uint8
        assert image.shape == mask.shape == (64, 64)
        assert ((image < 100) == mask).mean() > 0.98
        assert len(pickle.dumps(case)) < 2000
        assert case.id.endswith(f"{case.patient}.dcm")


def test_an_image_without_a_row_and_a_row_without_an_image_are_left_out(root):
    assert len(list(root.rglob("*.dcm"))) == 18
    assert len(open_all(root)) == 17
    next(path for path in root.rglob("*.dcm") if path.stem.endswith(".300")).unlink()
    assert len(open_all(root)) == 16


def test_several_rows_are_one_mask(root):
    lines = (root / "train-rle.csv").read_text().splitlines()
    assert lines[0] == "ImageId, EncodedPixels"
    rows = [line.split(",") for line in lines[1:]]
    assert len(rows) == 6 * 2 + 6 + 5
    case = next(case for case in open_all(root) if case.patient == rows[0][0] == rows[1][0])
    assert case.target[:, :32].any()
    assert case.target[:, 32:].any()
    assert any(row[1] == " -1" for row in rows)


def test_a_code_counts_down_columns_from_0_after_the_run_before(root):
    path = next(root.rglob("*.dcm"))
    mask = read_mask(path, ("1 2 61 3", "4095 1"))
    assert list(zip(*np.nonzero(mask), strict=True)) == [
        *((0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (63, 63))
    ]
    with pytest.raises(DataError, match=path.name):
        read_mask(path, ("4095 2",))


def test_the_other_layouts(root):
    ids = {case.patient for case in open_all(root)}
    later = (root / "train-rle.csv").read_text().replace(", ", ",")
    (root / "stage_2_train.csv").write_text("\n".join(later.splitlines()[:-2]))
    assert len(open_all(root)) < len(ids)
    (root / "stage_2_train.csv").unlink()
    (root / "pneumothorax").mkdir()
    for name in ("train-rle.csv", "dicom-images-train"):
        shutil.move(root / name, root / "pneumothorax" / name)
    assert {case.patient for case in open_all(root)} == ids


def test_what_cannot_be_used(root):
    table = root / "train-rle.csv"
    text = table.read_text()
    table.write_text(text.replace(" EncodedPixels", " Pixels"))
    with pytest.raises(DataError, match=r"train-rle\.csv: no column 'EncodedPixels'"):
        open_all(root)
    table.write_text(text.replace("1.2.276", "ID_"))
    with pytest.raises(DataError, match=r"no \*\.dcm that train-rle\.csv names"):
        open_all(root)
    table.rename(root / "labels.csv")
    with pytest.raises(DataError, match=r"stage_2_train\.csv is missing"):
        open_all(root)


def test_truncated_image(root):
    case = open_all(root)[0]
    path = root / case.id
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=path.name):
        _ = case.image


def test_the_fake_is_compressed_as_the_publishers(root):
    header = pydicom.dcmread(next(root.rglob("*.dcm")), stop_before_pixels=True)
    assert header.file_meta.TransferSyntaxUID.name.startswith("JPEG Baseline")


class TestConformance(Conformance):
    distribution = "umedpt-task-siim"
