import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umedpt_core.data.augment import Augmentation
from umedpt_core.testing import Conformance

PROFILE = "umedpt_augment_standard.profile:image_transforms"
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
    assert len({result.tobytes() for result in results}) >= 8
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
    assert (bright & inside).sum() >= 0.8 * (bright | inside).sum()  # embossing blurs the edge
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


def test_a_box_that_leaves_the_image_takes_its_label_along():
    image = np.zeros((H, W, 3), np.uint8)
    target = {
        "boxes": np.array([[0, 0, 3, 3], [40, 30, 60, 50]], np.float32),
        "labels": np.array([7, 8]),
    }
    labels = [tuple(augmentations["boxes"](image, target, seed)[1]["labels"]) for seed in range(30)]
    assert set(labels) == {(7, 8), (8,)}


@given(
    seed=st.integers(0, 2**32 - 1),
    corners=st.lists(
        st.tuples(*[st.floats(0, edge, width=32) for edge in (W, H, W, H)]), max_size=5
    ),
)
@settings(deadline=None, derandomize=True, max_examples=60)
def test_boxes_stay_valid(seed, corners):
    boxes = np.array(corners, np.float32).reshape(-1, 4)
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]  # as the label type lets through
    target = {"boxes": boxes, "labels": np.arange(len(boxes))}
    moved = augmentations["boxes"](np.zeros((H, W, 3), np.uint8), target, seed)[1]
    assert len(moved["boxes"]) == len(moved["labels"]) <= len(boxes)
    assert (moved["boxes"][:, :2] >= 0).all()
    assert (moved["boxes"][:, 2:] <= (W, H)).all()
    assert (moved["boxes"][:, 2:] > moved["boxes"][:, :2]).all()


def test_the_transforms_are_drawn_independently():
    """Half of the images are moved; of those as many are recoloured as of the others."""
    image, _, _ = scene(48, 36)
    mask = (np.arange(H * W) % 251).astype(np.uint8).reshape(H, W)
    table = np.zeros((2, 2))
    for seed in range(400):
        moved, moved_mask = augmentations["mask"](image, mask, seed)
        recoloured = np.ptp([*moved[36, 48].astype(int), 230]) > 1  # within the ellipse, always
        table[int((moved_mask != mask).any()), int(recoloured)] += 1
    assert table.sum(1).min() > 140
    shares = table[:, 1] / table.sum(1)
    assert abs(shares[0] - shares[1]) < 0.15
    assert 0.5 < shares.mean() < 0.95


class TestConformance(Conformance):
    distribution = "umedpt-augment-standard"
