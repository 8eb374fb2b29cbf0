import pickle

import numpy as np
import openslide
import pytest
import tifffile
import umedpt_task_panda
from umedpt_task_panda.data import BLANK_SLIDE, codes_of
from umedpt_task_panda.fake import make_fake

from umedpt_core import DataError, read_table
from umedpt_core.data.tasks import open_split
from umedpt_core.testing import Conformance

TASKS = {task.name: task for task in umedpt_task_panda.umedpt_tasks()}
SEGMENTATION, CLASSIFICATION = TASKS["panda-segmentation"], TASKS["panda-classification"]
SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    root = tmp_path_factory.mktemp("panda")
    make_fake(root, seed=0)
    return root


@pytest.fixture
def root(fake, tmp_path):
    """The fake as links, so that a test can rename and replace files."""
    for path in fake.rglob("*.*"):
        link = tmp_path / path.relative_to(fake)
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(path)
    text = (fake / "train.csv").read_text()
    (tmp_path / "train.csv").unlink()
    (tmp_path / "train.csv").write_text(text)
    return tmp_path


def open_all(spec, root):
    return {c.patient: c for split in SPLITS for c in open_split(spec, root, split, None)}


def name_of(root, provider, grade):
    rows = read_table(root / "train.csv", ("image_id",))
    wanted = {"data_provider": provider, "isup_grade": str(grade)}
    return next(
        row["image_id"]
        for row in rows
        if wanted.items() <= row.items() and row["image_id"] != BLANK_SLIDE
    )


def test_both_tasks_have_the_same_test_slides(fake):
    parts = {split: open_split(CLASSIFICATION, fake, split, None) for split in SPLITS}
    assert [len(part) for part in parts.values()] == [22, 2, 12]
    patients = [case.patient for part in parts.values() for case in part]
    assert len(set(patients)) == 36
    for split in ("train", "test"):
        assert {case.target for case in parts[split]} == set(range(6))
    marked = {case.patient for case in open_split(SEGMENTATION, fake, "test", None)}
    assert marked <= {case.patient for case in parts["test"]}
    assert len(pickle.dumps(parts["test"][0])) < 1000


def test_grades_are_those_of_the_table(fake):
    rows = {r["image_id"]: r for r in read_table(fake / "train.csv", ("gleason_score",))}
    cases = open_all(CLASSIFICATION, fake)
    assert {n: case.target for n, case in cases.items()} == {
        n: int(row["isup_grade"]) for n, row in rows.items() if n != BLANK_SLIDE
    }
    assert {"negative", "0+0", "4+3"} <= {row["gleason_score"] for row in rows.values()}


def test_slides_are_pyramids_that_state_their_resolution(fake):
    found = set()
    for case in open_all(SEGMENTATION, fake).values():
        assert case.image.dimensions == case.target.dimensions == (1024, 512)
        assert openslide.OpenSlide(case.path).level_downsamples == (1, 4, 16)
        found.add(round(case.image.pixel_size, 4))
    assert found == {0.4862, 0.452, 0.5032}


@pytest.mark.parametrize(
    ("provider", "grade", "classes"),
    [
        ("karolinska", 0, {0, 1}),
        ("karolinska", 3, {0, 1, 2}),
        ("radboud", 0, {0, 1}),
        ("radboud", 4, {0, 1, 2, 255}),
    ],
)
def test_masks_of_both_hospitals_have_common_classes(fake, provider, grade, classes):
    case = open_all(SEGMENTATION, fake)[name_of(fake, provider, grade)]
    box, size = (0, 0, 1024, 512), (512, 1024)
    mask, image = case.target.classes(box, size), case.image.region(box, size)
    assert set(np.unique(mask)) == classes
    brightness = {index: image[mask == index].mean() for index in classes}
    assert brightness[0] > brightness[1]
    if 2 in classes:
        assert brightness[1] > brightness[2]
    if 255 in classes:  # stroma
        assert brightness[255] > brightness[1]


def test_codes():
    assert codes_of("karolinska", "4") == codes_of("karolinska", "0") == (0, 1, 2)
    assert codes_of("radboud", "0") == (0, 1, 1, 2, 2, 2)
    assert codes_of("radboud", "1") == (0, 255, 1, 2, 2, 2)


def test_a_mask_with_the_other_hospitals_codes_is_an_error_of_its_case(root):
    text = (root / "train.csv").read_text()
    name = name_of(root, "radboud", 5)
    (root / "train.csv").write_text(text.replace(f"{name},radboud", f"{name},karolinska"))
    mask = open_all(SEGMENTATION, root)[name].target
    with pytest.raises(DataError, match=rf"{name}_mask\.tiff: has the value [45], .* end at 2"):
        mask.classes((0, 0, 1024, 512), (512, 1024))


def test_slides_without_mask_and_the_blank_one_are_left_out(fake):
    rows = {row["image_id"]: row for row in read_table(fake / "train.csv", ("image_id",))}
    graded, marked = open_all(CLASSIFICATION, fake), open_all(SEGMENTATION, fake)
    (lacking,) = graded.keys() - marked.keys()
    assert rows[lacking]["data_provider"] == "radboud"
    assert not (fake / "train_label_masks" / f"{lacking}_mask.tiff").exists()
    assert rows.keys() - graded.keys() == {BLANK_SLIDE}


def test_a_mask_that_is_known_to_be_empty_is_left_out(root):
    known, name = "4a2ca53f240932e46eaf8959cb3f490a", name_of(root, "radboud", 3)
    text = (root / "train.csv").read_text()
    (root / "train.csv").write_text(text.replace(name, known))
    for path in root.rglob(f"{name}*"):
        path.rename(path.with_name(path.name.replace(name, known)))
    assert known in open_all(CLASSIFICATION, root)
    assert known not in open_all(SEGMENTATION, root)


@pytest.mark.parametrize("column", ["image_id", "data_provider", "isup_grade"])
def test_a_renamed_column_is_named(root, column):
    path = root / "train.csv"
    path.write_text(path.read_text().replace(column, "other"))
    for spec in TASKS.values():
        with pytest.raises(DataError, match=rf"train\.csv: no column '{column}'"):
            open_split(spec, root, "train", None)


@pytest.mark.parametrize("name", ["train.csv", "train_images", "train_label_masks"])
def test_a_renamed_file_or_folder_is_named(root, name):
    (root / name).rename(root / "other")
    with pytest.raises(DataError, match=rf"{name} is missing"):
        open_split(SEGMENTATION, root, "train", None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",radboud,", ",Radboud UMC,", "data_provider of .* 'Radboud UMC', .* karolinska, radboud"),
        (",5,", ",6,", "isup_grade of .* is '6', .* 0, 1, 2, 3, 4, 5"),
    ],
)
def test_unknown_values_of_the_table_are_named(root, old, new, message):
    path = root / "train.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        open_split(CLASSIFICATION, root, "train", None)


def test_missing_files_are_counted(root):
    name = name_of(root, "karolinska", 2)
    (root / "train_label_masks" / f"{name}_mask.tiff").unlink()
    with pytest.raises(DataError, match=rf"train_label_masks: 1 of .* is {name}_mask\.tiff"):
        open_split(SEGMENTATION, root, "train", None)
    assert open_all(CLASSIFICATION, root)
    (root / "train_images" / f"{name}.tiff").unlink()
    with pytest.raises(DataError, match=rf"train_images: 1 of .* is {name}\.tiff"):
        open_split(CLASSIFICATION, root, "train", None)


def test_a_slide_that_has_lost_its_resolution_is_an_error_of_its_case(root):
    case = open_split(CLASSIFICATION, root, "test", None)[0]
    case.path.unlink()
    tifffile.imwrite(case.path, np.zeros((512, 512, 3), np.uint8), tile=(256, 256))
    with pytest.raises(DataError, match="no micrometres a pixel"):
        _ = case.image.pixel_size


class TestConformance(Conformance):
    distribution = "umedpt-task-panda"
