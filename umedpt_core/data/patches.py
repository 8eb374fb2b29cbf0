"""Patches of slides at random places of their tissue and at random zoom (paper: Data loading)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..label_type import IGNORE
from ..specs import Patches
from .cache import Arrays
from .cases import Case
from .draw import Draw
from .intensity import apply_rule
from .polygons import Polygons
from .slides import Box, Slide
from .tissue import find_tissue

if TYPE_CHECKING:
    from .tasks import TaskData

THUMBNAIL = 1024
"""The longer edge in pixels, at most, of the map from which places are drawn."""
GOLDEN = 0.618034
"""Its multiples fill an interval evenly, however many there are."""
VISIBLE = 0.1
"""Boxes with less of their area in the patch are left out."""


def load(task: TaskData, case: Case, seed: int | None) -> Arrays:
    """What there is to know of a slide before patches are cut: small, as no pixels are kept.

    Args:
        task: Patches are its instances.
        case: Its image is a :class:`umedpt_core.Slide`.
        seed: Has no effect: slides are not augmented as a whole.

    Returns:
        ``tissue``: N x 2 uint16, the pixels (x, y) of a thumbnail that hold tissue; ``scale``:
        level-0 pixels a pixel of the thumbnail, along x and y. ``foreground``, where the task asks
        for it: M x 2, those that hold foreground. For polygons and boxes, see :func:`_pack`.

    Raises:
        DataError: The slide has no tissue, or it or its target cannot be used.
        ConfigError: The task's targets have no foreground, or no place on slides.
    """
    spec = task.instances
    assert isinstance(spec, Patches)  # noqa: S101
    slide = _slide(case)
    slide.pixel_size  # noqa: B018 - raises here rather than in every patch
    tissue = find_tissue(slide.thumbnail(THUMBNAIL), slide.background)
    if not tissue.any():
        raise DataError(f"{slide.path}: no tissue found; leave the slide out")
    size = tissue.shape[0], tissue.shape[1]
    arrays = {"tissue": _places(tissue), "scale": np.array(slide.dimensions) / size[::-1]}
    if task.geometry == "none":
        return arrays
    arrays |= _target(task, case, slide)
    if spec.foreground:
        whole = (0, 0, *slide.dimensions)
        if task.geometry == "boxes":
            mask = _rasterise(arrays | {"labels": np.ones_like(arrays["labels"])}, whole, size)
        else:
            mask = _mask(case, slide, arrays, whole, size)
        arrays["foreground"] = _places((mask > 0) & (mask != IGNORE))
    return arrays


def cut(task: TaskData, case: Case, arrays: Arrays, draw: Draw) -> tuple[NDArray[Any], Any, int]:
    """A patch with its target, and the number of annotations that were dropped.

    In training, place and zoom are drawn; in evaluation, they are spread evenly over the tissue
    and the range of the zoom. A patch shifts to lie within the slide, or around it where it is the
    larger.

    Returns:
        H x W x 3, uint8 or float32 in [0, 1]; the checked target; the number.

    Raises:
        DataError: The slide cannot be read there, or the target does not fit.
    """
    spec = task.instances
    assert isinstance(spec, Patches)  # noqa: S101
    slide = _slide(case)
    size = (spec.size, spec.size) if isinstance(spec.size, int) else spec.size
    place, zoom = _draw(arrays, spec, draw)
    half = np.array(size[::-1]) * (zoom / slide.pixel_size / 2)
    limit = np.array(slide.dimensions)
    center = place.clip(np.minimum(half, limit - half), np.maximum(half, limit - half))
    x0, y0, x1, y1 = (*(center - half), *(center + half))
    box = (x0, y0, x1, y1)
    image = apply_rule(task.rule(case), slide.region(box, size))
    if task.geometry == "mask":
        target: Any = _mask(case, slide, arrays, box, size)
    elif task.geometry == "boxes":
        target = _boxes_in(arrays, box, size)
    else:
        target = case.target
    try:
        target, dropped = task.label.check(target, size)
    except ValueError as error:
        raise DataError(f"{slide.path}: {error}") from error
    return image, target, dropped


def _slide(case: Case) -> Slide:
    slide: Any = case.image
    if not isinstance(slide, Slide):
        raise DataError(f"the image is a {type(slide).__name__}, not a Slide; see SlideCase")
    return slide


def _places(found: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """N x 2: the pixels (x, y) of a map that are True, row by row."""
    return np.argwhere(found)[:, ::-1].astype(np.uint16)


def _target(task: TaskData, case: Case, slide: Slide) -> Arrays:
    """Check the raw target; polygons and boxes are read into arrays."""
    target = case.target
    classes = task.label.classes
    if task.geometry == "mask" and isinstance(target, Slide):
        _check_shape(slide, target)
        return {}
    if task.geometry in ("mask", "boxes") and isinstance(target, Polygons):
        # The one class of a mask is its foreground, 1.
        first = int(task.geometry == "mask" and len(classes) == 1)
        found = target.read({name: index for index, name in enumerate(classes, first)})
        return _pack([rings for rings, _ in found], [index for _, index in found])
    if task.geometry == "boxes" and isinstance(target, dict):
        boxes = np.asarray(target["boxes"], np.float32).reshape(-1, 4)
        corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]
        return _pack([[ring] for ring in corners], target["labels"])
    raise DataError(
        f"{slide.path}: a {type(target).__name__} is no target for {task.geometry} on slides; "
        "see SlideCase"
    )


def _pack(polygons: Sequence[Sequence[NDArray[np.float32]]], labels: Any) -> Arrays:
    """Polygons, each a list of rings, as few arrays, in level-0 pixels.

    Returns:
        ``points``: P x 2 float32, the rings one after the other; ``rings``: R + 1, where each
        starts in the points; ``polygons``: N + 1, where each starts in the rings; ``boxes``: N x 4
        float32 xyxy, their bounds; ``labels``: N indices.

    """
    rings = [ring for polygon in polygons for ring in polygon]
    bounds = [(*polygon[0].min(0), *polygon[0].max(0)) for polygon in polygons]
    return {
        "points": np.concatenate([*rings, np.empty((0, 2), np.float32)]),
        "rings": np.cumsum([0, *map(len, rings)]),
        "polygons": np.cumsum([0, *map(len, polygons)]),
        "boxes": np.array(bounds, np.float32).reshape(-1, 4),
        "labels": np.asarray(labels, np.int64).reshape(-1),
    }


def _check_shape(slide: Slide, mask: Slide) -> None:
    """A mask may be smaller by any factor, rounded to whole pixels, but the same in both axes."""
    (width, height), (mask_width, mask_height) = slide.dimensions, mask.dimensions
    expected = mask_width * height / width
    if abs(mask_height - expected) > 1 + expected / mask_width:
        raise DataError(
            f"{mask.path}: {mask_width} x {mask_height} does not fit the slide {slide.path.name} "
            f"of {width} x {height}"
        )


def _draw(arrays: Arrays, spec: Patches, draw: Draw) -> tuple[NDArray[np.float64], float]:
    """A place (x, y) in level-0 pixels and a zoom in micrometres a pixel."""
    places = arrays["tissue"]
    if draw.seed is None:
        index = int((draw.number + 0.5) / draw.of * len(places))
        within, share = np.array([0.5, 0.5]), (0.5 + draw.number * GOLDEN) % 1
    else:
        rng = np.random.default_rng(draw.seed)
        if rng.random() < spec.foreground and len(arrays["foreground"]):
            places = arrays["foreground"]
        index, within, share = int(rng.integers(len(places))), rng.random(2), rng.random()
    finest, coarsest = spec.mpp
    return (places[index] + within) * arrays["scale"], finest * (coarsest / finest) ** share


def _mask(
    case: Case, slide: Slide, arrays: Arrays, box: Box, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Class indices, H x W; a mask slide lies over the slide corner on corner."""
    if "points" in arrays:
        return _rasterise(arrays, box, size)
    mask = case.target
    ratio = np.array(mask.dimensions) / slide.dimensions
    x0, y0, x1, y1 = np.array(box) * np.tile(ratio, 2)
    indices: NDArray[np.uint8] = mask.classes((x0, y0, x1, y1), size)
    return indices


def _rasterise(arrays: Arrays, box: Box, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Polygons over background 0, H x W; the later in the file lie above the earlier."""
    mask = np.zeros(size, np.uint8)
    corner, scale = _frame(box, size)
    bounds = arrays["boxes"]
    crossed = (bounds[:, :2] < box[2:]).all(1) & (bounds[:, 2:] > box[:2]).all(1)
    for polygon in np.flatnonzero(crossed):
        first, last = arrays["polygons"][polygon : polygon + 2]
        ends = arrays["rings"][first : last + 1]
        points = (arrays["points"][ends[0] : ends[-1]] - corner) * scale - 0.5
        # OpenCV counts from pixel centers, here in 16ths of a pixel; rings in rings are holes.
        rings = np.split(np.rint(points * 16).astype(np.int32), ends[1:-1] - ends[0])
        cv2.fillPoly(mask, rings, int(arrays["labels"][polygon]), shift=4)
    return mask


def _boxes_in(arrays: Arrays, box: Box, size: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """The boxes that are enough in the patch to be seen, clipped to it."""
    corner, scale = _frame(box, size)
    boxes = (arrays["boxes"] - np.tile(corner, 2)) * np.tile(scale, 2)
    clipped = boxes.clip(0, np.tile(size[::-1], 2))
    whole, inside = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (boxes, clipped))
    touched = (boxes[:, :2] < size[::-1]).all(1) & (boxes[:, 2:] > 0).all(1)
    seen = touched & (inside >= VISIBLE * whole)
    return {"boxes": clipped[seen].astype(np.float32), "labels": arrays["labels"][seen]}


def _frame(box: Box, size: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The upper left corner of a patch, and its pixels a level-0 pixel, along x and y."""
    corner = np.array(box[:2])
    return corner, np.array(size[::-1]) / (np.array(box[2:]) - corner)
