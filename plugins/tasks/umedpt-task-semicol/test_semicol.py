import pickle
import shutil
from collections import Counter

import cv2
import numpy as np
import openslide
import pytest
import umedpt_task_semicol
from PIL import Image
from umedpt_task_semicol.fake import make_fake
from umedpt_task_semicol.slides import DATASETS
from umedpt_task_semicol.tissue import INDICES, mask_of, read_tissue

from umedpt_core import ConfigError, DataError, read_image
from umedpt_core.data.tasks import make_options, open_split
from umedpt_core.testing import Conformance

SLIDES, TISSUE = umedpt_task_semicol.umedpt_tasks()
SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    root = tmp_path_factory.mktemp("fake")
    make_fake(root, seed=0)
    return root


@pytest.fixture
def root(fake, tmp_path):
    return shutil.copytree(fake, tmp_path / "semicol")


def open_all(spec, root, **options):
    chosen = make_options(spec, options)
    return {split: list(open_split(spec, root, split, chosen)) for split in SPLITS}


def test_bern_is_the_test_set(fake):
    cases = open_all(SLIDES, fake)
    names = {split: {case.id.split("/")[0] for case in part} for split, part in cases.items()}
    assert names["test"] == {"DS_W_4"}
    assert names["train"] | names["val"] == set(DATASETS) - {"DS_W_4"}
    assert len(cases["test"]) == 4
    assert sum(map(len, cases.values())) == 20
    for case in [case for part in cases.values() for case in part]:
        dataset, folder, name = case.id.split("/")
        assert case.target == {"BEN": 0, "TU": 1}[folder]
        assert case.path == fake / "DATASET_TRAIN" / "02_WEAK" / dataset / folder / name
        assert case.image.pixel_size == case.mpp == DATASETS[dataset].mpp
        assert case.image.dimensions == (640, 480)
        assert len(pickle.dumps(case)) < 1000


def test_a_section_that_was_scanned_twice_is_one_patient(fake):
    cases = open_all(SLIDES, fake)
    patients = [{case.patient for case in part} for part in cases.values()]
    assert sum(map(len, patients)) == len(set().union(*patients)) == 16
    counts = Counter(case.patient for part in cases.values() for case in part)
    assert {patient.split("/")[0] for patient, n in counts.items() if n == 2} == {"Wiener Neustadt"}
    assert sorted(counts.values()) == [1] * 12 + [2] * 4


def test_slides_are_jpeg_2000_and_tumour_is_dark(fake):
    cases = [case for part in open_all(SLIDES, fake).values() for case in part]
    for case in cases:
        with pytest.raises(openslide.OpenSlideError, match="Unsupported TIFF compression: 33004"):
            openslide.OpenSlide(case.path)
        red, green, _ = case.image.thumbnail(256).reshape(-1, 3).astype(int).T
        assert np.mean(red - green > 20) > 0.3
        assert (np.mean(green < 70) > 0.05) == case.target


def test_planes_and_interleaved_colours_are_read_alike(fake):
    for case in open_all(SLIDES, fake)["test"]:
        assert case.path.name.endswith("_Anonymized.ome.tiff")
        red, green, blue = case.image.read((320, 240), (64, 64), 2.0).mean((0, 1))
        assert red > green < blue


def test_other_centres_can_be_chosen(fake):
    cases = open_all(SLIDES, fake, train=["DS_W_1", "DS_W_4"], test=["DS_W_2A", "DS_W_2B"])
    assert {case.id.split("/")[0] for case in cases["test"]} == {"DS_W_2A", "DS_W_2B"}
    assert {case.id.split("/")[0] for case in cases["train"]} == {"DS_W_1", "DS_W_4"}
    with pytest.raises(ConfigError, match="slides of Wiener Neustadt are in train and in test"):
        make_options(SLIDES, {"train": ["DS_W_2A"], "test": ["DS_W_2B"]})
    with pytest.raises(ConfigError, match="test"):
        make_options(SLIDES, {"test": ["DS_W_5"]})


def test_datasets_that_are_not_asked_for_may_be_missing(root):
    weak = root / "DATASET_TRAIN" / "02_WEAK"
    shutil.rmtree(weak / "DS_W_3")
    with pytest.raises(DataError, match="02_WEAK/DS_W_3 is missing"):
        open_all(SLIDES, root)
    assert open_all(SLIDES, root, train=["DS_W_1"])["train"]
    shutil.rmtree(root / "DATASET_TRAIN" / "01_MANUAL")
    (root / "DATASET_TRAIN").rename(root.parent / "elsewhere")
    assert open_all(SLIDES, root.parent / "elsewhere", train=["DS_W_1"])["test"]


def test_folders_of_other_names(root):
    for folder in (root / "DATASET_TRAIN" / "02_WEAK").glob("*/TU"):
        folder.rename(folder.with_name("TUMOR"))
    message = "DS_W_1: no folder TU here, but BEN, TUMOR; .* with the option folders"
    with pytest.raises(DataError, match=message):
        open_all(SLIDES, root)
    cases = open_all(SLIDES, root, folders=["BEN", "TUMOR"])
    assert Counter(case.target for case in cases["test"]) == {0: 2, 1: 2}


def test_folders_without_slides(root):
    folder = root / "DATASET_TRAIN" / "02_WEAK" / "DS_W_4" / "BEN"
    for path in folder.iterdir():
        path.rename(path.with_name(path.name.replace(".ome.tiff", ".png")))
    with pytest.raises(DataError, match=r"DS_W_4/BEN: no \*\.ome\.tif or \*\.ome\.tiff here"):
        open_all(SLIDES, root)


def test_a_truncated_slide_is_an_error_of_its_own(root):
    case = open_all(SLIDES, root)["test"][0]
    case.path.write_bytes(case.path.read_bytes()[:5000])
    with pytest.raises(DataError, match=case.path.name):
        case.image.thumbnail(64)


def test_tiles_of_a_slide_stay_together(fake):
    cases = open_all(TISSUE, fake)
    assert sum(map(len, cases.values())) == 10 * 9
    patients = [{case.patient for case in part} for part in cases.values()]
    assert sum(map(len, patients)) == len(set().union(*patients)) == 10
    assert (
        {name[:3] for name in patients[0]} == {name[:3] for name in patients[2]} == {"ukk", "lmu"}
    )
    for part in cases.values():
        found = np.unique(np.concatenate([case.target.ravel() for case in part]))
        assert found.tolist() == [*range(10), 255]
    for case in cases["test"]:
        assert case.image.shape == (48, 48, 3)
        assert case.target.shape == (48, 48)
        assert len(pickle.dumps(case)) < 1000


def test_codes_become_classes(fake):
    assert INDICES.tolist() == [255, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    image = next(fake.rglob("lmu_case_01/image/*.png"))
    codes = np.asarray(Image.open(mask_of(image)))
    tiles = [[read_tissue(mask_of(image), (i, j)) for j in range(3)] for i in range(3)]
    np.testing.assert_array_equal(np.block(tiles), INDICES[codes])
    glass = read_image(image)[codes == 10]
    assert glass.mean() > 235
    assert (np.block(tiles)[codes == 10] == 0).all()


def test_colours_of_the_palette_do_not_matter(fake):
    def colour(slide, code):
        path = mask_of(next(fake.rglob(f"{slide}/image/*.png")))
        shown = cv2.imread(str(path))[..., ::-1]
        return tuple(shown[np.asarray(Image.open(path)) == code][0].tolist())

    assert colour("ukk_case_01", 1) == (255, 0, 255)
    assert colour("lmu_case_01", 1) == (241, 57, 207)
    assert colour("ukk_case_01", 2) == colour("lmu_case_01", 2) == (10, 124, 213)


def test_a_tile_without_annotation_is_unknown(fake):
    every = [case for part in open_all(TISSUE, fake).values() for case in part]
    empty = [case for case in every if (case.target == 255).all()]
    assert {case.id[-3:] for case in empty} == {"0,0", "0,1", "0,2"}


def test_renamed_and_missing_parts(root):
    manual = root / "DATASET_TRAIN" / "01_MANUAL"
    case = open_all(TISSUE, root)["test"][0]
    image = manual / case.id.rpartition(":")[0]
    mask_of(image).rename(mask_of(image).with_suffix(".bak"))
    with pytest.raises(DataError, match=r"-labelled\.png: no such file"):
        case.target  # noqa: B018
    cv2.imwrite(str(mask_of(image)), np.full((144, 144), 11, np.uint8))
    with pytest.raises(DataError, match="has the code 11, SemiCOL's masks end at 10"):
        case.target  # noqa: B018
    (manual / "DS_M_1" / "ukk_case_01" / "image").rename(manual / "DS_M_1/ukk_case_01/images")
    with pytest.raises(DataError, match="DS_M_1/ukk_case_01/image is missing"):
        open_all(TISSUE, root)
    shutil.rmtree(manual / "DS_M_1")
    with pytest.raises(DataError, match="01_MANUAL/DS_M_1 is missing"):
        open_all(TISSUE, root)
    (manual / "DS_M_1").mkdir()
    with pytest.raises(DataError, match="DS_M_1: no folders of slides"):
        open_all(TISSUE, root)


class TestConformance(Conformance):
    distribution = "umedpt-task-semicol"
