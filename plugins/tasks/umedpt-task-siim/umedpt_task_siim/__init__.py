"""umedpt-task-siim: segmentation of pneumothorax in chest X-rays (SIIM-ACR 2019), SIIM-CXR."""

from collections.abc import Iterator

from umedpt_core import Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="siim",
        label_type="segmentation",
        modality="X-ray",
        classes=("background", "pneumothorax"),
        cases="umedpt_task_siim.data:open_cases",
        fake="umedpt_task_siim.data:make_fake",
        instances=Whole(size=512),
        augmentation="cxr",
        suites=("umedpt",),
        splits=("train", "test"),
        source=Source(
            homepage="https://www.kaggle.com/competitions/siim-acr-pneumothorax-segmentation",
            licence="the rules of the Kaggle competition siim-acr-pneumothorax-segmentation",
            commercial="unknown",
            citation=(
                "Zawacki, A., Wu, C., Shih, G. et al. SIIM-ACR Pneumothorax Segmentation. Kaggle "
                "(2019). "
                "https://www.kaggle.com/competitions/siim-acr-pneumothorax-segmentation. "
                "Images: Wang, X. et al. ChestX-ray8: Hospital-scale chest X-ray database and "
                "benchmarks on weakly-supervised classification and localization of common thorax "
                "diseases. In IEEE CVPR, 3462-3471 (2017). "
                "https://doi.org/10.1109/CVPR.2017.369."
            ),
            access="registration",
            download=(
                "accept the rules on "
                "https://www.kaggle.com/competitions/siim-acr-pneumothorax-segmentation/data and "
                "download stage_2_train.csv",
                "get the images of stage 1, dicom-images-train and dicom-images-test, for example "
                "from https://academictorrents.com/details/"
                "6ef7c6d039e85152c4d0f31d83fa70edc4aba088",
                "put the table and both folders into the folder siim of the data root, so that "
                "siim/stage_2_train.csv and siim/dicom-images-train exist",
            ),
        ),
    )
