"""Slides in tiles of JPEG 2000, which openslide refuses, read as the same pixels in others."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from umedpt_core import DataError, Slide
from umedpt_core.data.jpeg2000 import CODECS, Jpeg2000Slide

WIDTH, HEIGHT, TILE = 344, 208, 64
XML = (
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels '
    'ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="{width}" SizeY="{height}" SizeC="3" '
    'SizeZ="1" SizeT="1" PhysicalSizeX="{size}" PhysicalSizeXUnit="{unit}" PhysicalSizeY="{size}" '
    'PhysicalSizeYUnit="{unit}">{channels}</Pixels></Image></OME>'
)
KINDS = ("interleaved", "planes", "pages")


def codestream(tile: np.ndarray, **how: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(tile).save(stream, "JPEG2000", no_jp2=True, **how)
    return stream.getvalue()


def tiles(planes: list[np.ndarray]) -> Iterator[bytes]:
    for plane in planes:
        bottom, right = (-edge % TILE for edge in plane.shape[:2])
        padded = np.pad(plane, ((0, bottom), (0, right), *[(0, 0)] * (plane.ndim - 2)))
        for y in range(0, padded.shape[0], TILE):
            for x in range(0, padded.shape[1], TILE):
                yield codestream(np.ascontiguousarray(padded[y : y + TILE, x : x + TILE]))


def write(
    path: Path,
    levels: list[np.ndarray],
    kind: str = "interleaved",
    codec: int = 33004,
    size: float = 0.5,
    unit: str = "µm",
    big: bool = False,
) -> Path:
    """An OME-TIFF of lossless tiles, with smaller levels below the first as SubIFDs."""
    one = kind == "interleaved"
    channel = '<Channel ID="Channel:0:{}" SamplesPerPixel="{}"/>'
    files = '<TiffData IFD="{0}" FirstC="{0}" PlaneCount="1"/>'
    number = 3 if kind == "pages" else 1
    channels = "".join(channel.format(c, 1 if number == 3 else 3) for c in range(number))
    channels += "".join(files.format(c) for c in range(number))
    height, width = levels[0].shape[:2]
    xml = XML.format(width=width, height=height, size=size, unit=unit, channels=channels)
    with tifffile.TiffWriter(path, bigtiff=big) as tiff:
        for page in range(number):
            for level, pixels in enumerate(levels):
                planes = [pixels] if one else list(np.moveaxis(pixels, 2, 0))
                planes = planes[page : page + 1] if number == 3 else planes
                tiff.write(
                    tiles(planes),
                    shape=(3, *pixels.shape[:2]) if kind == "planes" else planes[0].shape,
                    dtype=np.uint8,
                    photometric="minisblack" if number == 3 else "rgb",
                    planarconfig={"planes": "separate", "interleaved": "contig"}.get(kind),
                    tile=(TILE, TILE),
                    compression="deflate",
                    subifds=0 if level else len(levels) - 1,
                    subfiletype=int(level > 0),
                    description=None if level or page else xml.encode(),
                    metadata=None,
                )
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for first in tiff.pages:
            for page in (first, *(first.pages or ())):
                page.tags["Compression"].overwrite(codec)
    return path


@pytest.fixture(scope="module")
def levels() -> list[np.ndarray]:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    first = np.stack([x % 256, y, (3 * x + y) % 199], axis=2).astype(np.uint8)
    first[150:, :40] = 250
    return [first, first[::2, ::2], first[::8, ::8]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, levels: list[np.ndarray]) -> Path:
    folder = tmp_path_factory.mktemp("slides")
    for kind in KINDS:
        write(folder / f"{kind}.ome.tiff", levels, kind)
    with tifffile.TiffWriter(folder / "plain.tiff") as tiff:
        for level, pixels in enumerate(levels):
            tiff.write(
                pixels,
                photometric="rgb",
                tile=(TILE, TILE),
                compression="deflate",
                subfiletype=int(level > 0),
                metadata=None,
                resolution=(20_000, 20_000),
                resolutionunit="CENTIMETER",
            )
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_as_the_same_pixels_through_openslide(folder: Path, kind: str) -> None:
    with pytest.raises(openslide.OpenSlideError, match="Unsupported TIFF compression"):
        openslide.OpenSlide(folder / f"{kind}.ome.tiff")
    one, other = Slide(folder / f"{kind}.ome.tiff"), Slide(folder / "plain.tiff")
    assert one.dimensions == other.dimensions == (WIDTH, HEIGHT)
    assert one.pixel_size == pytest.approx(other.pixel_size) == pytest.approx(0.5)
    assert one.background == other.background == 255
    for box in ((0, 0, WIDTH, HEIGHT), (-30, -20, 90, 100), (301.5, 150.2, 400, 260)):
        for size in ((33, 41), (90, 120), (200, 300)):
            for nearest in (False, True):
                np.testing.assert_array_equal(
                    one.region(box, size, nearest), other.region(box, size, nearest)
                )
    np.testing.assert_array_equal(one.thumbnail(50), other.thumbnail(50))
    np.testing.assert_array_equal(
        one.read((100, 100), (32, 48), 3.9), other.read((100, 100), (32, 48), 3.9)
    )
    assert len(pickle.dumps(one)) < 500


@given(st.integers(-90, 400), st.integers(-90, 300), st.integers(1, 400), st.integers(1, 300))
@settings(deadline=None, max_examples=60)
def test_any_region_is_that_part_of_the_array(
    folder: Path, levels: list[np.ndarray], x: int, y: int, width: int, height: int
) -> None:
    slide = Jpeg2000Slide(folder / "interleaved.ome.tiff")
    for level, pixels in enumerate(levels):
        step = slide.level_downsamples[level]
        region = slide.read_region((round(x * step), round(y * step)), level, (width, height))
        rows, columns = y + np.arange(height), x + np.arange(width)
        inside = np.ix_(
            (rows >= 0) & (rows < pixels.shape[0]), (columns >= 0) & (columns < pixels.shape[1])
        )
        alpha = np.zeros((height, width), np.uint8)
        alpha[inside] = 255
        np.testing.assert_array_equal(region[..., 3], alpha)
        expected = pixels[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]
        np.testing.assert_array_equal(region[inside][..., :3], expected)


def test_levels(folder: Path) -> None:
    slide = Jpeg2000Slide(folder / "planes.ome.tiff")
    assert slide.level_dimensions == [(344, 208), (172, 104), (43, 26)]
    assert slide.level_downsamples == [1, 2, 8]
    assert [slide.get_best_level_for_downsample(d) for d in (0.5, 1, 1.9, 2, 99)] == [0, 0, 0, 1, 2]


@pytest.mark.parametrize("codec", CODECS)
def test_every_code_and_bigtiff(tmp_path: Path, levels: list[np.ndarray], codec: int) -> None:
    path = write(tmp_path / "a.tif", levels, codec=codec, big=True)
    np.testing.assert_array_equal(
        Slide(path).region((0, 0, WIDTH, HEIGHT), (HEIGHT, WIDTH)), levels[0]
    )


@pytest.mark.parametrize(
    ("size", "unit", "micrometres"), [(0.25, "µm", 0.25), (0.00025, "mm", 0.25), (250, "nm", 0.25)]
)
def test_micrometres_a_pixel(
    tmp_path: Path, levels: list[np.ndarray], size: float, unit: str, micrometres: float
) -> None:
    path = write(tmp_path / "a.ome.tif", levels[-1:], size=size, unit=unit)
    assert Slide(path).pixel_size == pytest.approx(micrometres)
    assert Slide(path, 0.7).pixel_size == 0.7


def test_an_unknown_unit_is_none(tmp_path: Path, levels: list[np.ndarray]) -> None:
    path = write(tmp_path / "a.ome.tif", levels[-1:], unit="pixel")
    with pytest.raises(DataError, match=r"a\.ome\.tif: no micrometres a pixel"):
        Slide(path).pixel_size  # noqa: B018


def test_threads(folder: Path) -> None:
    slide = Slide(folder / "planes.ome.tiff")
    boxes = [(x, y, x + 90, y + 70) for x in range(0, 300, 60) for y in range(0, 150, 50)]
    alone = [slide.region(box, (70, 90)) for box in boxes]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(
            alone, pool.map(lambda box: slide.region(box, (70, 90)), boxes), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_a_broken_tile_names_the_file_and_the_others_stay(
    tmp_path: Path, levels: list[np.ndarray]
) -> None:
    path = write(tmp_path / "a.ome.tiff", levels[:2])  # the coarser one tells the background
    with tifffile.TiffFile(path) as tiff:
        start, count = tiff.pages[0].dataoffsets[0], tiff.pages[0].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[start : start + count] = bytes(count)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.ome\.tiff: corrupt \(tile 0, 0 of level 0\)"):
        Slide(path).region((0, 0, 20, 20), (20, 20))
    np.testing.assert_array_equal(
        Slide(path).region((100, 100, 120, 120), (20, 20)), levels[0][100:120, 100:120]
    )


def test_a_truncated_file(tmp_path: Path, levels: list[np.ndarray]) -> None:
    path = write(tmp_path / "a.ome.tiff", levels)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"a\.ome\.tiff"):
        Slide(path).region((0, 0, WIDTH, HEIGHT), (20, 20))


def test_what_is_not_read(tmp_path: Path, levels: list[np.ndarray]) -> None:
    path = write(tmp_path / "a.tiff", levels[:1], codec=50001)
    message = r"a\.tiff: cannot be read as a slide \(Unsupported TIFF compression: 50001; no tiles"
    with pytest.raises(DataError, match=message):
        Slide(path).dimensions  # noqa: B018
    grey = tmp_path / "grey.tiff"
    with tifffile.TiffWriter(grey) as tiff:
        stream = codestream(np.zeros((TILE, TILE), np.uint8))
        tiff.write(
            iter([stream]),
            shape=(TILE, TILE),
            dtype=np.uint8,
            tile=(TILE, TILE),
            compression="deflate",
        )
    with tifffile.TiffFile(grey, mode="r+b") as tiff:
        tiff.pages[0].tags["Compression"].overwrite(33003)
    with pytest.raises(DataError, match="1 channels of 8 bits, not RGB"):
        Slide(grey).dimensions  # noqa: B018
