"""umedpt-augment-flips: for images that have no up and no left."""

from umedpt_core import AugmentationSpec, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_augmentations():
    """Register the profile."""
    yield AugmentationSpec(
        name="flips",
        summary="flips and right-angle rotations, nothing else",
        image="umedpt_augment_flips.profile:image_transforms",
    )
