"""umedpt-task-breakhis: benign and malignant breast tumours (Spanhol 2016), BC-BHis-MIC."""

from collections.abc import Iterator

from umedpt_core import Reference, Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1

PAPER = "Schäfer et al. 2024"
"""UMedPT, Nature Computational Science. It does not say how it averages F1 over the classes."""

REFERENCES = (
    Reference(
        metric="f1",
        value=0.984,
        setting="ImageNet, fine-tuned, 100 %; UMedPT likewise",
        source=f"{PAPER}, Results",
    ),
    Reference(
        metric="f1",
        value=0.823,
        setting="ImageNet, frozen, 100 %",
        source=f"{PAPER}, Results",
        needed={"frozen": 0.5},
    ),
    Reference(
        metric="f1",
        value=0.88,
        setting="Chhipa et al. 2023, another split",
        source=f"{PAPER}, Table 1",
        needed={"frozen": 1.0, "finetune": 0.1},
    ),
)


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="breakhis",
        label_type="classification",
        modality="microscopy",
        classes=("benign", "malignant"),
        cases="umedpt_task_breakhis.data:open_cases",
        fake="umedpt_task_breakhis.data:make_fake",
        instances=Whole(size=512),
        augmentation="histology",
        splits=("train", "test"),
        options="umedpt_task_breakhis.data:Options",
        suites=("umedpt-out-of-domain",),
        references=REFERENCES,
        source=Source(
            homepage=(
                "https://web.inf.ufpr.br/vri/databases/"
                "breast-cancer-histopathological-database-breakhis/"
            ),
            licence=(
                "The BreakHis Database may be used for non-commercial research provided you "
                "acknowledge the source of the image by citing the following paper in publications "
                "about your research."
            ),
            commercial="no",
            citation=(
                "Spanhol, F. A., Oliveira, L. S., Petitjean, C. & Heutte, L. A dataset for breast "
                "cancer histopathological image classification. IEEE Transactions on Biomedical "
                "Engineering 63, 1455-1462 (2016). https://doi.org/10.1109/TBME.2015.2496264"
            ),
            access="open",
            download=(
                "download http://www.inf.ufpr.br/vri/databases/BreaKHis_v1.tar.gz (4 GB)",
                "unpack it into the folder breakhis of the data root, so that "
                "breakhis/BreaKHis_v1/histology_slides/breast/benign exists",
            ),
        ),
    )
