"""umedpt-task-hippocampus-ratio: volumes as bags of slices under one label."""

from umedpt_core import Bag, Source, TaskSpec, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_tasks():
    """Register the task."""
    yield TaskSpec(
        name="hippocampus-ratio",
        label_type="bag",
        modality="MRI",
        classes=("small front", "large front"),
        cases="umedpt_task_hippocampus_ratio.data:open_cases",
        fake="umedpt_task_hippocampus_ratio.data:make_fake",
        instances=Bag(size=(64, 64), axis="coronal"),
        intensity="mri",
        augmentation="tomography",
        splits=("train", "test"),
        source=Source(
            homepage="http://medicaldecathlon.com",
            licence="CC-BY-SA-4.0",
            commercial="yes",
            citation="Antonelli, M. et al. Nature Communications 13, 4128 (2022).",
            access="open",
            download=("get Task04_Hippocampus of the Medical Segmentation Decathlon, unpack it",),
        ),
    )
