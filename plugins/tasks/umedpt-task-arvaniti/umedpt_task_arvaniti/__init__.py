"""umedpt-task-arvaniti: Gleason patterns in prostate tissue microarrays (Arvaniti-WSI)."""

from collections.abc import Iterator

from umedpt_core import Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="arvaniti",
        label_type="multilabel",
        modality="microscopy",
        classes=("benign", "Gleason 3", "Gleason 4", "Gleason 5"),
        cases="umedpt_task_arvaniti.data:open_cases",
        fake="umedpt_task_arvaniti.data:make_fake",
        instances=Whole(size=512),
        augmentation="histology",
        splits=("train", "val", "test"),
        suites=("umedpt", "umedpt-clf"),
        source=Source(
            homepage="https://doi.org/10.7910/DVN/OCYCMP",
            licence="CC0-1.0",
            commercial="yes",
            citation=(
                "Arvaniti, E. et al. Automated Gleason grading of prostate cancer tissue "
                "microarrays via deep learning. Sci. Rep. 8, 12054 (2018). "
                "https://doi.org/10.1038/s41598-018-30535-1. Data: Arvaniti, E. et al. Replication "
                "data for: Automated Gleason grading of prostate cancer tissue microarrays via "
                "deep learning. Harvard Dataverse (2018). https://doi.org/10.7910/DVN/OCYCMP"
            ),
            access="open",
            download=(
                "from https://doi.org/10.7910/DVN/OCYCMP download the twelve archives "
                "ZT*.tar.gz, Gleason_masks_train.tar.gz and Gleason_masks_test_pathologist1.tar.gz",
                "unpack them all in the folder arvaniti of the data root, so that "
                "arvaniti/ZT111_4_A and arvaniti/Gleason_masks_train exist",
            ),
        ),
    )
