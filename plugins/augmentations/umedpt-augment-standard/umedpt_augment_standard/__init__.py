"""umedpt-augment-standard: the standard 2D set (paper: Data augmentation)."""

from umedpt_core import AugmentationSpec, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_augmentations():
    """Register the profile."""
    yield AugmentationSpec(
        name="standard",
        summary="contrast, sharpness, noise, colour; shift, scale, rotation",
        image="umedpt_augment_standard.profile:image_transforms",
    )
