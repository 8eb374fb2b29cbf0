"""umedpt-label-multilabel: several yes/no labels an image (paper: Task types, Classification)."""

from umedpt_core import LabelTypeSpec, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_label_types():
    """Register the label type."""
    yield LabelTypeSpec(
        name="multilabel",
        summary="yes, no or unknown for each label; binary cross entropy / ln 2",
        blocks=("embedding",),
        metrics=("auc", "f1"),
        factory="umedpt_label_multilabel.head:MultiLabel",
    )
