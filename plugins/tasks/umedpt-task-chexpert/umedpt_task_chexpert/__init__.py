"""umedpt-task-chexpert: 14 observations in chest X-rays (CheXpert), Chexpert-CXR."""

from collections.abc import Iterator

from umedpt_core import Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="chexpert",
        label_type="multilabel",
        modality="X-ray",
        classes=(
            "No Finding",
            "Enlarged Cardiomediastinum",
            "Cardiomegaly",
            "Lung Opacity",
            "Lung Lesion",
            "Edema",
            "Consolidation",
            "Pneumonia",
            "Atelectasis",
            "Pneumothorax",
            "Pleural Effusion",
            "Pleural Other",
            "Fracture",
            "Support Devices",
        ),
        cases="umedpt_task_chexpert.data:open_cases",
        fake="umedpt_task_chexpert.data:make_fake",
        instances=Whole(size=512),
        augmentation="cxr",
        suites=("umedpt", "umedpt-clf"),
        splits=("train", "val"),
        options="umedpt_task_chexpert.data:Options",
        source=Source(
            homepage="https://stanfordmlgroup.github.io/competitions/chexpert/",
            licence="Stanford University Dataset Research Use Agreement",
            commercial="no",
            citation=(
                "Irvin, J., Rajpurkar, P., Ko, M. et al. CheXpert: a large chest radiograph "
                "dataset with uncertainty labels and expert comparison. Proceedings of the AAAI "
                "Conference on Artificial Intelligence 33(01), 590-597 (2019). "
                "https://doi.org/10.1609/aaai.v33i01.3301590"
            ),
            access="registration",
            download=(
                "register and accept the agreement on https://stanfordaimi.azurewebsites.net/"
                "datasets/8cbd9ed4-2eb9-4565-affc-111cf4f7ebe2",
                "download the four archives 'CheXpert-v1.0 batch 1 (validate & csv).zip' to "
                "'CheXpert-v1.0 batch 4 (train 3).zip', or take CheXpert-v1.0-small",
                "unpack them into the folder chexpert of the data root, so that 'chexpert/"
                "CheXpert-v1.0 batch 1 (validate & csv)/train.csv' or "
                "chexpert/CheXpert-v1.0-small/train.csv exists",
            ),
        ),
    )
