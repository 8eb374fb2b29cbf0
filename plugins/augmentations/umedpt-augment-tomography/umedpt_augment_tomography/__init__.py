"""umedpt-augment-tomography: volumes, then their slices (paper: Data augmentation)."""

from umedpt_core import AugmentationSpec, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_augmentations():
    """Register the profile."""
    yield AugmentationSpec(
        name="tomography",
        summary="orientation, rotation, scale and crop in 3D, then the standard set",
        image="umedpt_augment_standard.profile:image_transforms",
        volume="umedpt_augment_tomography.profile:volume_transforms",
    )
