"""umedpt-label-regression: numbers an image (beyond the paper)."""

from umedpt_core import LabelTypeSpec, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_label_types():
    """Register the label type."""
    yield LabelTypeSpec(
        name="regression",
        summary="numbers an image; mean squared error over the variance of an even spread",
        blocks=("embedding",),
        metrics=("mae", "rmse", "r2"),
        factory="umedpt_label_regression.head:Regression",
        example={"range": [0.0, 1.0]},
    )
