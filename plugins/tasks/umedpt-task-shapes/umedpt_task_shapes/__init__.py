"""umedpt-task-shapes: synthetic 2D geometric shapes, one task for each label type.

The paper tunes its schedule on such a set (Clinical validation); here it also serves demonstrations
and tests. Nothing is downloaded or written: cases are drawn when they are opened.
"""

from umedpt_core import Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1

SHAPES = ("circle", "square", "triangle")


@hookimpl
def umedpt_tasks():
    """Register one task a label type."""
    for label_type in ("classification", "multilabel", "segmentation", "detection"):
        yield TaskSpec(
            name=f"shapes-{label_type}",
            label_type=label_type,
            modality="synthetic",
            classes=("background", *SHAPES) if label_type == "segmentation" else SHAPES,
            cases=f"umedpt_task_shapes.data:open_{label_type}",
            fake="umedpt_task_shapes.data:make_fake",
            instances=Whole(size=64),
            augmentation="weak",
            options="umedpt_task_shapes.data:Options",
            source=Source(
                homepage="https://pypi.org/project/umedpt-task-shapes/",
                licence="CC0-1.0",
                commercial="yes",
                citation="Generated; after the synthetic set of Schäfer et al., Nature "
                "Computational Science 4, 495-509 (2024), doi 10.1038/s43588-024-00662-z.",
                access="generated",
            ),
            suites=("shapes",),
        )
