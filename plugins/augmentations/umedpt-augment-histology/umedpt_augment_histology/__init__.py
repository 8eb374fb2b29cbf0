"""umedpt-augment-histology: tissue has no upright, and stains vary (paper: Data augmentation)."""

from umedpt_core import AugmentationSpec, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_augmentations():
    """Register the profile."""
    yield AugmentationSpec(
        name="histology",
        summary="flips, right-angle rotations, channel shuffle, then the standard set",
        image="umedpt_augment_histology.profile:image_transforms",
    )
