"""Patches of slides: what cutting costs beside openslide's bare reading of the same pixels.

A pyramid of JPEG tiles is made (levels at 1, 4 and 16, as scanners write them); the real files of
UMEDPT_TEST_DATA come along where it is set. Each draw of the training gives a place and a zoom;
`patches.cut` reads them, and the same calls (place, level, size) are then replayed on openslide
alone, `read_region` and nothing else, with a cache of tiles of the same size, empty at the start of
both. What cutting adds is the conversion from RGBA, the resizing to the zoom asked for, and the
drawing. Both take turns; rates are those of the processor, as medians. "cut and augment" is a patch
as the loader makes it, with the histology profile. "load" is what happens once a visit: finding
tissue. Memory is the proportional set size that cutting adds to a fresh process, at most, beside
what the decoded level 0 would take.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import openslide
import tifffile
from loader import memory

from umedpt_core import Patches, Slide, SlideCase, load_catalogue
from umedpt_core.data import patches, slides
from umedpt_core.data.augment import Augmentation
from umedpt_core.data.cache import Arrays
from umedpt_core.data.draw import Draw
from umedpt_core.data.tasks import TaskData
from umedpt_core.specs import resolve

EDGE, TILE, MPP, LEVELS = 16384, 256, 0.25, (1, 4, 16)
SIZE, ZOOMS, PATCHES, REPEATS = 512, (0.5, 2.0), 32, 5
REAL = ("CMU-1-Small-Region.svs", "test3-DAPI.ndpi")
MIB = 1 << 20

Call = tuple[tuple[int, int], int, tuple[int, int]]


def write_pyramid(path: Path) -> Path:
    """A slide with stained spots on glass, tile by tile."""
    rng = np.random.default_rng(0)
    small = cv2.GaussianBlur(rng.random((EDGE // 16, EDGE // 16), np.float32), None, 4)
    spots = (small > np.median(small))[..., None]
    coarse = np.where(spots, (140, 40, 130), (244, 242, 243)).astype(np.uint8)
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for downsample in LEVELS:
            edge = EDGE // downsample
            tiff.write(
                tiles(coarse, edge, rng),
                shape=(edge, edge, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="rgb",
                compression="zlib",
                subfiletype=int(downsample > 1),
                metadata=None,
                resolution=(1e4 / MPP, 1e4 / MPP),
                resolutionunit="CENTIMETER",
            )
    with tifffile.TiffFile(path, mode="r+b") as tiff:  # writing JPEG would need imagecodecs
        for page in tiff.pages:
            page.tags["Compression"].overwrite(tifffile.COMPRESSION.JPEG)
            page.tags["PhotometricInterpretation"].overwrite(tifffile.PHOTOMETRIC.YCBCR)
    return path


def tiles(coarse: np.ndarray, edge: int, rng: np.random.Generator) -> Any:
    """JPEG tiles of a level, row by row, with noise as tissue has texture."""
    span = TILE * len(coarse) // edge
    for top, left in np.ndindex(edge // TILE, edge // TILE):
        part = coarse[top * span :, left * span :][:span, :span]
        pixels = cv2.resize(part, (TILE, TILE), interpolation=cv2.INTER_LINEAR).astype(np.int16)
        pixels += rng.integers(-12, 12, (TILE, TILE, 1), np.int16)
        bgr = np.ascontiguousarray(pixels.clip(0, 255).astype(np.uint8)[..., ::-1])
        yield cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def make_task() -> TaskData:
    """Classification of patches with the histology profile."""
    catalogue = load_catalogue()
    return TaskData(
        name="slides",
        cases={},
        label=resolve(catalogue.find("label type", "classification").spec.factory)(("a", "b")),
        geometry="none",
        instances=Patches(size=SIZE, mpp=ZOOMS, per_case=PATCHES),
        intensity="uint8",
        augmentation=catalogue.find("augmentation", "histology").spec.image,
        volume_augmentation=None,
        batch_size=8,
    )


def forget() -> None:
    """Close all slides and drop their tiles."""
    slides._openers[:] = [slides._opener()]


def cut(task: TaskData, case: SlideCase, arrays: Arrays) -> list[np.ndarray]:
    """All patches of a visit, as the loader cuts them."""
    return [patches.cut(task, case, arrays, Draw(n, PATCHES, n, 0))[0] for n in range(PATCHES)]


def reads(task: TaskData, case: SlideCase, arrays: Arrays) -> list[Call]:
    """What cutting asks of openslide."""
    calls: list[Call] = []
    read = openslide.OpenSlide.read_region

    def spy(self: Any, location: Any, level: int, size: Any) -> Any:
        calls.append((location, level, size))
        return read(self, location, level, size)

    forget()
    Slide(case.path, case.mpp).background  # noqa: B018 - reads, once a slide
    with patch.object(openslide.OpenSlide, "read_region", spy):
        cut(task, case, arrays)
    return calls


def bare(path: Path, calls: Sequence[Call]) -> None:
    """The same, of openslide alone."""
    with openslide.OpenSlide(path) as slide:
        slide.set_cache(openslide.OpenSlideCache(slides.TILE_BYTES))
        for location, level, size in calls:
            slide.read_region(location, level, size)


def processor(act: Callable[[], Any]) -> float:
    """Processor seconds that something takes."""
    started = time.process_time()
    act()
    return time.process_time() - started


def added(task: TaskData, case: SlideCase) -> float:
    """MiB of PSS that loading and four visits add to a fresh process, at most."""

    def measure(found: Any) -> None:
        forget()
        before, most = memory(os.getpid())[0], 0.0
        arrays = patches.load(task, case, 0)
        for n in range(4 * PATCHES):
            patches.cut(task, case, arrays, Draw(n, 4 * PATCHES, n, 0))
            most = max(most, memory(os.getpid())[0] - before)
        found.send(most)

    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=measure, args=(there,))
    process.start()
    there.close()
    most: float = here.recv()
    process.join()
    return most


def row(task: TaskData, case: SlideCase) -> None:
    """Measure a slide and print."""
    most = added(task, case)  # before this process has any of it
    loading = processor(lambda: patches.load(task, case, 0))
    arrays = patches.load(task, case, 0)
    calls = reads(task, case, arrays)
    augment = Augmentation(task.augmentation, task.geometry)
    alone, cutting, whole = [], [], []
    for _ in range(REPEATS):
        alone.append(processor(lambda: bare(case.path, calls)))
        forget()
        images: list[np.ndarray] = []
        cutting.append(processor(lambda: images.extend(cut(task, case, arrays))))  # noqa: B023
        moving = processor(lambda: [augment(image, 0, n) for n, image in enumerate(images)])  # noqa: B023
        whole.append(cutting[-1] + moving)
    ratio = median(a / b for a, b in zip(alone, cutting, strict=True))
    pixels = sum(size[0] * size[1] for *_, size in calls) / PATCHES / SIZE**2
    width, height = case.image.dimensions
    print(
        f"{case.id:24}{PATCHES / median(alone):9.1f}{PATCHES / median(cutting):9.1f}{ratio:7.2f}"
        f"{PATCHES / median(whole):19.1f}{pixels:13.1f}{1000 * loading:9.0f}"
        f"{most:9.0f} of {width * height * 3 / MIB:.0f}"
    )


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    cv2.setNumThreads(0)
    task, root = make_task(), os.environ.get("UMEDPT_TEST_DATA")
    print(
        f"{PATCHES} patches of {SIZE} px at {ZOOMS[0]} to {ZOOMS[1]} micrometres a pixel; load of "
        f"the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    print(
        f"{'':24}{'bare/s':>9}{'cut/s':>9}{'ratio':>7}{'cut and augment/s':>19}"
        f"{'pixels read':>13}{'load ms':>9}{'MiB of level 0':>19}"
    )
    with tempfile.TemporaryDirectory() as name:
        path = write_pyramid(Path(name, "pyramid.tiff"))
        row(task, SlideCase("pyramid", "1", path, 0, MPP))
        for file in REAL if root else ():
            real = Path(root or "", "wsi", file)
            instances = Patches(size=SIZE, mpp=ZOOMS, per_case=PATCHES)
            row(replace(task, instances=instances), SlideCase(file, file, real, 0))
    if not root:
        print("UMEDPT_TEST_DATA is not set: no real slides")


if __name__ == "__main__":
    main()
