import json
import pickle
import shutil

import nibabel
import numpy as np
import pytest
import umedpt_task_amos
from umedpt_task_amos import CLASSES
from umedpt_task_amos.data import modality_of, read_labels
from umedpt_task_amos.fake import FAKE_SHAPE, make_fake

from umedpt_core import DataError, load_catalogue
from umedpt_core.data.instances import kind_of
from umedpt_core.data.tasks import make_options, open_split, open_task
from umedpt_core.errors import ConfigError
from umedpt_core.testing import Conformance

(TASK,) = umedpt_task_amos.umedpt_tasks()
BOTH = {"modalities": ["CT", "MRI"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("amos")
    make_fake(root, seed=0)
    return root


@pytest.fixture
def root(made, tmp_path):
    return shutil.copytree(made, tmp_path / "amos")


def open_one(root, split, **options):
    return open_split(TASK, root, split, make_options(TASK, options))


def change(root, **entries):
    path = root / "amos22" / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def listing(root):
    return json.loads((root / "amos22" / "dataset.json").read_text())


def test_the_publishers_sets_become_train_and_test(made):
    ids = {split: {c.id for c in open_one(made, split, **BOTH)} for split in ("train", "test")}
    ids["val"] = {c.id for c in open_one(made, "val", **BOTH)}
    assert len(ids["train"] | ids["val"]) == 14
    assert {"amos_0008", "amos_0544"} < ids["test"]
    assert len(ids["test"]) == 7
    assert not any(name in found for found in ids.values() for name in ("amos_0002", "amos_0501"))


def test_fake_cases_have_masks_on_their_grid_and_brighten_with_their_class(made):
    for case in open_one(made, "test", **BOTH):
        image, mask = case.image, case.target
        assert image.voxels.shape == mask.voxels.shape == FAKE_SHAPE
        assert np.array_equal(mask.affine, image.affine)
        assert mask.voxels.dtype == np.uint8
        assert np.unique(mask.voxels).tolist() == list(range(16))
        means = [image.voxels[mask.voxels == c].mean() for c in range(1, 16)]
        assert means == sorted(means)
        liver = np.argwhere(mask.voxels == CLASSES.index("liver")).mean(axis=0)
        spleen = np.argwhere(mask.voxels == CLASSES.index("spleen")).mean(axis=0)
        assert liver[2] < spleen[2]  # the last axis runs from the patient's right to left
        assert len(pickle.dumps(case)) < 1000


def test_ct_is_the_default_and_a_mix_chooses(made):
    def numbers(**options):
        return [int(case.id[-4:]) for case in open_one(made, "test", **options)]

    assert max(numbers()) == 40
    assert numbers(modalities=["MRI"]) == [544, 545]
    assert numbers(**BOTH) == [8, 13, 18, 22, 40, 544, 545]
    for wrong in ([], ["PET"]):
        with pytest.raises(ConfigError, match=r"options\.modalities"):
            make_options(TASK, {"modalities": wrong})


def test_the_number_tells_the_modality(made):
    def of(name):
        return modality_of(made / "imagesTr" / name)

    assert of("amos_0001.nii.gz") == of("amos_0500.nii.gz") == "CT"  # the readme says: below 500
    assert of("amos_0501.nii.gz") == of("amos_0600.nii.gz") == "MRI"
    for unknown in ("amos_0000.nii.gz", "amos_0601.nii.gz", "amos_5437.nii.gz", "amos_1.nii.gz"):
        with pytest.raises(DataError, match=f"{unknown}: .* CT or MRI"):
            of(unknown)


def test_training_sees_ct_from_minimum_to_maximum_and_mri_between_quantiles(made):
    task = open_task(load_catalogue(), "amos", ("train",), root=made, options=BOTH)
    rules = []
    for case in task.cases["train"]:
        stored = case.image.voxels
        is_ct = int(case.id[-4:]) <= 500
        low, high = (stored.min(), stored.max()) if is_ct else np.quantile(stored, (0.025, 0.975))
        expected = np.clip((stored - float(low)) / (high - float(low)), 0, 1)
        seen = kind_of(task).load(task, case, seed=1)["image"][..., 0] / 65535
        assert np.abs(seen - expected).max() < 1e-4
        assert (stored.min() < -1000) == is_ct
        assert (seen == 1).sum() < 10 if is_ct else (seen == 1).mean() > 0.02
        rules.append(task.rule(case))
    assert set(rules) == {"ct", "mri"}


def test_dataset_json_says_which_label_is_which_organ(root):
    labels = listing(root)["labels"]
    assert labels["8"] == "arota"
    before = open_one(root, "test")[0].target.voxels
    change(root, labels=labels | {"1": labels["6"], "6": labels["1"], "8": "Aorta"})
    after = open_one(root, "test")[0].target.voxels
    assert np.array_equal(before == 1, after == 6)
    assert np.array_equal(before == 6, after == 1)
    assert np.array_equal(before == 8, after == 8)


def test_other_labels_are_an_error(root):
    labels = listing(root)["labels"]
    for wrong, what in (
        (labels | {"10": "colon"}, "16 entries, none of 0 to 15 is pancreas"),
        (labels | {"16": "colon"}, "17 entries; the publisher's"),
        ({name: value for value, name in labels.items()}, "16 entries, .* is background"),
    ):
        change(root, labels=wrong)
        with pytest.raises(DataError, match=rf"dataset\.json: labels has {what}"):
            open_one(root, "train")


@pytest.mark.parametrize("key", ["labels", "training"])
def test_a_missing_key_is_named(root, key):
    listed = listing(root)
    del listed[key]
    (root / "amos22" / "dataset.json").write_text(json.dumps(listed))
    with pytest.raises(DataError, match=rf"dataset\.json: has no '{key}'"):
        open_one(root, "train")


def test_a_missing_key_of_an_entry_is_named(root):
    change(root, validation=[{"image": "./imagesVa/amos_0008.nii.gz"}])
    with pytest.raises(DataError, match=r"dataset\.json: has no 'label'"):
        open_one(root, "test")


def test_a_renamed_folder_is_named(root):
    (root / "amos22" / "labelsVa").rename(root / "amos22" / "labelsVal")
    assert open_one(root, "train")
    with pytest.raises(DataError, match=r"5 of the files .*labelsVa/amos_0008\.nii\.gz"):
        open_one(root, "test")
    (root / "amos22").rename(root / "AMOS22")
    with pytest.raises(DataError, match=r"amos22/dataset\.json is missing; unpack amos22\.zip"):
        open_one(root, "train")


def test_the_other_modalitys_files_may_be_absent(root):
    for path in (root / "amos22" / "imagesTr").glob("amos_05*"):
        path.unlink()
    assert len(open_one(root, "train")) + len(open_one(root, "val")) == 10
    with pytest.raises(DataError, match=r"4 of the files .*imagesTr/amos_0507\.nii\.gz"):
        open_one(root, "train", **BOTH)


def test_labels_of_no_organ_are_an_error(tmp_path):
    path = tmp_path / "amos_0001.nii.gz"
    labels = np.zeros((17, 18, 19), np.float64)
    labels[1, 2, 3:6] = 1, 14, 15
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), path)
    order = tuple(range(16))
    assert np.unique(read_labels(path, order).voxels).tolist() == [0, 1, 14, 15]
    for value in (16, 0.5, -1):
        labels[0, 0, 0] = value
        nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), path)
        with pytest.raises(DataError, match=rf"amos_0001\.nii\.gz: has label {value}"):
            read_labels(path, order)


def test_a_mask_off_its_scans_grid_is_an_error_of_its_case(root):
    path = root / "amos22" / "labelsVa" / "amos_0008.nii.gz"
    mask = nibabel.load(path)
    moved = mask.affine.copy()
    moved[0, 3] += 1.5
    nibabel.save(nibabel.Nifti1Image(np.asarray(mask.dataobj), moved), path)
    task = open_task(load_catalogue(), "amos", ("test",), root=root)
    first, second = task.cases["test"][:2]
    with pytest.raises(DataError, match=r"does not lie on the image: .* 1 voxels apart"):
        kind_of(task).load(task, first, None)
    assert kind_of(task).load(task, second, None)["mask"].max() == 15


class TestConformance(Conformance):
    distribution = "umedpt-task-amos"
