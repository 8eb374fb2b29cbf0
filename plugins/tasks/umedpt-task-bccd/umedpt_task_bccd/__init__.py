"""umedpt-task-bccd: blood cell detection in smears (BCCD)."""

from collections.abc import Iterator

from umedpt_core import Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="bccd",
        label_type="detection",
        modality="microscopy",
        classes=("RBC", "WBC", "Platelets"),
        cases="umedpt_task_bccd.data:open_cases",
        fake="umedpt_task_bccd.data:make_fake",
        instances=Whole(size=640),
        augmentation="standard",
        splits=("train", "val", "test"),
        source=Source(
            homepage="https://github.com/Shenggan/BCCD_Dataset",
            licence="MIT",
            commercial="yes",
            citation=(
                "Shenggan. BCCD Dataset (2017-2019). https://github.com/Shenggan/BCCD_Dataset. "
                "Original images and annotations: cosmicad, https://github.com/cosmicad/dataset, "
                "and akshaylamba, https://github.com/akshaylamba/all_CELL_data."
            ),
            access="open",
            download=(
                "in the data root, git clone https://github.com/Shenggan/BCCD_Dataset bccd, so "
                "that bccd/BCCD/JPEGImages exists",
            ),
        ),
    )
