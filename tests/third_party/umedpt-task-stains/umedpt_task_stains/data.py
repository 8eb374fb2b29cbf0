"""Slides in a folder; NAME.geojson outlines the region of NAME.svs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tifffile

from umedpt_core import Polygons, SlideCase

SUFFIXES = (".svs", ".ndpi", ".tiff")


def open_classification(root: Path, split: str, options: None) -> list[SlideCase]:
    """All slides: 1 where it shines on black, by the file's name."""
    return [SlideCase(p.name, p.stem, p, int(_is_dark(p))) for p in _slides(root)]


def open_segmentation(root: Path, split: str, options: None) -> list[SlideCase]:
    """The slides that have polygons."""
    return [
        SlideCase(path.name, path.stem, path, Polygons(path.with_suffix(".geojson")))
        for path in _slides(root)
        if path.with_suffix(".geojson").is_file()
    ]


def _slides(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.suffix in SUFFIXES)


def _is_dark(path: Path) -> bool:
    return path.suffix == ".ndpi" or path.stem.endswith("-dark")


def make_fake(root: Path, seed: int) -> None:
    """Write ten pyramids of 512 x 384 pixels: one round piece of tissue each, outlined."""
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:384, :512]
    for number in range(10):
        dark = number % 2
        center, radius = rng.integers((180, 150), (330, 230)), rng.integers(90, 130)
        tissue = np.hypot(x - center[0], y - center[1]) < radius
        slide = np.full((384, 512, 3), 5 if dark else 240, np.uint8)
        slide[tissue] = (40, 60, 190) if dark else (190, 80, 150)
        slide += rng.integers(0, 12, slide.shape, np.uint8)
        name = f"slide{number}-dark" if dark else f"slide{number}"
        with tifffile.TiffWriter(root / f"{name}.tiff") as file:
            facts = {"photometric": "rgb", "tile": (128, 128), "compression": "deflate"}
            scale = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
            file.write(slide, subifds=0, metadata=None, **facts, **scale)
            file.write(slide[::2, ::2], subfiletype=1, metadata=None, **facts)
        angles = np.linspace(0, 2 * np.pi, 40)
        ring = center + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        outline = {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()]]},
            "properties": {"classification": {"name": "region"}},
        }
        text = json.dumps({"type": "FeatureCollection", "features": [outline]})
        (root / f"{name}.geojson").write_text(text)
