"""umedpt-task-cns: brain tumours in MRI slices (Kaggle, Nickparvar), CNS-MRI."""

from collections.abc import Iterator

from umedpt_core import Reference, Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1

PAPER = "Schäfer et al. 2024"
"""UMedPT, Nature Computational Science. It does not say how it averages F1 over the classes."""

REFERENCES = (
    Reference(
        metric="f1",
        value=0.89,
        setting="ImageNet, frozen, 100 %",
        source=f"{PAPER}, Extended Data Fig. 1b and Results",
        needed={"frozen": 0.05},
    ),
    Reference(
        metric="f1", value=0.993, setting="UMedPT, fine-tuned, 100 %", source=f"{PAPER}, Results"
    ),
    Reference(
        metric="accuracy",
        value=0.96,
        setting="Kaggle (given as > 96 %), another split",
        source=f"{PAPER}, Table 1",
        needed={"finetune": 0.5},
    ),
)


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="cns",
        label_type="classification",
        modality="MRI",
        classes=("glioma", "meningioma", "no tumour", "pituitary tumour"),
        cases="umedpt_task_cns.data:open_cases",
        fake="umedpt_task_cns.data:make_fake",
        instances=Whole(size=512),
        augmentation="standard",
        splits=("train", "test"),
        suites=("umedpt-out-of-domain",),
        references=REFERENCES,
        source=Source(
            homepage="https://www.kaggle.com/datasets/masoudnickparvar/brain-tumor-mri-dataset",
            licence="CC0-1.0",
            commercial="unknown",
            citation=(
                "Nickparvar, M. Brain Tumor MRI Dataset. Kaggle (2021). "
                "https://doi.org/10.34740/KAGGLE/DSV/2645886. Compiled from Cheng, J. brain tumor "
                "dataset. figshare (2017). https://doi.org/10.6084/m9.figshare.1512427; Bhuvaji, "
                "S. et al. Brain Tumor Classification (MRI). Kaggle (2020). "
                "https://doi.org/10.34740/KAGGLE/DSV/1183165; Hamada, A. Br35H. Kaggle (2020)."
            ),
            access="registration",
            download=(
                "with a Kaggle account, download the set from "
                "https://www.kaggle.com/datasets/masoudnickparvar/brain-tumor-mri-dataset (150 MB; "
                "the paper used the version of 7,023 images)",
                "unpack it into the folder cns of the data root, so that cns/Training/glioma and "
                "cns/Testing/glioma exist",
            ),
        ),
    )
