"""umedpt-task-kvasir: segmentation of polyps in colonoscopy (Kvasir-SEG), PolypSeg-RGB."""

from collections.abc import Iterator

from umedpt_core import Archive, Reference, Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1

PAPER = "Schäfer et al. 2024"
"""UMedPT, Nature Computational Science; its 300 test images are not published."""

REFERENCES = (
    Reference(
        metric="miou",
        value=0.905,
        setting="ImageNet, fine-tuned, 100 %, other test images",
        source=f"{PAPER}, Results",
    ),
    Reference(
        metric="miou",
        value=0.911,
        setting="UMedPT, fine-tuned, 100 %, other test images",
        source=f"{PAPER}, Results",
    ),
    Reference(
        metric="miou",
        value=0.778,
        setting="Jha et al. 2020, other test images",
        source=f"{PAPER}, Table 1",
        needed={"frozen": 0.5, "finetune": 0.01},
    ),
    Reference(
        metric="miou",
        value=0.9051,
        setting="DUCK-Net, Dumitru et al. 2023, other test images",
        source=f"{PAPER}, Table 1",
        needed={"finetune": 1.0},
    ),
)

ARCHIVE = Archive(
    url="https://datasets.simula.no/downloads/kvasir-seg.zip",
    checksum="sha256:03b30e21d584e04facf49397a2576738fd626815771afbbf788f74a7153478f7",
    folder="Kvasir-SEG",
    size=46_227_172,
)


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="kvasir",
        label_type="segmentation",
        modality="endoscopy",
        classes=("background", "polyp"),
        cases="umedpt_task_kvasir.data:open_cases",
        fake="umedpt_task_kvasir.data:make_fake",
        instances=Whole(size=512),
        augmentation="standard",
        splits=("train", "test"),
        suites=("umedpt-out-of-domain",),
        references=REFERENCES,
        source=Source(
            homepage="https://datasets.simula.no/kvasir-seg/",
            licence=(
                "No prior permission is required for downloading when using the dataset for "
                "academic and research purposes. For commercial purposes, prior permission is "
                "required."
            ),
            commercial="no",
            citation=(
                "Jha, D. et al. Kvasir-SEG: a segmented polyp dataset. In MultiMedia Modeling "
                "(eds Ro, Y. M. et al.) 451-462 (Springer, 2020). "
                "https://doi.org/10.1007/978-3-030-37734-2_37"
            ),
            access="open",
            download=(
                "download https://datasets.simula.no/downloads/kvasir-seg.zip",
                "unpack it into the folder kvasir of the data root, so that "
                "kvasir/Kvasir-SEG/images exists",
            ),
            archives=(ARCHIVE,),
        ),
    )
