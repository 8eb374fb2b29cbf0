"""Volumes, masks and boxes move together, by one interpolation, as the seed says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from umedpt_core.data.augment3d import VolumeAugmentation
from umedpt_core.errors import ConfigError

pytest.importorskip("monai", reason="needs umedpt-core[volumes]")

from monai.transforms import (
    MapTransform,
    OneOf,
    Rand3DElasticd,
    RandAffined,
    RandAxisFlipd,
    RandRotate90d,
    RandSpatialCropd,
    RandSpatialCropSamplesd,
    RandZoomd,
    SpatialPadd,
)

KEYS = ("image", "mask")
ANY = {"allow_missing_keys": True}
SHAPE = (24, 36, 30)
BLOCK = (slice(8, 14), slice(12, 22), slice(10, 20))
BOXES = {"boxes": np.array([[8, 12, 10, 14, 22, 20]], np.float32), "labels": np.array([3])}
AFFINE = np.array([[0, 0, -1, 40], [0, -1.5, 0, 3], [-2, 0, 0, 7], [0, 0, 0, 1]], np.float64)
TOMOGRAPHY = "umedpt_augment_tomography.profile:volume_transforms"
MODES = {"mode": ("bilinear", "bilinear"), "padding_mode": "border"}  # both wrong for a mask


def affine():
    return [
        RandAffined(KEYS, prob=1, rotate_range=[0.4] * 3, scale_range=[0.2] * 3, **MODES, **ANY)
    ]


def half():
    return [RandAffined(KEYS, prob=0.5, rotate_range=0.5, **ANY)]


def mixed():
    crop = RandSpatialCropd(KEYS, (16, 20, 18), random_size=False, **ANY)
    return [RandRotate90d(KEYS, 0.7, spatial_axes=(0, 2), **ANY), *affine(), crop]


def turned():
    crop = RandSpatialCropd(KEYS, 10, random_size=True, **ANY)
    return [RandRotate90d(KEYS, 0.7, 3, (0, 2), **ANY), RandAxisFlipd(KEYS, 0.7, **ANY), crop]


def chosen():
    return [OneOf([affine()[0], RandZoomd(KEYS, 1, 0.7, 0.8, padding_mode="edge", **ANY)])]


def elastic():
    strong = {"sigma_range": (3, 4), "magnitude_range": (200, 300), "prob": 1}
    return [Rand3DElasticd(KEYS, **strong, **MODES, **ANY), RandAxisFlipd(KEYS, 0.5, **ANY)]


def padded():
    return [SpatialPadd(KEYS, (30, 40, 40), mode="reflect", **ANY)]


def bright():
    return [Bright(KEYS[:1], **ANY)]


class Bright(MapTransform):
    def __call__(self, data):
        return {**data, "image": data["image"] * 3 - 0.5}


def demanding():
    return [RandAxisFlipd(KEYS, 0.5)]


def plain():
    return [torch.relu]


def misspelt():
    return [RandAxisFlipd(KEYS, probability=0.5)]


def several():
    return [RandSpatialCropSamplesd(KEYS, 8, 2, **ANY)]


def apart():
    return [RandAxisFlipd(KEYS[:1], 1, **ANY)]


MOVING = ("affine", "mixed", "chosen", "elastic", "padded")


def augmentation(name, spacing=None):
    return VolumeAugmentation(name if ":" in name else f"{__name__}:{name}", spacing)


def scene(channels=1):
    mask = np.zeros(SHAPE, np.uint8)
    mask[BLOCK] = 1
    image = np.where(mask, 0.9, 0.3).astype(np.float32)[..., None].repeat(channels, axis=3)
    return image, mask


@pytest.mark.parametrize("spacing", [None, 1.2])
@pytest.mark.parametrize("name", [*MOVING, TOMOGRAPHY])
def test_image_and_mask_move_together(name, spacing):
    augment, seen = augmentation(name, spacing), 0
    image, mask = scene(channels=2)
    for seed in range(6):
        moved, moved_mask, _, _ = augment(image, mask, None, AFFINE, seed)
        assert (moved.shape, moved.dtype) == ((*moved_mask.shape, 2), np.float32)
        assert moved.flags.c_contiguous
        assert moved_mask.flags.c_contiguous
        assert moved_mask.dtype == np.uint8
        assert moved.min() >= 0
        assert moved.max() <= 1
        assert (moved[..., 0] == moved[..., 1]).all()
        if name != "padded":  # which mirrors the image, but not the mask
            assert set(np.unique(moved_mask)) <= {0, 1, 255}
            inside = moved_mask == 1
            bright = (moved[..., 0] > 0.6) & (moved_mask != 255)
            assert (bright & inside).sum() >= 0.75 * (bright | inside).sum()
            if inside.sum() > 50:
                centers = [np.argwhere(region).mean(0) for region in (bright, inside)]
                np.testing.assert_allclose(*centers, atol=0.6)
                seen += 1
    assert seen > 2 or name == "padded"


@pytest.mark.parametrize("name", ["affine", "mixed", "chosen", TOMOGRAPHY])
def test_boxes_follow_the_block(name):
    augment, mask = augmentation(name), scene()[1]
    checked = 0
    for seed in range(12):
        image, moved, boxes, _ = augment(scene()[0], mask, BOXES, AFFINE, seed)
        places = np.argwhere(moved == 1)
        if not len(boxes["boxes"]):
            assert not len(places)
            continue
        (box,) = boxes["boxes"]
        assert boxes["boxes"].dtype == np.float32
        assert boxes["labels"].tolist() == [3]
        assert (box[:3] >= 0).all()
        assert (box[3:] <= image.shape[:3]).all()
        if len(places):
            tight = np.concatenate([places.min(0), places.max(0) + 1])
            np.testing.assert_allclose(box, tight, atol=1.5)
            checked += 1
    assert checked > 5


def test_boxes_outside_take_their_labels_along():
    boxes = {
        "boxes": np.array([[3, 5, 4, 5, 7, 6], [8, 12, 10, 14, 22, 20]], np.float32),
        "labels": np.array([7, 8]),
    }
    augment = augmentation("mixed")
    labels = {
        tuple(augment(scene()[0], None, boxes, AFFINE, seed).boxes["labels"]) for seed in range(30)
    }
    assert labels <= {(7, 8), (8,), (7,), ()}
    assert {(8,), (7, 8)} <= labels


@pytest.mark.parametrize("name", MOVING)
def test_what_comes_from_outside_is_unknown_not_background(name):
    image, mask = np.full((*SHAPE, 1), 0.5, np.float32), np.full(SHAPE, 4, np.uint8)
    mask[0, 0, 0] = 255
    augment = augmentation(name)
    values = [set(np.unique(augment(image, mask, None, AFFINE, seed).mask)) for seed in range(6)]
    assert {4, 255} in values
    assert all(value <= {4, 255} for value in values)


def test_the_image_is_dark_where_the_mask_is_unknown():
    image, mask = np.full((*SHAPE, 1), 0.5, np.float32), np.zeros(SHAPE, np.uint8)
    moved = augmentation("affine")(image, mask, None, AFFINE, 1)
    outside = moved.mask == 255
    assert outside.mean() > 0.05
    assert moved.image[outside].max() < 0.25 + 1e-3  # linear: half of it remains at the very face
    assert moved.image[outside].mean() < 0.1
    assert moved.image[~outside].min() > 0.05


@pytest.mark.parametrize("name", ["affine", "mixed", "chosen", "elastic", TOMOGRAPHY])
def test_the_seed_decides_everything(name):
    image, mask = scene()
    kept, again = image.copy(), augmentation(name, 1.2)
    image.setflags(write=False)  # as from a cache
    augment, results = augmentation(name, 1.2), []
    for seed in [0, 1, 2, 2**64 + 3, 2**64 + 4]:
        first, second = (a(image, mask, BOXES, AFFINE, seed) for a in (augment, again))
        assert (first.image == second.image).all()
        assert (first.mask == second.mask).all()
        assert (first.affine == second.affine).all()
        results.append(first.image.tobytes())
    assert len(set(results)) == 5
    assert (image == kept).all()


def test_the_number_of_threads_changes_no_bit():
    image, mask = scene(channels=3)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            results.append(augmentation(TOMOGRAPHY, 1.3)(image, mask, None, AFFINE, 5))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert (results[0].image == other.image).all()
        assert (results[0].mask == other.mask).all()


def test_whether_a_transform_acts_and_what_it_does_are_drawn_independently():
    """With MONAI's own seeding, the block only ever turned one way."""
    image, ways = scene()[0], []
    augment = augmentation("half")
    for seed in range(40):
        affine = augment(image, None, None, AFFINE, seed).affine
        ways.append(np.sign(np.linalg.solve(AFFINE, affine)[1, 2].round(6)))
    assert min(ways.count(way) for way in (-1, 0, 1)) >= 5


def test_evaluation_only_resamples():
    image, mask = scene()
    plain = augmentation(TOMOGRAPHY)(image, mask, BOXES, AFFINE, None)
    assert (plain.image == image).all()
    assert (plain.mask == mask).all()
    assert (plain.boxes["boxes"] == BOXES["boxes"]).all()
    assert (plain.affine == AFFINE).all()
    moved = augmentation(TOMOGRAPHY, 1.0)(image, mask, BOXES, AFFINE, None)
    nothing = VolumeAugmentation(None, 1.0)(image, mask, BOXES, AFFINE, 7)
    assert (moved.image == nothing.image).all()


def test_resampling_gives_cubic_voxels_and_keeps_places_in_mm():
    image, mask = scene()
    moved = VolumeAugmentation(None, 0.5)(image, mask, BOXES, AFFINE, None)
    assert moved.image.shape == (93, 106, 59, 1)  # from the first center to the last
    np.testing.assert_allclose(np.linalg.norm(moved.affine[:3, :3], axis=0), 0.5)

    def center(mask, affine):
        return affine[:3, :3] @ np.argwhere(mask == 1).mean(0) + affine[:3, 3]

    np.testing.assert_allclose(center(mask, AFFINE), center(moved.mask, moved.affine), atol=0.3)
    places = np.argwhere(moved.mask == 1)
    tight = np.concatenate([places.min(0), places.max(0) + 1])
    np.testing.assert_allclose(moved.boxes["boxes"], [tight], atol=1)
    assert (moved.mask == 255).mean() == 0


def test_flips_turns_and_crops_change_no_value():
    rng = np.random.default_rng(0)
    image = rng.random((*SHAPE, 2), dtype=np.float32)
    whole = {tuple(voxel) for voxel in image.reshape(-1, 2)}
    moved = VolumeAugmentation(f"{__name__}:turned", None)
    shapes = set()
    for seed in range(8):
        result = moved(image[:, ::-1], None, None, AFFINE, seed)
        assert {tuple(voxel) for voxel in result.image.reshape(-1, 2)} <= whole
        shapes.add(result.image.shape)
    assert len(shapes) > 1


def test_values_stay_in_range():
    moved = augmentation("bright")(scene()[0], None, None, AFFINE, 0).image
    assert (moved.min(), moved.max()) == (np.float32(0.3) * 3 - np.float32(0.5), 1)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("demanding", "RandAxisFlipd needs allow_missing_keys=True"),
        ("plain", "no dictionary transform"),
        ("misspelt", "probability"),
    ],
)
def test_what_does_not_compose_is_a_configuration_error(name, says):
    with pytest.raises(ConfigError, match=says) as caught:
        augmentation(name)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"), [("several", "RandSpatialCropSamplesd does not"), ("apart", "apart")]
)
def test_what_gives_no_volume_is_a_configuration_error(name, says):
    with pytest.raises(ConfigError, match=says):
        augmentation(name)(*scene(), None, AFFINE, 0)


def test_a_volume_of_one_slice_is_no_exception():
    image, mask = (array[:1] for array in scene())
    for seed in range(4):
        moved = augmentation(TOMOGRAPHY, 1.0)(image, mask, None, AFFINE, seed)
        assert moved.image.shape[0] == 1
