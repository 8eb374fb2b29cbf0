"""umedpt-augment-weak: for small images, without flips (paper: Experiments with MedMNIST)."""

from umedpt_core import AugmentationSpec, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_augmentations():
    """Register the profile."""
    yield AugmentationSpec(
        name="weak",
        summary="slight brightness, contrast, shift, scale and rotation; no flips",
        image="umedpt_augment_weak.profile:image_transforms",
    )
