"""umedpt-task-crag: segmentation of glands in colorectal adenocarcinoma (CRAG v2), Crag-WSI."""

from collections.abc import Iterator

from umedpt_core import Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="crag",
        label_type="segmentation",
        modality="microscopy",
        classes=("background", "gland"),
        cases="umedpt_task_crag.data:open_cases",
        fake="umedpt_task_crag.data:make_fake",
        instances=Whole(size=512),
        augmentation="histology",
        splits=("train", "test"),
        suites=("umedpt",),
        source=Source(
            homepage="https://warwick.ac.uk/fac/cross_fac/tia/data/mildnet/",
            licence=(
                "If you intend to publish research work that uses this dataset, you must give "
                "appropriate citation to the MILD-Net paper."
            ),
            commercial="unknown",
            citation=(
                "Graham, S., Chen, H., Dou, Q., Heng, P. & Rajpoot, N. M. MILD-Net: minimal "
                "information loss dilated network for gland instance segmentation in colon "
                "histology images. Medical Image Analysis 52, 199-211 (2019). "
                "https://doi.org/10.1016/j.media.2018.12.001"
            ),
            access="registration",
            download=(
                "get CRAG (v2) as https://warwick.ac.uk/fac/cross_fac/tia/data/mildnet/ says",
                "unpack it into the folder crag of the data root, so that crag/CRAG/train/Images "
                "exists",
            ),
        ),
    )
