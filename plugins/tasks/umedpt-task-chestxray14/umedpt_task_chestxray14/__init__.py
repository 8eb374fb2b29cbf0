"""umedpt-task-chestxray14: 14 findings in chest X-rays (NIH ChestX-ray14)."""

from collections.abc import Iterator

from umedpt_core import Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="chestxray14",
        label_type="multilabel",
        modality="X-ray",
        classes=(
            "Atelectasis",
            "Cardiomegaly",
            "Effusion",
            "Infiltration",
            "Mass",
            "Nodule",
            "Pneumonia",
            "Pneumothorax",
            "Consolidation",
            "Edema",
            "Emphysema",
            "Fibrosis",
            "Pleural_Thickening",
            "Hernia",
        ),
        cases="umedpt_task_chestxray14.data:open_cases",
        fake="umedpt_task_chestxray14.data:make_fake",
        instances=Whole(size=512),
        augmentation="cxr",
        source=Source(
            homepage="https://nihcc.app.box.com/v/ChestXray-NIHCC",
            licence=(
                "The usage of the data set is unrestricted. But you should provide the link to our "
                "original download site, acknowledge the NIH Clinical Center and provide a "
                "citation to our CVPR 2017 paper."
            ),
            commercial="unknown",
            citation=(
                "Wang, X., Peng, Y., Lu, L., Lu, Z., Bagheri, M. & Summers, R. M. ChestX-ray8: "
                "Hospital-scale chest X-ray database and benchmarks on weakly-supervised "
                "classification and localization of common thorax diseases. In IEEE CVPR, "
                "3462-3471 (2017). https://doi.org/10.1109/CVPR.2017.369. "
                "Data provider: NIH Clinical Center."
            ),
            access="open",
            download=(
                "download Data_Entry_2017_v2020.csv and the twelve archives of the folder images "
                "from https://nihcc.app.box.com/v/ChestXray-NIHCC",
                "put the CSV into the folder chestxray14 of the data root and unpack the archives "
                "there, so that chestxray14/images/00000001_000.png exists",
            ),
        ),
    )
