import cv2
import numpy as np
import pytest

from umedpt_core.data.augment import Augmentation
from umedpt_core.testing import Conformance

PROFILE = "umedpt_augment_cxr.profile:image_transforms"
H, W = 72, 96
MASK = cv2.ellipse(np.zeros((H, W), np.uint8), (40, 30), (16, 9), 0, 0, 360, 1, -1)
IMAGE = np.where(MASK[..., None] > 0, 230, 20).repeat(3, axis=2).astype(np.uint8)
TARGETS = {
    "none": 1,
    "mask": MASK,
    "boxes": {"boxes": np.array([[24, 21, 57, 40]], np.float32), "labels": np.array([2])},
    "keypoints": {"keypoints": np.array([[40, 30]], np.float32), "labels": np.array([2])},
}
augmentations = {geometry: Augmentation(PROFILE, geometry) for geometry in TARGETS}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("geometry", TARGETS)
def test_type_shape_and_range_are_kept(geometry, dtype):
    image = IMAGE if dtype == np.uint8 else IMAGE.astype(np.float32) / 255
    for seed in range(20):
        moved, _ = augmentations[geometry](image, TARGETS[geometry], seed)
        assert (moved.shape, moved.dtype) == (image.shape, dtype)
        assert moved.min() >= 0
        assert moved.max() <= (255 if dtype == np.uint8 else 1)


def test_the_seed_decides_everything():
    results = [augmentations["mask"](IMAGE, MASK, seed) for seed in [*range(10), *range(10)]]
    for first, second in zip(results[:10], results[10:], strict=True):
        assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert len({image.tobytes() for image, _ in results}) >= 8


def test_mask_boxes_and_keypoints_move_with_the_image():
    for seed in range(40):
        image, mask = augmentations["mask"](IMAGE, MASK, seed)
        rows, columns = np.nonzero(mask == 1)
        inside, outside = image[mask == 1].mean(), image[mask == 0].mean()
        assert abs(inside - outside) > 80  # brighter, or darker where inverted
        same, boxes = augmentations["boxes"](IMAGE, TARGETS["boxes"], seed)
        assert (same == image).all()
        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(boxes["boxes"], [tight], atol=2)
        _, points = augmentations["keypoints"](IMAGE, TARGETS["keypoints"], seed)
        np.testing.assert_allclose(points["keypoints"], [[columns.mean(), rows.mean()]], atol=1)


def test_three_in_ten_are_inverted_whatever_else_happens():
    mask = (np.arange(H * W) % 251).astype(np.uint8).reshape(H, W)
    inverted, moved = [], []
    for seed in range(600):
        image, moved_mask = augmentations["mask"](IMAGE, mask, seed)
        inverted.append(image[30, 40].mean() < 128)
        moved.append((moved_mask != mask).any())
    inverted, moved = np.array(inverted), np.array(moved)
    assert 0.25 < inverted.mean() < 0.35
    assert abs(inverted[moved].mean() - inverted[~moved].mean()) < 0.1


class TestConformance(Conformance):
    distribution = "umedpt-augment-cxr"
