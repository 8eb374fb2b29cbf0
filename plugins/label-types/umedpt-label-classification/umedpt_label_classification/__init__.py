"""umedpt-label-classification: one class an image (paper: Task types, Classification)."""

from umedpt_core import LabelTypeSpec, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_label_types():
    """Register the label type."""
    yield LabelTypeSpec(
        name="classification",
        summary="one class an image; cross entropy / ln C on the image embedding",
        blocks=("embedding",),
        metrics=("f1", "accuracy", "auc"),
        factory="umedpt_label_classification.head:Classification",
    )
