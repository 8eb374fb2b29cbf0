"""umedpt-label-segmentation: one class a pixel (paper: Task types, Semantic segmentation)."""

from umedpt_core import LabelTypeSpec, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_label_types():
    """Register the label type."""
    yield LabelTypeSpec(
        name="segmentation",
        summary="one class a pixel; Dice and focal loss on the pixel embeddings",
        blocks=("pixels",),
        geometry="mask",
        metrics=("miou", "dice"),
        factory="umedpt_label_segmentation.head:Segmentation",
    )
