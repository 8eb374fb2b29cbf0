import pickle
from collections import Counter

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import umedpt_task_picai
from umedpt_task_picai.data import FIELD, PIXEL, Options, center_of
from umedpt_task_picai.fake import CONTRAST, STUDIES, UNLISTED, make_fake
from umedpt_task_picai.folds import FOLD_OF, FOLDS

from umedpt_core import DataError, Volume
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

(TASK,) = umedpt_task_picai.umedpt_tasks()


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    root = tmp_path_factory.mktemp("fake")
    make_fake(root, seed=0)
    return root


@pytest.fixture
def root(tmp_path):
    make_fake(tmp_path, seed=0)
    return tmp_path


def open_all(root, **options):
    splits = ("train", "val", "test")
    return {split: open_split(TASK, root, split, Options(**options)) for split in splits}


def study(root, name):
    return next(c for cases in open_all(root).values() for c in cases if c.id == name)


def test_the_folds_are_the_challenges():
    """Counted in picai_baseline's lists: 300, 298, 302, 304, 296 studies of these patients."""
    assert Counter(FOLDS) == {"0": 295, "1": 295, "2": 295, "3": 295, "4": 296}
    known = {0: ("10000", "11474"), 1: ("10008", "11468"), 2: ("10004", "11456")}
    known |= {3: ("10009", "11472"), 4: ("10002", "11475")}
    assert all(FOLD_OF[patient] == fold for fold in known for patient in known[fold])


@pytest.mark.parametrize("fold", range(5))
def test_the_fold_of_the_options_is_held_out(fake, fold):
    opened = open_all(fake, fold=fold)
    names = {split: {case.patient for case in cases} for split, cases in opened.items()}
    assert {FOLD_OF[patient] for patient in names["test"]} == {fold}
    assert names["train"] | names["val"] | names["test"] == set(STUDIES)
    assert not names["test"] & (names["train"] | names["val"])
    assert not names["train"] & names["val"]
    assert sum(map(len, opened.values())) == 18


def test_a_study_has_its_own_label_and_no_row_no_study(fake):
    assert (study(fake, "11054_1001074").target, study(fake, "11054_1001075").target) == (0, 1)
    assert (fake / "picai_public_images_fold4" / "10012" / f"{UNLISTED}_t2w.mha").is_file()
    every = [case for cases in open_all(fake).values() for case in cases]
    assert UNLISTED not in {case.id for case in every}
    assert all(len(pickle.dumps(case)) < 1000 for case in every)


def test_three_sequences_lie_on_the_slices_of_the_t2w(fake):
    """The lesion is dark in T2W and ADC and bright in HBV, at one place, whatever the scanner."""
    for case in (study(fake, f"{name}_{1000000 + name % 10000}") for name in (10001, 10010, 10002)):
        volume = case.image
        tilted = np.array([volume.affine[:3, k] / volume.spacing[k] for k in range(3)])
        assert tilted[0] == pytest.approx([0, 0.1097, -0.994], abs=1e-3)
        assert volume.voxels.shape[1] * volume.spacing[1] == pytest.approx(FIELD, abs=2)
        assert volume.voxels.shape[0] == 8
        center = (np.array(volume.voxels.shape[:3]) - 1) / 2
        assert volume.affine @ [*center, 1] == pytest.approx([0, 0, 0, 1], abs=1e-3)
        middle = volume.voxels[3]
        gland = middle[..., 1] > 450
        lesion = gland & (middle[..., 1] < 900) & (middle[..., 2] > 60)
        assert lesion.sum() > 5
        for channel, (_, prostate, cancer) in enumerate(CONTRAST.values()):
            inside = np.median(middle[lesion, channel])
            outside = np.median(middle[gland & ~lesion, channel])
            assert (inside > outside) == (cancer > prostate)


def test_where_a_sequence_does_not_reach_it_is_0(fake):
    volume = study(fake, "10000_1000000").image
    assert (volume.voxels[[0, -1], ..., 2] == 0).all()
    assert (volume.voxels[1:-1, ..., 2] > 0).all()
    assert (volume.voxels[..., 1] > 0).all()


@pytest.mark.parametrize(
    ("edge", "spacing", "pixels"),
    [(640, 0.3, 320), (384, 0.5, 320), (1024, 0.1875, 320), (256, 0.7, 229), (100, 0.5, 100)],
)
def test_the_center_is_kept_and_no_pixel_is_finer_than_needed(edge, spacing, pixels):
    affine = np.diag([3, spacing, spacing, 1.0])[[2, 1, 0, 3]]
    affine[:3, 3] = 5, 6, 7
    whole = Volume(np.broadcast_to(np.uint8(0), (4, edge, edge)), affine)
    grid = center_of(whole)
    assert grid.voxels.shape == (4, pixels, pixels)
    assert grid.spacing == pytest.approx((3, max(spacing, PIXEL), max(spacing, PIXEL)))
    middles = [v.affine @ [0, *(np.array(v.voxels.shape[1:]) - 1) / 2, 1] for v in (whole, grid)]
    assert middles[0] == pytest.approx(middles[1])


def test_one_folder_for_all_archives_and_other_names_of_the_labels(root):
    before = [case.image.voxels.sum() for case in open_all(root)["test"]]
    (root / "picai_labels").rename(root / "picai_labels-main")
    (root / "images").mkdir()
    (root / "picai_public_images_fold1").rename(root / "images" / "picai_public_images_fold1")
    for fold in (0, 2, 3, 4):
        for folder in (root / f"picai_public_images_fold{fold}").iterdir():
            folder.rename(root / "images" / folder.name)
    opened = open_all(root)
    assert [case.image.voxels.sum() for case in opened["test"]] == before
    assert all(case.image for case in opened["train"])


def test_a_missing_sequence_is_an_error_of_its_study(root):
    (root / "picai_public_images_fold0" / "10001" / "10001_1000001_hbv.mha").unlink()
    with pytest.raises(DataError, match=r"10001_1000001_hbv\.mha: no such file"):
        _ = study(root, "10001_1000001").image
    for path in (root / "picai_public_images_fold1" / "10008").iterdir():
        path.unlink()
    (root / "picai_public_images_fold1" / "10008").rmdir()
    with pytest.raises(DataError, match=r"10008_1000008_t2w\.mha: no such file"):
        _ = study(root, "10008_1000008").image
    assert study(root, "10000_1000000").image.voxels.shape[3] == 3


def test_sequences_of_different_places_are_an_error(root):
    path = root / "picai_public_images_fold0" / "10001" / "10001_1000001_adc.mha"
    image = sitk.ReadImage(str(path))
    image.SetOrigin((500.0, 0.0, 0.0))
    sitk.WriteImage(image, str(path))
    with pytest.raises(DataError, match="do not overlap"):
        _ = study(root, "10001_1000001").image


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("case_csPCa", "csPCa", r"marksheet\.csv: no column 'case_csPCa'"),
        ("study_id", "study", r"marksheet\.csv: no column 'study_id'"),
        ("YES", "1", r"marksheet\.csv: a row has patient_id '10001' and case_csPCa '1'"),
        ("10001,", "20001,", r"marksheet\.csv: a row has patient_id '20001'"),
    ],
)
def test_another_table_is_an_error_that_names_what_is_wrong(root, before, after, message):
    table = root / "picai_labels" / "clinical_information" / "marksheet.csv"
    table.write_text(table.read_text().replace(before, after))
    with pytest.raises(DataError, match=message):
        open_all(root)


def test_missing_folders_are_named(root):
    (root / "picai_public_images_fold3").rename(root / "fold3")
    assert open_split(TASK, root, "test", Options())
    with pytest.raises(DataError, match=r"no images of picai_public_images_fold3\.zip; unpack"):
        open_all(root)
    (root / "picai_labels").rename(root / "my_labels")
    with pytest.raises(DataError, match=r"picai_labels/clinical_information/marksheet\.csv is mis"):
        open_all(root)


class TestConformance(Conformance):
    distribution = "umedpt-task-picai"
