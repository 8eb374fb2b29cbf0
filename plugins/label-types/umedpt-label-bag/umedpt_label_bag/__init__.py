"""umedpt-label-bag: one class a bag of images (paper: Assessing 3D context preservation)."""

from umedpt_core import LabelTypeSpec, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_label_types():
    """Register the label type."""
    yield LabelTypeSpec(
        name="bag",
        summary="one class a bag of images; cross entropy / ln C on a learned weighted average",
        blocks=("embedding",),
        metrics=("f1", "accuracy", "auc"),
        factory="umedpt_label_bag.head:Bag",
    )
