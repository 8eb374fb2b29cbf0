import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umedpt_core.data.augment import Augmentation
from umedpt_core.testing import Conformance

PROFILE = "umedpt_augment_weak.profile:image_transforms"
H, W = 72, 96
NO_TARGET = {
    "none": 1,
    "mask": np.zeros((H, W), np.uint8),
    "boxes": {"boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64)},
    "keypoints": {"keypoints": np.zeros((0, 2), np.float32), "labels": np.zeros(0, np.int64)},
}
augmentations = {geometry: Augmentation(PROFILE, geometry) for geometry in NO_TARGET}


def scene(x, y):
    """A bright ellipse on dark ground: image, mask, boxes."""
    mask = cv2.ellipse(np.zeros((H, W), np.uint8), (x, y), (16, 9), 0, 0, 360, 1, -1)
    rows, columns = np.nonzero(mask)
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    image = np.where(mask[..., None] > 0, 230, 20).repeat(3, axis=2).astype(np.uint8)
    return image, mask, {"boxes": np.array([box], np.float32), "labels": np.array([2])}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("geometry", NO_TARGET)
def test_type_shape_and_range_are_kept(geometry, dtype):
    image = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
    image = image if dtype == np.uint8 else image.astype(np.float32) / 255
    for seed in range(20):
        moved, target = augmentations[geometry](image, NO_TARGET[geometry], seed)
        assert (moved.shape, moved.dtype) == (image.shape, dtype)
        assert moved.min() >= 0
        assert moved.max() <= np.iinfo(np.uint8).max if dtype == np.uint8 else 1
        if geometry in ("boxes", "keypoints"):
            assert {k: v.shape for k, v in target.items()} == {
                k: v.shape for k, v in NO_TARGET[geometry].items()
            }
            assert {v.dtype.name for v in target.values()} == {"float32", "int64"}


def test_the_seed_decides_everything():
    image, mask, _ = scene(40, 30)
    again = Augmentation(PROFILE, "mask")
    results = []
    for seed in range(10):
        first, second = augmentations["mask"](image, mask, seed), again(image, mask, seed)
        assert all((a == b).all() for a, b in zip(first, second, strict=True))
        results.append(first[0])
    assert len({result.tobytes() for result in results}) > 5
    assert (image == scene(40, 30)[0]).all()  # the cached image stays as it was


@given(seed=st.integers(0, 2**32 - 1), x=st.integers(30, 66), y=st.integers(26, 46))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_image_mask_and_boxes_move_together(seed, x, y):
    image, mask, boxes = scene(x, y)
    moved, moved_mask = augmentations["mask"](image, mask, seed)
    moved_too, moved_boxes = augmentations["boxes"](image, boxes, seed)
    assert (moved == moved_too).all()
    grey, inside = moved.astype(float).mean(2), moved_mask == 1
    middle = (grey[inside].mean() + grey[moved_mask == 0].mean()) / 2
    bright = (grey > middle) & (moved_mask != 255)
    assert (bright & inside).sum() >= 0.9 * (bright | inside).sum()
    centers = [np.argwhere(region).mean(0) for region in (bright, inside)]
    np.testing.assert_allclose(*centers, atol=1)
    rows, columns = np.nonzero(inside)
    tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(moved_boxes["boxes"], [tight], atol=2)
    assert moved_boxes["labels"].tolist() == [2]


def test_what_comes_from_outside_is_unknown_not_background():
    image, mask = np.full((H, W, 3), 99, np.uint8), np.ones((H, W), np.uint8)
    values = [set(np.unique(augmentations["mask"](image, mask, seed)[1])) for seed in range(30)]
    assert {1, 255} in values
    assert all(value <= {1, 255} for value in values)


def test_nothing_is_flipped_or_turned_over():
    quarters = np.array([[40, 90], [150, 210]], np.uint8)
    image = np.kron(quarters, np.ones((48, 48), np.uint8))[..., None].repeat(3, axis=2)
    for seed in range(60):
        moved = augmentations["none"](image, 0, seed)[0][..., 0].astype(int)
        assert (np.diff(moved[24::48, 24::48].ravel()) > 20).all()


def test_moving_and_recolouring_are_drawn_independently():
    mask = (np.arange(H * W) % 251).astype(np.uint8).reshape(H, W)
    table = np.zeros((2, 2))
    for seed in range(400):
        moved, moved_mask = augmentations["mask"](scene(48, 36)[0], mask, seed)
        table[int((moved_mask != mask).any()), int(moved[36, 48, 0] != 230)] += 1
    assert 60 < table.min() <= table.max() < 140


class TestConformance(Conformance):
    distribution = "umedpt-augment-weak"
