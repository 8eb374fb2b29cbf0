"""umedpt-task-vinbigdata: 14 findings in chest X-rays with boxes (VinDr-CXR), VinBigData-CXR."""

from collections.abc import Iterator

from umedpt_core import Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="vinbigdata",
        label_type="detection",
        modality="X-ray",
        classes=(
            "Aortic enlargement",
            "Atelectasis",
            "Calcification",
            "Cardiomegaly",
            "Consolidation",
            "ILD",
            "Infiltration",
            "Lung Opacity",
            "Nodule/Mass",
            "Other lesion",
            "Pleural effusion",
            "Pleural thickening",
            "Pneumothorax",
            "Pulmonary fibrosis",
        ),
        cases="umedpt_task_vinbigdata.data:open_cases",
        fake="umedpt_task_vinbigdata.data:make_fake",
        instances=Whole(size=512),
        intensity="ct",
        augmentation="cxr",
        suites=("umedpt",),
        splits=("train", "test"),
        source=Source(
            homepage="https://www.kaggle.com/competitions/vinbigdata-chest-xray-abnormalities-detection",
            licence=(
                "users agree that they will not share the data and that the dataset can be used "
                "for scientific research and educational purposes only"
            ),
            commercial="no",
            citation=(
                "Nguyen, H. Q., Lam, K., Le, L. T. et al. VinDr-CXR: An open dataset of chest "
                "X-rays with radiologist's annotations. Scientific Data 9, 429 (2022). "
                "https://doi.org/10.1038/s41597-022-01498-w"
            ),
            access="registration",
            download=(
                "accept the rules on https://www.kaggle.com/competitions/"
                "vinbigdata-chest-xray-abnormalities-detection/data and download train.csv "
                "and the folder train, or part of it",
                "unpack it into the folder vinbigdata of the data root, so that "
                "vinbigdata/train.csv and vinbigdata/train/<image id>.dicom exist",
            ),
        ),
    )
