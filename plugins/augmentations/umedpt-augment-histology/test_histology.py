import cv2
import numpy as np
import pytest

from umedpt_core.data.augment import Augmentation
from umedpt_core.testing import Conformance

PROFILE = "umedpt_augment_histology.profile:image_transforms"
SQUARE, OBLONG = (72, 72), (72, 96)
GEOMETRIES = ("none", "mask", "boxes", "keypoints")
augmentations = {geometry: Augmentation(PROFILE, geometry) for geometry in GEOMETRIES}


def scene(size):
    """A bright, purple ellipse up on the left: image and targets."""
    mask = cv2.ellipse(np.zeros(size, np.uint8), (26, 28), (16, 9), 0, 0, 360, 1, -1)
    image = np.where(mask[..., None] > 0, (230, 150, 200), (20, 20, 20)).astype(np.uint8)
    labels = np.array([2])
    return image, {
        "none": 1,
        "mask": mask,
        "boxes": {"boxes": np.array([[10, 19, 43, 38]], np.float32), "labels": labels},
        "keypoints": {"keypoints": np.array([[26, 28]], np.float32), "labels": labels},
    }


@pytest.mark.parametrize("size", [SQUARE, OBLONG])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_type_shape_and_range_are_kept(geometry, dtype, size):
    image, targets = scene(size)
    image = image if dtype == np.uint8 else image.astype(np.float32) / 255
    for seed in range(20):
        moved, _ = augmentations[geometry](image, targets[geometry], seed)
        assert (moved.shape, moved.dtype) == (image.shape, dtype)
        assert moved.min() >= 0
        assert moved.max() <= (255 if dtype == np.uint8 else 1)


@pytest.mark.parametrize("size", [SQUARE, OBLONG])
def test_mask_boxes_and_keypoints_move_with_the_image(size):
    image, targets = scene(size)
    for seed in range(40):
        moved, mask = augmentations["mask"](image, targets["mask"], seed)
        rows, columns = np.nonzero(mask == 1)
        assert moved[mask == 1].mean() - moved[mask == 0].mean() > 80
        same, boxes = augmentations["boxes"](image, targets["boxes"], seed)
        assert (same == moved).all()
        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(boxes["boxes"], [tight], atol=2)
        _, points = augmentations["keypoints"](image, targets["keypoints"], seed)
        np.testing.assert_allclose(points["keypoints"], [[columns.mean(), rows.mean()]], atol=1)


@pytest.mark.parametrize(("size", "ways"), [(SQUARE, 8), (OBLONG, 4)])
def test_patches_turn_and_flip_as_far_as_their_shape_allows(size, ways):
    mask = np.arange(4, dtype=np.uint8).reshape(2, 2).repeat(36, 0).repeat(size[1] // 2, 1)
    seen = []
    for seed in range(200):
        moved = augmentations["mask"](scene(size)[0], mask, seed)[1]
        seen.append(tuple(moved[18::36, size[1] // 4 :: size[1] // 2].ravel().tolist()))
    assert len(set(seen)) == ways
    assert min(seen.count(way) for way in set(seen)) > 200 / ways / 2


def test_three_in_ten_have_their_channels_shuffled():
    """Five of the six orders are another one."""
    image = np.full((*SQUARE, 3), (200, 120, 40), np.uint8)
    orders = [
        augmentations["none"](image, 1, seed)[0].mean((0, 1)).argsort() for seed in range(400)
    ]
    changed = np.mean([tuple(order) != (2, 1, 0) for order in orders])
    assert 0.18 < changed < 0.32


def test_the_seed_decides_everything():
    image, targets = scene(SQUARE)
    results = [
        augmentations["mask"](image, targets["mask"], seed) for seed in [*range(10), *range(10)]
    ]
    for first, second in zip(results[:10], results[10:], strict=True):
        assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert len({image.tobytes() for image, _ in results}) >= 8


class TestConformance(Conformance):
    distribution = "umedpt-augment-histology"
