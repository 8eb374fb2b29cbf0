"""Polygons drawn on a slide."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError


@dataclass(frozen=True, slots=True)
class Polygons:
    """Polygons drawn on a slide, in a GeoJSON file as QuPath exports it.

    It holds a FeatureCollection or a list of features, Polygons and MultiPolygons in level-0
    pixels, each of the class that ``properties.classification.name``, ``label`` or ``name`` names.

    Attributes:
        path: The file.
    """

    path: Path

    def read(self, classes: Mapping[str, int]) -> list[tuple[list[NDArray[np.float32]], int]]:
        """Each polygon's rings, N x 2 points (x, y), the outer one first, and its class's index.

        Raises:
            DataError: The file is missing or no such GeoJSON, or names others than ``classes``.
        """
        try:
            content = json.loads(self.path.read_bytes())
            features = content["features"] if isinstance(content, dict) else content
            found = [polygon for feature in features for polygon in _polygons(feature)]
        except FileNotFoundError as error:
            raise DataError(
                f"{self.path}: no such file; check that the annotations are complete"
            ) from error
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise DataError(f"{self.path}: no GeoJSON as of QuPath ({error!r})") from error
        if unknown := sorted({name for _, name in found} - set(classes)):
            raise DataError(f"{self.path}: classes {unknown} are none of the task's {[*classes]}")
        return [(rings, classes[name]) for rings, name in found]


def _polygons(feature: Any) -> list[tuple[list[NDArray[np.float32]], str]]:
    """The parts of a feature, each its rings and the name of its class."""
    facts, points = feature.get("properties") or {}, feature["geometry"]["coordinates"]
    name = (facts.get("classification") or facts).get("name") or facts.get("label") or ""
    parts = {"Polygon": [points], "MultiPolygon": points}[feature["geometry"]["type"]]
    rings = [[np.asarray(ring, np.float32)[:, :2] for ring in part] for part in parts]
    if not all(p and all(len(r) > 2 and np.isfinite(r).all() for r in p) for p in rings):
        raise ValueError("a polygon without three finite points")
    return [(part, str(name)) for part in rings]
