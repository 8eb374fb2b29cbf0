"""umedpt-task-msd: the ten tasks of the Medical Segmentation Decathlon."""

from collections.abc import Iterator
from typing import NamedTuple

from umedpt_core import Archive, Slices, Source, TaskSpec, hookimpl
from umedpt_core.specs import Axis

UMEDPT_API = 1

ARCHIVES = "https://msd-for-monai.s3-us-west-2.amazonaws.com"

CHECKSUMS = {
    "Task01_BrainTumour": "md5:240a19d752f0d9e9101544901065d872",
    "Task02_Heart": "md5:06ee59366e1e5124267b774dbd654057",
    "Task03_Liver": "md5:a90ec6c4aa7f6a3d087205e23d4e6397",
    "Task04_Hippocampus": "md5:9d24dba78a72977dbd1d2e110310f31b",
    "Task05_Prostate": "md5:35138f08b1efaef89d7424d2bcc928db",
    "Task06_Lung": "md5:8afd997733c7fc0432f71255ba4e52dc",
    "Task07_Pancreas": "md5:4f7080cfca169fa8066d17ce6eb061e4",
    "Task08_HepaticVessel": "md5:641d79e80ec66453921d997fbf12a29c",
    "Task09_Spleen": "md5:410d4a301da4e5b2f6f86ec3ddba524e",
    "Task10_Colon": "md5:bad7a188931dc2f6acf72b08eb6202d0",
}
"""Of the archives, as MONAI, which keeps them, states in its DecathlonDataset."""


class Facts(NamedTuple):
    """One task of the decathlon.

    Attributes:
        folder: The name of its archive and of the folder in it.
        prefix: What its files' names begin with.
        sequences: ``modality`` of its dataset.json, in the order of the channels.
        classes: ``labels`` of its dataset.json, in the order of their indices.
        size: The longer edge of its slices.
        axis: ``axial`` where voxels are far from cubic.
    """

    folder: str
    prefix: str
    sequences: tuple[str, ...]
    classes: tuple[str, ...]
    size: int
    axis: Axis | str = "random"


TASKS = {
    "brain-tumour": Facts(
        "Task01_BrainTumour",
        "BRATS",
        ("FLAIR", "T1w", "t1gd", "T2w"),
        ("background", "edema", "non-enhancing tumor", "enhancing tumour"),
        256,
    ),
    "heart": Facts("Task02_Heart", "la", ("MRI",), ("background", "left atrium"), 320),
    "liver": Facts("Task03_Liver", "liver", ("CT",), ("background", "liver", "cancer"), 512),
    "hippocampus": Facts(
        "Task04_Hippocampus",
        "hippocampus",
        ("MRI",),
        ("background", "Anterior", "Posterior"),
        224,
    ),
    "prostate": Facts(
        "Task05_Prostate", "prostate", ("T2", "ADC"), ("background", "PZ", "TZ"), 224, "axial"
    ),
    "lung": Facts("Task06_Lung", "lung", ("CT",), ("background", "cancer"), 512),
    "pancreas": Facts(
        "Task07_Pancreas", "pancreas", ("CT",), ("background", "pancreas", "cancer"), 512, "axial"
    ),
    "hepatic-vessel": Facts(
        "Task08_HepaticVessel",
        "hepaticvessel",
        ("CT",),
        ("background", "Vessel", "Tumour"),
        512,
        "axial",
    ),
    "spleen": Facts("Task09_Spleen", "spleen", ("CT",), ("background", "spleen"), 512, "axial"),
    "colon": Facts(
        "Task10_Colon", "colon", ("CT",), ("background", "colon cancer primaries"), 512, "axial"
    ),
}
"""By the slug that follows ``msd-`` in the task's name."""


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the ten tasks; all read the folder ``msd`` of the data root."""
    for slug, facts in TASKS.items():
        modality = "CT" if facts.sequences == ("CT",) else "MRI"
        yield TaskSpec(
            name=f"msd-{slug}",
            label_type="segmentation",
            modality=modality,
            classes=facts.classes,
            cases=f"umedpt_task_msd.data:open_{slug.replace('-', '_')}",
            fake="umedpt_task_msd.fake:make_fake",
            instances=Slices(size=facts.size, axis=facts.axis, foreground=0.5),
            intensity=modality.lower(),
            augmentation="tomography",
            options="umedpt_task_msd.data:Options" if slug == "brain-tumour" else None,
            source=Source(
                homepage="http://medicaldecathlon.com",
                licence="CC-BY-SA-4.0",
                commercial="yes",
                citation=(
                    "Antonelli, M., Reinke, A., Bakas, S. et al. The Medical Segmentation "
                    "Decathlon. Nature Communications 13, 4128 (2022). "
                    "https://doi.org/10.1038/s41467-022-30695-9. Data: Simpson, A. L., Antonelli, "
                    "M., Bakas, S. et al. A large annotated medical image dataset for the "
                    "development and evaluation of segmentation algorithms. arXiv:1902.09063 "
                    "(2019)."
                ),
                access="open",
                download=(
                    f"download {ARCHIVES}/{facts.folder}.tar, or the same file through "
                    "http://medicaldecathlon.com",
                    f"unpack it into the folder msd of the data root, so that msd/{facts.folder}/"
                    "dataset.json exists",
                ),
                archives=(
                    Archive(
                        url=f"{ARCHIVES}/{facts.folder}.tar",
                        checksum=CHECKSUMS[facts.folder],
                        folder=facts.folder,
                    ),
                ),
            ),
        )
