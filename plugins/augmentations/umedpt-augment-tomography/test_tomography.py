import numpy as np
import pytest
from scipy.ndimage import binary_erosion, gaussian_filter

from umedpt_core.data.augment import Augmentation
from umedpt_core.data.augment3d import VolumeAugmentation
from umedpt_core.testing import Conformance

PROFILE = "umedpt_augment_tomography.profile:volume_transforms"
SLICES = "umedpt_augment_standard.profile:image_transforms"
CUBIC, FLAT = (24, 40, 32), (20, 40, 40)
MM = np.diag([1.0, 1, 1, 1])


def corners(shape):
    """A ramp along each axis, as three channels."""
    ramps = np.meshgrid(*(np.linspace(0, 1, edge) for edge in shape), indexing="ij")
    return np.stack(ramps, axis=-1).astype(np.float32)


def orientation(result, affine=MM):
    """Which old axis each new one is, and its direction."""
    linear = np.linalg.solve(affine, result.affine)[:3, :3]
    axes = np.abs(linear).argmax(0)
    return tuple(axes), tuple(np.sign(linear[axes, range(3)]))


@pytest.mark.parametrize("spacing", [None, 2.0])
def test_orientation_only_where_the_longest_edge_is_under_twice_the_shortest(spacing):
    # The flat one is cubic in mm, and so after resampling: what counts are the voxels as stored.
    thick = np.diag([2.0, 1, 1, 1])
    augment = VolumeAugmentation(PROFILE, spacing)
    cubic, flat = set(), set()
    for seed in range(40):
        cubic.add(orientation(augment(corners(CUBIC), None, None, MM, seed)))
        flat.add(orientation(augment(corners(FLAT), None, None, thick, seed), thick))
    assert len({axes for axes, _ in cubic}) == 6
    assert len({signs for _, signs in cubic}) == 8
    assert flat == {((0, 1, 2), (1.0, 1.0, 1.0))}


def test_rotation_and_scale_keep_shapes_in_mm():
    """Also with thick slices: no shear, 15 degrees about each axis and 15 % at most."""
    affine = np.array([[0, 0, -0.7, 9], [0, -0.7, 0, 5], [-5, 0, 0, 1], [0, 0, 0, 1]])
    augment = VolumeAugmentation(PROFILE, None)
    scales, angles = [], []
    for seed in range(60):
        after = augment(np.zeros((12, 40, 40, 1), np.float32), None, None, affine, seed).affine
        spacing = np.diag([5, 0.7, 0.7])
        linear = after[:3, :3] @ np.linalg.inv(affine[:3, :3] @ np.linalg.inv(spacing) @ spacing)
        scale = np.cbrt(np.linalg.det(linear))
        turn = linear / scale
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-5)
        scales.append(1 / scale)
        angles.append(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))
    moved = np.array(angles) > 0.1
    assert 0.3 < moved.mean() < 0.7
    assert 0.85 <= min(scales) < 0.95 < 1.05 < max(scales) <= 1.15
    assert 15 < max(angles) < 27


def test_the_crop_keeps_most_of_each_edge():
    shapes = np.array(
        [
            VolumeAugmentation(PROFILE, None)(corners(FLAT), None, None, MM, seed).image.shape[:3]
            for seed in range(30)
        ]
    )
    assert (shapes.min(0) == np.multiply(FLAT, 0.8)).all()
    assert (shapes.max(0) == FLAT).all()


def test_one_interpolation_is_as_good_as_the_places_say():
    """The values are those of the old volume at the places that the affine names."""
    image = gaussian_filter(np.random.default_rng(0).random(CUBIC), 3)
    image = ((image - image.min()) / np.ptp(image)).astype(np.float32)
    ramps = np.concatenate([corners(CUBIC), image[..., None]], axis=-1)
    for seed in range(8):
        moved = VolumeAugmentation(PROFILE, 1.1)(ramps, np.zeros(CUBIC, np.uint8), None, MM, seed)
        places = np.indices(moved.mask.shape).reshape(3, -1)
        old = moved.affine[:3, :3] @ places + moved.affine[:3, 3:]  # MM: mm are voxels
        said = moved.image[..., :3].reshape(-1, 3).T * (np.array(CUBIC)[:, None] - 1)
        inner = binary_erosion(moved.mask != 255, iterations=2).ravel()
        np.testing.assert_allclose(said[:, inner], old[:, inner], atol=1e-3)


def test_only_two_transforms_of_the_slices_work_in_8_bits():
    import albumentations as A
    from umedpt_augment_standard.profile import image_transforms

    def flat(transforms):
        for transform in transforms:
            yield from flat(transform) if isinstance(transform, A.BaseCompose) else [transform]

    image = np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)
    coarse = set()
    for transform in flat(image_transforms()):
        transform.p = 1
        if len(np.unique(transform(image=image)["image"])) <= 256:
            coarse.add(type(transform).__name__)
    assert coarse == {"CLAHE", "HueSaturationValue"}


def test_volume_then_slice():
    image, mask = corners(CUBIC), np.ones(CUBIC, np.uint8)
    augment = Augmentation(SLICES, "mask")
    for seed in range(4):
        moved = VolumeAugmentation(PROFILE, None)(image, mask, None, MM, seed)
        cut, target = augment(moved.image[5], moved.mask[5], seed)
        assert cut.shape == (*target.shape, 3)
        assert set(np.unique(target)) <= {1, 255}


class TestConformance(Conformance):
    distribution = "umedpt-augment-tomography"
