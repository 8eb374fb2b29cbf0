import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import umedpt_task_msd
from umedpt_task_msd.data import Options, read_labels
from umedpt_task_msd.fake import FAKE_SHAPE, make_fake

from umedpt_core import DataError
from umedpt_core.data.tasks import make_options, open_split
from umedpt_core.testing import Conformance

TASKS = {task.name: task for task in umedpt_task_msd.umedpt_tasks()}
HIPPOCAMPUS = TASKS["msd-hippocampus"]


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def open_all(spec, root, **options):
    chosen = make_options(spec, options)
    return [c for split in ("train", "val", "test") for c in open_split(spec, root, split, chosen)]


def change(root, **entries):
    path = root / "Task04_Hippocampus" / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_fake_cases_brighten_with_their_class(root):
    for name, spec in TASKS.items():
        cases = open_all(spec, root)
        assert len({case.patient for case in cases}) == 10
        image, mask = cases[0].image, cases[0].target
        channels = {"msd-brain-tumour": (3,), "msd-prostate": (2,)}.get(name, ())
        assert image.voxels.shape == (*FAKE_SHAPE[::-1], *channels)
        assert np.array_equal(mask.affine, image.affine)
        assert mask.voxels.dtype == np.uint8
        means = [image.voxels[mask.voxels == c].mean() for c in range(len(spec.classes))]
        assert means == sorted(means)
        assert len(pickle.dumps(cases[0])) < 1000


def test_the_mix_chooses_three_of_four_sequences(root):
    spec = TASKS["msd-brain-tumour"]
    first, other = (
        open_all(spec, root, **options)[0].image.voxels
        for options in ({}, {"sequences": ["T2w", "T1w", "FLAIR"]})
    )
    assert np.array_equal(first[..., 0], other[..., 2])
    assert np.array_equal(first[..., 2], other[..., 0])
    assert not np.array_equal(first[..., 1], other[..., 1])


def test_a_file_without_the_chosen_sequences_is_an_error_of_its_case(root):
    case = open_all(TASKS["msd-brain-tumour"], root)[0]
    label = Path(str(case.paths[0]).replace("imagesTr", "labelsTr"))
    case.paths[0].write_bytes(label.read_bytes())
    with pytest.raises(DataError, match=r"BRATS_\d+\.nii\.gz: .* lacks sequences"):
        _ = case.image


def test_another_dataset_json_is_an_error(root):
    change(root, labels={"0": "background", "1": "posterior", "2": "Anterior"})
    with pytest.raises(DataError, match=r"dataset\.json: labels is .*posterior"):
        open_all(HIPPOCAMPUS, root)
    change(root, labels={"background": 0, "Anterior": 1, "Posterior": 2})  # as nnU-Net has them
    with pytest.raises(DataError, match=r"dataset\.json: labels is .*'Anterior': 1"):
        open_all(HIPPOCAMPUS, root)
    change(
        root, labels={"0": "Background", "1": "anterior", "2": "posterior"}, modality={"0": "CT"}
    )
    with pytest.raises(DataError, match=r"dataset\.json: modality is .*CT"):
        open_all(HIPPOCAMPUS, root)


def test_files_that_are_missing_are_counted(root):
    folder = root / "Task04_Hippocampus"
    (folder / "imagesTr" / "hippocampus_003.nii.gz").unlink()
    (folder / "labelsTr" / "hippocampus_007.nii.gz").unlink()
    with pytest.raises(DataError, match=r"2 of the files .*imagesTr/hippocampus_003\.nii\.gz"):
        open_all(HIPPOCAMPUS, root)


def test_a_missing_task_says_which_archive(root):
    (root / "Task04_Hippocampus" / "dataset.json").unlink()
    with pytest.raises(DataError, match=r"amazonaws\.com/Task04_Hippocampus\.tar"):
        open_all(HIPPOCAMPUS, root)


def test_labels_of_no_class_are_an_error(root):
    path = root / "Task04_Hippocampus" / "labelsTr" / "hippocampus_001.nii.gz"
    assert read_labels(path, 3).voxels.max() == 2
    with pytest.raises(DataError, match=r"hippocampus_001\.nii\.gz: has label 2"):
        read_labels(path, 2)


def test_unknown_sequences_are_refused():
    with pytest.raises(ValueError, match="sequences"):
        Options(sequences=("FLAIR", "T1w", "PD"))


@pytest.mark.skipif("UMEDPT_TEST_DATA" not in os.environ, reason="UMEDPT_TEST_DATA is not set")
def test_real_data():
    cases = open_all(HIPPOCAMPUS, Path(os.environ["UMEDPT_TEST_DATA"]) / "msd")
    assert len({case.patient for case in cases}) == 65
    for case in cases:
        image, mask = case.image, case.target
        assert image.voxels.shape == mask.voxels.shape
        assert all(28 <= edge <= 57 for edge in image.voxels.shape)
        assert image.spacing == pytest.approx((1, 1, 1))
        assert np.unique(mask.voxels).tolist() == [0, 1, 2]


class TestConformance(Conformance):
    distribution = "umedpt-task-msd"
