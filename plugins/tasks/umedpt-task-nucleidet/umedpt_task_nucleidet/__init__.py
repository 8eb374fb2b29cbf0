"""umedpt-task-nucleidet: detection of nuclei in TCGA tissue (Hou et al. 2020), NucleiDet-WSI."""

from collections.abc import Iterator

from umedpt_core import Reference, Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1

PAPER = "Schäfer et al. 2024, Results"
"""UMedPT, Nature Computational Science; its 406 test images are not published."""

REFERENCES = (
    Reference(
        metric="map",
        value=0.71,
        setting="ImageNet, fine-tuned, 100 %, other test images, overlaps not stated",
        source=PAPER,
        needed={"frozen": 0.5},
    ),
    Reference(
        metric="map",
        value=0.792,
        setting="UMedPT, fine-tuned, 100 %, other test images, overlaps not stated",
        source=PAPER,
    ),
)

ARCHIVE = "https://www.cancerimagingarchive.net"
CASES_FILE = "Pan-Cancer-Nuclei-Seg_1365patches_to_TCGA-ID_readme.txt"
"""Which TCGA case a patch is of."""


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="nucleidet",
        label_type="detection",
        modality="microscopy",
        classes=("nucleus",),
        cases="umedpt_task_nucleidet.data:open_cases",
        fake="umedpt_task_nucleidet.data:make_fake",
        instances=Whole(size=512),
        augmentation="histology",
        splits=("train", "test"),
        suites=("umedpt-in-domain",),
        references=REFERENCES,
        source=Source(
            homepage=f"{ARCHIVE}/analysis-result/pan-cancer-nuclei-seg/",
            licence="CC-BY-3.0",
            commercial="unknown",
            citation=(
                "Hou, L. et al. Dataset of segmented nuclei in hematoxylin and eosin stained "
                "histopathology images of ten cancer types. Scientific Data 7, 185 (2020). "
                "https://doi.org/10.1038/s41597-020-0528-1. Data: "
                "https://doi.org/10.7937/TCIA.2019.4A4DKP9U"
            ),
            access="open",
            download=(
                "download manual_segmentation_data.tar.gz, to which "
                f"{ARCHIVE}/analysis-result/pan-cancer-nuclei-seg/ links",
                "unpack it into the folder nucleidet of the data root, so that "
                "nucleidet/manual_segmentation_data/1_crop.png exists",
                f"download {ARCHIVE}/wp-content/uploads/{CASES_FILE} into the folder nucleidet",
            ),
        ),
    )
