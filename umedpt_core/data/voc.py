"""Boxes in the XML format of Pascal VOC."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
from defusedxml import ElementTree
from numpy.typing import NDArray

from ..errors import DataError

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(path: Path, classes: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    """Read the boxes and the classes of one annotation.

    VOC counts pixels from 1 and includes the last one. Here an edge lies between pixels: the box
    of the first pixel is 0, 0, 1, 1. An object whose corners coincide is a click, not a thing; it
    keeps an area of 0, so that the label type drops and counts it.

    Args:
        path: The file.
        classes: The names that objects may have, and their indices.

    Returns:
        A raw target of detection: ``boxes``, N x 4 float32 (x0, y0, x1, y1) in pixels; ``labels``,
        N int64.

    Raises:
        DataError: The file is missing or is no VOC annotation, or a class is unknown.
    """
    labels, corners = [], []
    try:
        for item in ElementTree.parse(path).getroot().iterfind("object"):
            labels.append(classes[item.findtext("name")])
            corners.append([float(item.findtext(f"bndbox/{corner}")) for corner in CORNERS])
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; check that the dataset is complete") from error
    except KeyError as error:
        raise DataError(f"{path}: unknown class {error}; known are {', '.join(classes)}") from error
    except (ParseError, TypeError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a VOC annotation ({error})") from error
    boxes = np.array(corners, np.float32).reshape(-1, 4)
    is_click = (boxes[:, :2] == boxes[:, 2:]).all(axis=1)
    boxes[:, :2] -= 1
    boxes[is_click, 2:] -= 1
    return {"boxes": boxes, "labels": np.array(labels, np.int64)}
