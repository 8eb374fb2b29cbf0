"""umedpt-task-imagenet: objects in photographs, 1,000 classes (ImageNet, ILSVRC 2012)."""

from collections.abc import Iterator
from pathlib import Path

from umedpt_core import Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1

SYNSETS = dict(
    line.split(" ", 1)
    for line in Path(__file__).with_name("classes.txt").read_text(encoding="utf-8").splitlines()
)
"""WordNet id to name, in the order of the ids."""


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="imagenet",
        label_type="classification",
        modality="photograph",
        classes=tuple(SYNSETS.values()),
        cases="umedpt_task_imagenet.data:open_cases",
        fake="umedpt_task_imagenet.data:make_fake",
        instances=Whole(size=224),
        augmentation="standard",
        splits=("train", "test"),
        suites=("umedpt", "umedpt-clf"),
        source=Source(
            homepage="https://www.image-net.org/download.php",
            licence="ImageNet terms of access: non-commercial research and educational purposes",
            commercial="no",
            citation=(
                "Deng, J. et al. ImageNet: a large-scale hierarchical image database. In Proc. "
                "2009 IEEE Conference on Computer Vision and Pattern Recognition 248-255 (IEEE, "
                "2009). https://doi.org/10.1109/CVPR.2009.5206848"
            ),
            access="registration",
            download=(
                "register at https://www.image-net.org/download.php, or accept the rules of "
                "https://www.kaggle.com/c/imagenet-object-localization-challenge, and download "
                "ILSVRC 2012, classification and localization (over 140 GB)",
                "unpack it in the folder imagenet of the data root, so that "
                "imagenet/train/n01440764 or imagenet/ILSVRC/Data/CLS-LOC/train/n01440764 exists",
                "put Kaggle's LOC_val_solution.csv into the folder imagenet, or sort val into "
                "folders, so that val/n01440764 exists",
            ),
        ),
    )
