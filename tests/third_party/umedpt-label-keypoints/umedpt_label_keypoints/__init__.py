"""umedpt-label-keypoints: at most one point a class, found as the peak of a heatmap."""

from umedpt_core import LabelTypeSpec, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_label_types():
    """Register the label type."""
    yield LabelTypeSpec(
        name="keypoints",
        summary="at most one point a class; divergence of heatmaps on the pixel embeddings",
        blocks=("pixels",),
        geometry="keypoints",
        metrics=("distance",),
        factory="umedpt_label_keypoints.head:Keypoints",
    )
