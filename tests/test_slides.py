"""Slides: what is read from where, at which zoom, in how much memory, and with which target."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import weakref
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from umedpt_label_classification.head import Classification
from umedpt_label_detection.head import Detection
from umedpt_label_segmentation.head import Segmentation

from umedpt_core import DataError, Patches, Polygons, Slide, SlideCase
from umedpt_core.data import slides
from umedpt_core.data.draw import Draw
from umedpt_core.data.patches import cut, load
from umedpt_core.data.tasks import TaskData
from umedpt_core.data.tissue import background_of, find_tissue
from umedpt_core.errors import ConfigError

WIDTH, HEIGHT, MPP = 1600, 1200, 0.5
SQUARES = ((400, 200, 520, 320), (960, 640, 1280, 960))  # xyxy; edges are multiples of 8
GLASS, STAIN = (244, 242, 243), (140, 40, 130)


def write_slide(path: Path, pixels: np.ndarray, levels: int = 1, mpp: float | None = MPP) -> Path:
    """A tiled TIFF whose levels halve, as openslide reads it."""
    resolution = (
        {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"} if mpp else {}
    )
    with tifffile.TiffWriter(path) as tiff:
        for level in range(levels):
            size = pixels.shape[1] >> level, pixels.shape[0] >> level
            tiff.write(
                cv2.resize(pixels, size, interpolation=cv2.INTER_AREA),
                tile=(256, 256),
                photometric="rgb" if pixels.ndim == 3 else "minisblack",
                compression="zlib",
                subfiletype=int(level > 0),
                metadata=None,
                **resolution,
            )
    return path


def paint(shape: tuple[int, ...], background: Any, colour: Any, shrink: int = 1) -> np.ndarray:
    pixels = np.full(shape, background, np.uint8)
    for square in SQUARES:
        x0, y0, x1, y1 = (edge // shrink for edge in square)
        pixels[y0:y1, x0:x1] = colour
    return pixels


def feature(square: tuple[int, ...], name: str = "tumour", hole: Any = None) -> dict[str, Any]:
    x0, y0, x1, y1 = square
    ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring, *([hole] if hole else [])]},
        "properties": {"objectType": "annotation", "classification": {"name": name}},
    }


def write_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def task(label: Any = None, geometry: str = "none", **spec: Any) -> TaskData:
    label = label or Classification(("no", "yes"))
    spec = {"size": (96, 128), "mpp": (MPP, MPP)} | spec
    return TaskData("slides", {}, label, geometry, Patches(**spec), "uint8", None, None, 4)


def segmentation(**spec: Any) -> TaskData:
    return task(Segmentation(("background", "tumour")), "mask", **spec)


def detection(**spec: Any) -> TaskData:
    return task(Detection(("stroma", "tumour")), "boxes", **spec)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slides with two squares of tissue, their masks, pyramids or not, and their polygons."""
    folder = tmp_path_factory.mktemp("Präparate mit Lücken")
    image = paint((HEIGHT, WIDTH, 3), GLASS, STAIN)
    mask = paint((HEIGHT, WIDTH), 0, 1)
    write_slide(folder / "Größe 1.tiff", image, levels=4)
    write_slide(folder / "one-level.tiff", image)
    write_slide(folder / "nameless.tiff", image, mpp=None)
    write_slide(folder / "mask.tiff", mask)
    write_slide(folder / "mask-pyramid.tiff", mask, levels=3)
    write_slide(folder / "mask-small.tiff", paint((HEIGHT // 8, WIDTH // 8), 0, 1, 8), mpp=None)
    write_json(folder / "squares.geojson", {"features": [feature(s) for s in SQUARES]})
    return folder


@pytest.fixture(scope="module")
def slide(folder: Path) -> Slide:
    return Slide(folder / "Größe 1.tiff")


def case(slide: Slide, label: Any = 1) -> SlideCase:
    return SlideCase("a", "patient", slide.path, label, slide.mpp)


@pytest.fixture(scope="module")
def real() -> Path:
    root = os.environ.get("UMEDPT_TEST_DATA")
    if not root:
        pytest.skip("UMEDPT_TEST_DATA is not set")
    return Path(root) / "wsi"


# Reading


ZOOMS = (0.11, 0.37, 0.5, 0.7, 1.0, 1.13, 2.9, 4.0, 6.1)


@pytest.mark.parametrize("name", ["Größe 1.tiff", "one-level.tiff"])
@pytest.mark.parametrize("mpp", ZOOMS)
def test_pixels_are_where_they_belong_at_every_zoom(folder, name, mpp):
    slide, size = Slide(folder / name), (210, 260)
    for square in SQUARES:
        center = square[0] + 3.3, square[1] - 2.4
        patch = slide.read(center, size, mpp)
        corner = np.array(center) - np.array(size[::-1]) * mpp / MPP / 2
        assert patch.shape == (*size, 3)
        x, y = ((np.array(square[:2]) - corner) * MPP / mpp).tolist()
        inside = patch[..., 1] < 143
        # The square's upper left corner is near the middle; its sides cross the patch there.
        row, column = min(size[0] - 1, int(y) + 4), min(size[1] - 1, int(x) + 4)
        assert abs(np.argmax(inside[row]) - x) <= 1
        assert abs(np.argmax(inside[:, column]) - y) <= 1


def test_at_the_slides_own_zoom_pixels_are_as_stored(slide):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    path = write_slide(slide.path.parent / "noise.tiff", noise)
    assert (Slide(path).read((120, 110), (60, 80), MPP) == noise[80:140, 80:160]).all()
    assert (
        Slide(path).read((120, 110), (60, 80), MPP, nearest=True) == noise[80:140, 80:160]
    ).all()


def test_outside_is_glass_and_in_masks_unknown(folder, slide):
    assert (slide.read((0, 0), (64, 64), 1.0)[:32, :32] == 255).all()
    assert slide.read((0, 0), (64, 64), 1.0)[32:, 32:].max() < 255
    dark = write_slide(folder / "dark.tiff", paint((HEIGHT, WIDTH, 3), (3, 0, 9), (0, 0, 200)))
    assert (Slide(dark).read((0, 0), (64, 64), 1.0)[:32, :32] == 0).all()
    mask = Slide(folder / "mask.tiff").read((WIDTH, HEIGHT), (64, 64), 1.0, nearest=True)
    assert (mask[:32, :32] == 0).all()
    assert (mask[32:] == 255).all()
    assert (mask[:, 32:] == 255).all()


def test_the_resolution_is_the_files_or_the_cases(folder, slide):
    assert slide.pixel_size == pytest.approx(MPP)
    assert Slide(folder / "nameless.tiff", 0.25).pixel_size == 0.25
    with pytest.raises(DataError, match=r"nameless\.tiff: .*give mpp"):
        load(task(), case(Slide(folder / "nameless.tiff")), 0)
    dots = write_slide(folder / "printed.tiff", np.zeros((300, 300, 3), np.uint8), mpp=25400 / 72)
    with pytest.raises(DataError, match="give mpp"):
        _ = Slide(dots).pixel_size


def test_slides_pickle_small_and_forks_open_their_own(folder, slide):
    expected = slide.read((500, 300), (32, 32), MPP)
    assert len(pickle.dumps(case(slide))) < 1000
    handle = slides._open(slide.path)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert (pool.apply(slide.read, ((500, 300), (32, 32), MPP)) == expected).all()
        assert pool.apply(handle_address, (slide.path,)) != address(handle)


def address(handle: Any) -> int:
    return handle._osr._as_parameter_.value


def handle_address(path: Path) -> int:
    return address(slides._open(path))


def test_few_slides_stay_open_and_the_others_close(folder):
    paths = [write_slide(folder / f"{n}.tiff", np.full((64, 64, 3), n)) for n in range(12)]
    handles = [weakref.ref(slides._open(path)) for path in paths]
    gc.collect()
    assert [handle() is not None for handle in handles] == [False] * 4 + [True] * 8


MEASURE = """
import sys
from pathlib import Path
from umedpt_core import Slide
from umedpt_core.data import slides

def peak():  # not ru_maxrss, which a process inherits from its parent
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

slides.TILE_BYTES = 2**23
slide = Slide(Path(sys.argv[1]))
slide.read((100, 100), (512, 512), 0.5)
before = peak()
thumbnail = slide.thumbnail(1024)
assert thumbnail.shape == (1024, 1024, 3) and thumbnail.mean() == 90.0
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_a_slide_of_one_level_is_never_in_memory(tmp_path):
    """8192 x 8192 pixels, 256 MiB as openslide decodes them."""
    tile = zlib.compress(np.full((512, 512, 3), 90, np.uint8))
    with tifffile.TiffWriter(tmp_path / "large.tiff") as tiff:
        tiff.write(
            iter([tile] * 256),
            shape=(8192, 8192, 3),
            dtype=np.uint8,
            tile=(512, 512),
            photometric="rgb",
            compression="zlib",
            resolution=(20000, 20000),
            resolutionunit="CENTIMETER",
        )
    command = [sys.executable, "-c", MEASURE, tmp_path / "large.tiff"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    assert float(done.stdout) < 100


def test_a_region_put_together_is_the_same_as_one_read_at_once(slide, monkeypatch):
    for size, mpp in (((90, 140), 2.9), ((90, 140), 0.37)):
        once = slide.read((500, 300), size, mpp)
        with monkeypatch.context() as patched:
            patched.setattr(slides, "READ_PIXELS", 2**10)
            parts = slide.read((500, 300), size, mpp)
        assert np.mean(np.abs(once.astype(int) - parts) > 16) < 0.03  # edges, by rounding


# Bad slides


def no_slide(path: Path) -> None:
    path.write_bytes(b"Not a slide. " * 100)


def truncated(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
    content = write_slide(path, noise).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def garbled(path: Path) -> None:
    truncated(path)
    content = bytearray(write_slide(path, np.full((512, 512, 3), 90, np.uint8)).read_bytes())
    start = content.find(zlib.compress(np.full((256, 256, 3), 90, np.uint8))[:8])
    content[start : start + 64] = bytes(64)
    path.write_bytes(content)


def blank(path: Path) -> None:
    noise = np.random.default_rng(0).integers(-2, 3, (512, 700, 3))
    write_slide(path, (np.array(GLASS) + noise).astype(np.uint8))


def black(path: Path) -> None:
    write_slide(path, np.random.default_rng(0).integers(0, 6, (512, 700, 3), np.uint8))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "no such file"),
        (no_slide, "cannot be read as a slide"),
        (truncated, "cannot be read as a slide|corrupt"),
        (garbled, "corrupt"),
        (blank, "no tissue found"),
        (black, "no tissue found"),
    ],
)
def test_what_cannot_be_used_is_named_on_one_line(write, message, tmp_path):
    path = tmp_path / "a slide.tiff"
    write(path)
    with pytest.raises(DataError, match=message) as error:
        load(task(), case(Slide(path)), 0)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_without_openslide_the_message_says_what_to_install(slide, monkeypatch):
    monkeypatch.setitem(sys.modules, "openslide", None)
    monkeypatch.setattr(slides, "_openers", [slides._opener()])
    with pytest.raises(ConfigError, match=r"pip install 'umedpt-core\[slides\]'"):
        _ = slide.dimensions


# Targets


def near(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two masks differ by a pixel at most."""
    grown = [cv2.dilate(m.astype(np.uint8), np.ones((3, 3), np.uint8)) for m in (a, b)]
    return not (a & (grown[1] == 0)).any() and not (b & (grown[0] == 0)).any()


@pytest.mark.parametrize("target", ["mask", "mask-pyramid", "mask-small", "squares"])
@pytest.mark.parametrize("mpp", ZOOMS)
def test_image_and_mask_agree_to_a_pixel_at_every_zoom(folder, slide, target, mpp):
    made = Polygons if target == "squares" else Slide
    suffix = "geojson" if target == "squares" else "tiff"
    subject = case(slide, partial(made, folder / f"{target}.{suffix}"))
    zoomed = segmentation(mpp=(mpp, mpp))
    arrays = load(zoomed, subject, 0)
    for seed in range(6):
        image, mask, dropped = cut(zoomed, subject, arrays, Draw(0, 1, seed))
        assert (image.shape, image.dtype, mask.shape) == ((96, 128, 3), np.uint8, (96, 128))
        assert near(image[..., 1] < 143, mask == 1)
        assert dropped == 0


def test_boxes_are_clipped_to_the_patch_and_left_out_where_little_is_seen(folder, slide):
    boxes = {"boxes": np.array(SQUARES, np.float32), "labels": [0, 1]}
    for label in (boxes, Polygons(folder / "squares.geojson")):
        subject = case(slide, label)
        coarse = detection(mpp=(1.0, 1.0), size=(96, 128))
        arrays = load(coarse, subject, 0)
        seen = set()
        for seed in range(40):
            image, target, _ = cut(coarse, subject, arrays, Draw(0, 1, seed))
            for x0, y0, x1, y1 in target["boxes"]:
                inside = (image[..., 1] < 143)[round(y0) : round(y1), round(x0) : round(x1)]
                assert inside.size
                assert inside.mean() > 0.8
            shown = (image[..., 1] < 143).sum()
            assert len(target["boxes"]) or shown < 0.1 * 160 * 160
            seen |= set(target["labels"].tolist())
        assert seen == ({0, 1} if label is boxes else {1})


def test_a_box_of_which_a_twentieth_is_seen_is_left_out(slide):
    x0, y0 = SQUARES[0][:2]
    place = {"tissue": np.array([[x0 + 32, y0 + 32]]), "scale": np.ones(2)}
    small = detection(mpp=(MPP, MPP), size=(64, 64))
    for share, seen in ((0.05, 0), (0.5, 1)):
        subject = case(slide, {"boxes": [(x0, y0, x0 + 64 / share, y0 + 64)], "labels": [0]})
        arrays = {**load(small, subject, 0), **place}
        _, target, dropped = cut(small, subject, arrays, Draw())
        assert (len(target["boxes"]), dropped) == (seen, 0)


def test_boxes_without_area_are_dropped_and_counted(slide):
    subject = case(slide, {"boxes": [(450, 250, 450, 250), SQUARES[0]], "labels": [0, 1]})
    whole = detection(mpp=(8.0, 8.0))
    _, target, dropped = cut(whole, subject, load(whole, subject, 0), Draw())
    assert target["labels"].tolist() == [1]
    assert dropped == 1


def test_polygons_have_holes_parts_and_names_in_several_places(folder, slide):
    x0, y0 = SQUARES[1][:2]
    hole = [[x0 + 80, y0 + 80], [x0 + 160, y0 + 80], [x0 + 160, y0 + 160], [x0 + 80, y0 + 160]]
    two = [feature(s)["geometry"]["coordinates"] for s in SQUARES]
    named = [
        feature(SQUARES[1], hole=hole),
        {
            "geometry": {"type": "MultiPolygon", "coordinates": two},
            "properties": {"name": "stroma", "classification": None},
        },
        {"geometry": feature(SQUARES[0])["geometry"], "properties": {"label": "tumour"}},
    ]
    holes = Polygons(write_json(folder / "holes.geojson", named[:1]))
    subject, whole = case(slide, holes), segmentation(mpp=(4.0, 4.0), size=(160, 200))
    _, mask, _ = cut(whole, subject, load(whole, subject, 0), Draw())
    assert mask.sum() == pytest.approx((320**2 - 80**2) / 64, rel=0.15)
    found = Polygons(write_json(folder / "names.geojson", named)).read({"stroma": 0, "tumour": 1})
    assert [index for _, index in found] == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no GeoJSON"),
        ("17", "no GeoJSON"),
        ('{"type": "Feature"}', "no GeoJSON"),
        ('[{"geometry": {"type": "Point", "coordinates": [1, 2]}}]', "Point"),
        ('[{"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}}]', "three"),
        (json.dumps([feature(SQUARES[0], "lymph"), feature(SQUARES[0], "fat")]), "'fat', 'lymph'"),
    ],
)
def test_polygons_that_cannot_be_used_are_named(content, message, tmp_path):
    path = tmp_path / "some polygons.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as error:
        Polygons(path).read({"tumour": 1})
    assert "some polygons.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_targets_that_do_not_fit_the_slide_are_named(folder, slide):
    square = write_slide(folder / "square.tiff", np.zeros((512, 512), np.uint8))
    with pytest.raises(DataError, match=r"square\.tiff: 512 x 512 does not fit"):
        load(segmentation(), case(slide, Slide(square)), 0)
    with pytest.raises(DataError, match="ndarray is no target for mask"):
        load(segmentation(), case(slide, np.zeros((9, 9))), 0)
    with pytest.raises(DataError, match="Slide is no target for keypoints"):
        load(task(geometry="keypoints"), case(slide, Slide(square)), 0)
    five = Slide(write_slide(folder / "five.tiff", np.full((HEIGHT, WIDTH), 5, np.uint8)))
    arrays = load(segmentation(), case(slide, five), 0)
    with pytest.raises(DataError, match=r"Größe 1\.tiff: mask holds 5"):
        cut(segmentation(), case(slide, five), arrays, Draw())


def test_codes_turn_the_values_of_a_mask_into_classes(folder, slide):
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    for value, (x0, y0, x1, y1) in enumerate(SQUARES, 2):
        values[y0:y1, x0:x1] = value
    values[:96] = 255
    path = write_slide(folder / "codes.tiff", values, levels=2)
    whole = segmentation(mpp=(4.0, 4.0), size=(150, 200), foreground=1.0)
    small = values[4::8, 4::8]  # the pixels at the centers of the patch's
    assert small.shape == (150, 200)
    for codes, (second, third) in {(1, 0, 0, 1): (0, 1), (0, 9, 1, 255): (1, 255)}.items():
        subject = case(slide, Slide(path, codes=codes))
        arrays = load(whole, subject, 0)
        _, mask, _ = cut(whole, subject, arrays, Draw())
        assert (mask[small == 2] == second).all()
        assert (mask[small == 3] == third).all()
        assert (mask[small == 0] == codes[0]).all()
        assert (mask[small == 255] == 255).all()
        places = ((arrays["foreground"] + 0.5) * arrays["scale"]).astype(int)
        x, y = places[len(places) // 2]
        assert codes[values[y, x]] == 1
    outside = Slide(path, codes=(7,) * 4).classes((-8, 200, 8, 208), (8, 16))
    assert (outside[:, :8] == 255).all()
    assert (outside[:, 8:] == 7).all()
    with pytest.raises(DataError, match=r"codes\.tiff: has the value 2, the codes end at 1;"):
        load(whole, case(slide, Slide(path, codes=(0, 1))), 0)


# Draws


def test_training_draws_tissue_or_foreground_and_depends_on_the_seed_alone(folder, slide):
    only = write_json(folder / "one.geojson", [feature(SQUARES[0])])
    subject = case(slide, Polygons(only))
    small = segmentation(size=(32, 32), mpp=(0.5, 2.0), foreground=0.7)
    arrays = load(small, subject, 0)
    drawn = [cut(small, subject, arrays, Draw(0, 1, seed)) for seed in range(200)]
    assert all((image[..., 1] < 143).any() for image, *_ in drawn)
    share = np.mean([mask.any() for _, mask, _ in drawn])
    assert 0.65 < share < 0.85  # 0.7, and the chance of the smaller square among all tissue
    again = cut(small, subject, load(small, subject, 1), Draw(3, 7, 5))
    assert (again[0] == drawn[5][0]).all()
    assert (again[1] == drawn[5][1]).all()
    assert sum(array.nbytes for array in arrays.values()) < 2**21


def test_evaluation_spreads_over_tissue_and_zoom(slide):
    ranged = task(size=(64, 64), mpp=(0.5, 8.0))
    subject = case(slide)
    arrays = load(ranged, subject, None)
    images = [cut(ranged, subject, arrays, Draw(number, 16))[0] for number in range(16)]
    again = [cut(ranged, subject, arrays, Draw(number, 16))[0] for number in range(16)]
    assert (np.array(images) == again).all()
    assert all((image[..., 1] < 143).any() for image in images)
    shares = sorted(np.mean(image[..., 1] < 143) for image in images)
    assert shares[0] < 0.2
    assert shares[-1] == 1


# Tissue


def test_a_slide_full_of_tissue_is_tissue_throughout():
    rng = np.random.default_rng(0)
    stain = np.where(rng.random((200, 200, 1)) < 0.5, (228, 170, 200), STAIN).astype(np.uint8)
    assert background_of(stain.reshape(-1, 3)) == 255
    assert find_tissue(stain, 255).mean() > 0.98


def test_black_around_glass_is_no_tissue():
    pixels = np.random.default_rng(0).integers(0, 6, (400, 400, 3), np.uint8)
    pixels[100:300, 100:300] = GLASS
    pixels[150:200, 150:200] = STAIN
    assert background_of(pixels.reshape(-1, 3)) == 255
    tissue = find_tissue(pixels, 255)
    assert tissue[152:198, 152:198].all()
    assert tissue.sum() < 60 * 60


# Real slides


def test_brightfield_and_fluorescence_are_told_apart(real):
    bright, dark = Slide(real / "CMU-1-Small-Region.svs"), Slide(real / "test3-DAPI.ndpi")
    assert (bright.background, dark.background) == (255, 0)
    assert bright.pixel_size == pytest.approx(0.499)
    assert dark.pixel_size == pytest.approx(0.228, abs=1e-3)
    for slide, share in ((bright, 0.34), (dark, 0.21)):
        tissue = find_tissue(slide.thumbnail(1024), slide.background)
        assert max(tissue.shape) == 1024
        assert tissue.mean() == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "test3-DAPI.ndpi"])
def test_real_patches_show_the_same_place_at_every_zoom(real, name):
    slide = Slide(real / name)
    center, fine = (1400, 2000), slide.pixel_size
    reference = slide.read(center, (512, 512), fine)
    for factor in (0.5, 1.37, 2, 4):
        size = round(512 / factor), round(512 / factor)
        patch = slide.read(center, size, fine * 512 / size[0])
        shrunk = cv2.resize(reference, size[::-1], interpolation=cv2.INTER_AREA)
        assert np.corrcoef(patch.ravel(), shrunk.ravel())[0, 1] > 0.98
