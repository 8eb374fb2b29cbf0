"""umedpt-label-detection: boxes with classes (paper: Task types, Object detection task)."""

from umedpt_core import LabelTypeSpec, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_label_types():
    """Register the label type."""
    yield LabelTypeSpec(
        name="detection",
        summary="boxes with classes; FCOS on the multi-scale features",
        blocks=("pyramid",),
        geometry="boxes",
        metrics=("map50", "map"),
        factory="umedpt_label_detection.head:Detection",
    )
