"""umedpt-task-conic: detection of nuclei in colon tissue (CoNIC, from Lizard), Conic-WSI."""

from collections.abc import Iterator

from umedpt_core import Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="conic",
        label_type="detection",
        modality="microscopy",
        classes=("neutrophil", "epithelial", "lymphocyte", "plasma", "eosinophil", "connective"),
        cases="umedpt_task_conic.data:open_cases",
        fake="umedpt_task_conic.data:make_fake",
        instances=Whole(size=512),
        augmentation="histology",
        splits=("train", "test"),
        suites=("umedpt",),
        source=Source(
            homepage="https://conic-challenge.grand-challenge.org/",
            licence="CC-BY-NC-SA-4.0",
            commercial="no",
            citation=(
                "Graham, S. et al. Lizard: a large-scale dataset for colonic nuclear instance "
                "segmentation and classification. In Proc. 2021 IEEE/CVF International Conference "
                "on Computer Vision Workshops 684-693 (IEEE, 2021). "
                "https://doi.org/10.1109/ICCVW54120.2021.00082. Graham, S. et al. CoNIC: colon "
                "nuclei identification and counting challenge 2022. arXiv:2111.14485 (2021)."
            ),
            access="open",
            download=(
                "download the training data of https://conic-challenge.grand-challenge.org/, "
                "a shared folder on Google Drive, with images.npy, labels.npy and patch_info.csv",
                "put the files into the folder conic of the data root, so that conic/images.npy "
                "exists",
            ),
        ),
    )
