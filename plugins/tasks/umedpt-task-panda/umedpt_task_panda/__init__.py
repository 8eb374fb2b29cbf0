"""umedpt-task-panda: prostate biopsies (PANDA challenge), the two tasks of Panda-WSI."""

from collections.abc import Iterator

from umedpt_core import Patches, Source, TaskSpec, hookimpl

UMEDPT_API = 1

SOURCE = Source(
    homepage="https://www.kaggle.com/c/prostate-cancer-grade-assessment",
    licence="CC-BY-NC-SA-4.0",
    commercial="no",
    citation=(
        "Bulten, W., Kartasalo, K., Chen, P.-H. C. et al. Artificial intelligence for diagnosis "
        "and Gleason grading of prostate cancer: the PANDA challenge. Nature Medicine 28, 154-163 "
        "(2022). https://doi.org/10.1038/s41591-021-01620-2"
    ),
    access="registration",
    download=(
        "log in to Kaggle, accept the rules of "
        "https://www.kaggle.com/c/prostate-cancer-grade-assessment and download the data (about "
        "350 GB): kaggle competitions download -c prostate-cancer-grade-assessment",
        "unpack it into the folder panda of the data root, so that panda/train.csv, "
        "panda/train_images and panda/train_label_masks exist",
    ),
)


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register both tasks; they share slides and splits."""
    yield TaskSpec(
        name="panda-segmentation",
        label_type="segmentation",
        modality="microscopy",
        classes=("background", "benign tissue", "cancer"),
        cases="umedpt_task_panda.data:open_segmentation",
        fake="umedpt_task_panda.fake:make_fake",
        instances=Patches(size=512, mpp=(0.5, 2.0), foreground=0.5),
        augmentation="histology",
        splits=("train", "test"),
        suites=("umedpt",),
        source=SOURCE,
    )
    yield TaskSpec(
        name="panda-classification",
        label_type="classification",
        modality="microscopy",
        classes=("no cancer", *(f"ISUP grade {grade}" for grade in range(1, 6))),
        cases="umedpt_task_panda.data:open_classification",
        fake="umedpt_task_panda.fake:make_fake",
        instances=Patches(size=512, mpp=(1.0, 4.0)),
        augmentation="histology",
        splits=("train", "test"),
        suites=("umedpt", "umedpt-clf"),
        source=SOURCE,
    )
