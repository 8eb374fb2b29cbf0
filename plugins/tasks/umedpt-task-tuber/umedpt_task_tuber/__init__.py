"""umedpt-task-tuber: tuberculosis in chest X-rays from Shenzhen (Jaeger 2014), Tuber-CXR."""

from collections.abc import Iterator

from umedpt_core import Reference, Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1

PAPER = "Schäfer et al. 2024"
"""UMedPT, Nature Computational Science. It does not say how it averages F1 over the classes."""

REFERENCES = (
    Reference(
        metric="f1",
        value=0.963,
        setting="UMedPT, fine-tuned, 10 %",
        source=f"{PAPER}, Results",
    ),
    Reference(
        metric="accuracy",
        value=0.82,
        setting="Jaeger et al. 2014, other test split",
        source=f"{PAPER}, Table 1",
        needed={"frozen": 0.1, "finetune": 0.05},
    ),
    Reference(
        metric="auc",
        value=0.98,
        setting="Zhou et al. 2022, other test split",
        source=f"{PAPER}, Table 1",
        needed={"frozen": 0.5, "finetune": 0.1},
    ),
)


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="tuber",
        label_type="classification",
        modality="X-ray",
        classes=("normal", "tuberculosis"),
        cases="umedpt_task_tuber.data:open_cases",
        fake="umedpt_task_tuber.data:make_fake",
        instances=Whole(size=512),
        augmentation="cxr",
        suites=("umedpt-out-of-domain",),
        splits=("train", "test"),
        references=REFERENCES,
        source=Source(
            homepage=(
                "https://lhncbc.nlm.nih.gov/LHC-downloads/downloads.html"
                "#tuberculosis-image-data-sets"
            ),
            licence=(
                "It is requested that publications resulting from the use of this data attribute "
                "the source (National Library of Medicine, National Institutes of Health, "
                "Bethesda, MD, USA and Shenzhen No.3 People's Hospital, Guangdong Medical "
                "College, Shenzhen, China) and cite the following publications [see citation]."
            ),
            commercial="unknown",
            citation=(
                "Jaeger, S., Karargyris, A., Candemir, S. et al. Automatic tuberculosis screening "
                "using chest radiographs. IEEE Transactions on Medical Imaging 33(2), 233-245 "
                "(2014). https://doi.org/10.1109/TMI.2013.2284099. "
                "Candemir, S., Jaeger, S., Palaniappan, K. et al. Lung segmentation in chest "
                "radiographs using anatomical atlases with nonrigid registration. IEEE "
                "Transactions on Medical Imaging 33(2), 577-590 (2014). "
                "https://doi.org/10.1109/TMI.2013.2290491. "
                "Jaeger, S., Candemir, S., Antani, S. et al. Two public chest X-ray datasets for "
                "computer-aided screening of pulmonary diseases. Quantitative Imaging in Medicine "
                "and Surgery 4(6), 475-477 (2014)."
            ),
            access="open",
            download=(
                "download https://openi.nlm.nih.gov/imgs/collections/ChinaSet_AllFiles.zip",
                "unpack it into the folder tuber of the data root, so that "
                "tuber/ChinaSet_AllFiles/CXR_png/CHNCXR_0001_0.png exists",
            ),
        ),
    )
