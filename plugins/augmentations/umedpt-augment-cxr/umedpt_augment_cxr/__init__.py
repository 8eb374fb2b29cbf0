"""umedpt-augment-cxr: the standard 2D set and inversion, for X-rays (paper: Data augmentation)."""

from umedpt_core import AugmentationSpec, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_augmentations():
    """Register the profile."""
    yield AugmentationSpec(
        name="cxr",
        summary="the standard set, and inversion in 30 % of the images",
        image="umedpt_augment_cxr.profile:image_transforms",
    )
