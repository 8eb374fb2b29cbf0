"""umedpt-task-coco: objects in photographs, as segmentation and as detection (COCO 2017)."""

from collections.abc import Iterator

from umedpt_core import Archive, Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1

# fmt: off
OBJECTS = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
"""The 80 categories in the order of their ids, which run from 1 to 90 with gaps."""

ARCHIVES = (
    Archive(
        url="http://images.cocodataset.org/zips/train2017.zip",
        checksum="md5:cced6f7f71b7629ddf16f17bbcfab6b2",
        folder="train2017",
        size=19_336_861_798,
    ),
    Archive(
        url="http://images.cocodataset.org/zips/val2017.zip",
        checksum="md5:442b8da7639aecaf257c1dceb8ba8c80",
        folder="val2017",
        size=815_585_330,
    ),
    Archive(
        url="http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
        checksum="md5:f4bbac642086de4f52a3fdda2de5fa2c",
        folder="annotations",
        size=252_907_541,
    ),
)

SOURCE = Source(
    homepage="https://cocodataset.org/#download",
    licence="Annotations: CC-BY-4.0. Images: Flickr Terms of Use, a licence for each image",
    commercial="unknown",
    citation=(
        "Lin, T.-Y. et al. Microsoft COCO: common objects in context. In Proc. Computer Vision - "
        "ECCV 2014, Lecture Notes in Computer Science 8693, 740-755 (Springer, 2014). "
        "https://doi.org/10.1007/978-3-319-10602-1_48"
    ),
    access="open",
    download=(
        "download train2017.zip (18 GB) and val2017.zip (1 GB) from "
        "http://images.cocodataset.org/zips/ and annotations_trainval2017.zip from "
        "http://images.cocodataset.org/annotations/",
        "unpack all three in the folder coco of the data root, so that coco/train2017, "
        "coco/val2017 and coco/annotations/instances_train2017.json exist",
    ),
    archives=ARCHIVES,
)


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register one task a label type."""
    for label_type, classes in (
        ("segmentation", ("background", *OBJECTS)),
        ("detection", OBJECTS),
    ):
        yield TaskSpec(
            name=f"coco-{label_type}",
            label_type=label_type,
            modality="photograph",
            classes=classes,
            cases=f"umedpt_task_coco.data:open_{label_type}",
            fake="umedpt_task_coco.data:make_fake",
            instances=Whole(size=512),
            augmentation="standard",
            splits=("train", "test"),
            suites=("umedpt",),
            source=SOURCE,
        )
