"""umedpt-task-amos: segmentation of 15 abdominal organs in CT and MRI (AMOS22), Amos22."""

from collections.abc import Iterator

from umedpt_core import Archive, Slices, Source, TaskSpec, hookimpl

UMEDPT_API = 1

CLASSES = (
    "background",
    "spleen",
    "right kidney",
    "left kidney",
    "gall bladder",
    "esophagus",
    "liver",
    "stomach",
    "aorta",
    "postcava",
    "pancreas",
    "right adrenal gland",
    "left adrenal gland",
    "duodenum",
    "bladder",
    "prostate/uterus",
)
"""``labels`` of dataset.json, which spells the aorta ``arota``."""

ARCHIVE = Archive(
    url="https://zenodo.org/records/7155725/files/amos22.zip",
    checksum="sha256:d2fbf2c31abba9824d183f05741ce187b17905b8cca64d1078eabf1ba96775c2",
    folder="amos22",
)


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="amos",
        label_type="segmentation",
        modality="CT",
        classes=CLASSES,
        cases="umedpt_task_amos.data:open_cases",
        fake="umedpt_task_amos.fake:make_fake",
        instances=Slices(size=512, axis="axial", foreground=0.5),
        intensity="ct",
        augmentation="tomography",
        suites=("umedpt",),
        splits=("train", "test"),
        options="umedpt_task_amos.data:Options",
        source=Source(
            homepage="https://amos22.grand-challenge.org/",
            licence="CC-BY-4.0 on Zenodo, CC-BY-NC-SA-4.0 with the publication",
            commercial="unknown",
            citation=(
                "Ji, Y., Bai, H., Ge, C. et al. AMOS: a large-scale abdominal multi-organ "
                "benchmark for versatile medical image segmentation. Advances in Neural "
                "Information Processing Systems 35, 36722-36732 (2022). "
                "https://doi.org/10.48550/arXiv.2206.08023"
            ),
            access="open",
            download=(
                "download https://zenodo.org/records/7262581/files/amos22.zip (24 GB)",
                "unpack it into the folder amos of the data root, so that "
                "amos/amos22/dataset.json exists",
            ),
            archives=(ARCHIVE,),
        ),
    )
