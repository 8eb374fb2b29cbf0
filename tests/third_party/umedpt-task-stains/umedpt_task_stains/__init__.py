"""umedpt-task-stains: patches of slides, with the slide's label or with polygons."""

from umedpt_core import Patches, Source, TaskSpec, hookimpl

UMEDPT_API = 1

SOURCE = Source(
    homepage="https://openslide.org",
    licence="CC0-1.0",
    commercial="yes",
    citation="Goode, A. et al. OpenSlide. J. Pathol. Inform. 4, 27 (2013).",
    access="open",
    download=("put slides into the folder stains of the data root",),
)


@hookimpl
def umedpt_tasks():
    """Register both tasks."""
    for label_type, classes, foreground in (
        ("classification", ("brightfield", "fluorescence"), 0.0),
        ("segmentation", ("background", "region"), 0.5),
    ):
        yield TaskSpec(
            name=f"stains-{label_type}",
            label_type=label_type,
            modality="microscopy",
            classes=classes,
            cases=f"umedpt_task_stains.data:open_{label_type}",
            fake="umedpt_task_stains.data:make_fake",
            instances=Patches(size=(128, 128), mpp=(0.5, 2.0), per_case=8, foreground=foreground),
            augmentation="histology",
            splits=("train",),
            source=SOURCE,
        )
