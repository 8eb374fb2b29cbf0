"""umedpt-task-semicol: tumour on slides, and tissue classes (SemiCOL challenge 2023)."""

from collections.abc import Iterator

from umedpt_core import Patches, Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1

SOURCE = Source(
    homepage="https://www.semicol.org/",
    licence="the challenge's terms, which its public pages do not state",
    commercial="unknown",
    citation=(
        "SemiCOL. SemiCOL: semi-supervised learning for colon histology (2023). "
        "https://www.semicol.org/"
    ),
    access="registration",
    download=(
        "get the training data of the challenge as https://www.semicol.org/data/ says",
        "put it into the folder semicol of the data root, so that semicol/DATASET_TRAIN/01_MANUAL/"
        "DS_M_1 and semicol/DATASET_TRAIN/02_WEAK/DS_W_1 exist; each task needs its own half only",
    ),
)


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register both tasks."""
    yield TaskSpec(
        name="semicol-classification",
        label_type="classification",
        modality="microscopy",
        classes=("benign", "tumor"),
        cases="umedpt_task_semicol.slides:open_cases",
        fake="umedpt_task_semicol.fake:make_fake",
        instances=Patches(size=512, mpp=(1.0, 2.0)),
        augmentation="histology",
        splits=("train", "test"),
        suites=("umedpt-external",),
        options="umedpt_task_semicol.slides:Options",
        source=SOURCE,
    )
    yield TaskSpec(
        name="semicol-segmentation",
        label_type="segmentation",
        modality="microscopy",
        classes=(
            "background",
            "tumor",
            "benign mucosa",
            "tumor stroma",
            "submucosa, vessel or adventitia",
            "muscle",
            "lymphatic tissue",
            "ulcus or necrosis",
            "mucin",
            "blood",
        ),
        cases="umedpt_task_semicol.tissue:open_cases",
        fake="umedpt_task_semicol.fake:make_fake",
        instances=Whole(size=512),
        augmentation="histology",
        splits=("train", "test"),
        source=SOURCE,
    )
