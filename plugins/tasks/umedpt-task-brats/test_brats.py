import pickle

import nibabel
import numpy as np
import pytest
import umedpt_task_brats
from umedpt_task_brats.data import FAKE_SHAPE, MISNAMED, Options, make_fake, read_labels

from umedpt_core import DataError
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

(TASK,) = umedpt_task_brats.umedpt_tasks()


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def open_all(root, **options):
    splits = ("train", "val", "test")
    return [c for split in splits for c in open_split(TASK, root, split, Options(**options))]


def test_fake_cases_have_three_sequences_and_labels_on_their_grid(root):
    cases = open_all(root)
    assert len({case.patient for case in cases}) == 12
    for case in cases:
        image, mask = case.image, case.target
        assert image.voxels.shape == (*FAKE_SHAPE[::-1], 3)  # axial first, left to right last
        assert mask.voxels.shape == image.voxels.shape[:3]
        assert np.array_equal(mask.affine, image.affine)
        assert mask.voxels.dtype == np.uint8
        assert np.unique(mask.voxels).tolist() == [0, 1, 2, 3]
        flair, t1ce, t2 = np.moveaxis(image.voxels, -1, 0)
        assert t1ce[mask.voxels == 3].min() > t1ce[mask.voxels != 3].max()
        assert flair[mask.voxels == 2].mean() > flair[mask.voxels == 3].mean()
        assert t2[mask.voxels == 1].mean() > t2[mask.voxels == 2].mean()
        assert len(pickle.dumps(case)) < 1000


def test_the_mix_chooses_the_sequences(root):
    case = open_all(root, sequences=("t2", "t1", "flair"))[0]
    assert [path.name.removesuffix(".nii.gz").split("_")[-1] for path in case.paths] == [
        "t2",
        "t1",
        "flair",
    ]


def test_the_misnamed_segmentation_is_found(root):
    (case,) = (case for case in open_all(root) if case.id == "BraTS20_Training_355")
    (path,) = case.label.args
    assert path.name == f"{MISNAMED}.nii"
    assert case.target.voxels.max() == 3


def test_copies_from_kaggle_have_one_folder_more(root):
    before = [case.id for case in open_all(root)]
    (root / "BraTS2020_TrainingData").mkdir()
    folder = root / "MICCAI_BraTS2020_TrainingData"
    folder.rename(root / "BraTS2020_TrainingData" / folder.name)
    assert [case.id for case in open_all(root)] == before


def test_label_4_becomes_3_and_anything_else_is_an_error(tmp_path):
    path = tmp_path / "seg.nii.gz"
    labels = np.zeros((17, 18, 19), np.float32)
    labels[1, 2, 3:6] = 1, 2, 4
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), path)
    found = read_labels(path).voxels
    assert [(found == index).sum() for index in range(4)] == [labels.size - 3, 1, 1, 1]
    labels[0, 0, 0] = 3
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), path)
    with pytest.raises(DataError, match=r"seg\.nii\.gz: has label 3"):
        read_labels(path)


def test_a_missing_sequence_is_an_error_of_its_case(root):
    cases = open_all(root)
    cases[0].paths[1].unlink()
    again = open_all(root)
    with pytest.raises(DataError, match=cases[0].paths[1].name):
        _ = again[0].image
    assert again[1].image.voxels.shape[3] == 3


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="MICCAI_BraTS2020_TrainingData is missing"):
        open_all(tmp_path)


class TestConformance(Conformance):
    distribution = "umedpt-task-brats"
