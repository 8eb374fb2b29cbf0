"""umedpt-task-crc: tissue classes in colorectal cancer histology (Kather 2018), CRC-WSI."""

from collections.abc import Iterator

from umedpt_core import Archive, Reference, Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1

PAPER = "Schäfer et al. 2024"
"""UMedPT, Nature Computational Science. It does not say how it averages F1 over the classes."""

REFERENCES = (
    Reference(
        metric="f1",
        value=0.952,
        setting="ImageNet, fine-tuned, 100 %",
        source=f"{PAPER}, Fig. 3b and Results",
        needed={"frozen": 0.01},
    ),
    Reference(metric="f1", value=0.954, setting="UMedPT, frozen, 1 %", source=f"{PAPER}, Results"),
    Reference(
        metric="accuracy",
        value=0.94,
        setting="Kather et al. 2019 (given as > 94 %)",
        source=f"{PAPER}, Table 1",
        needed={"frozen": 0.01, "finetune": 0.01},
    ),
)

ARCHIVES = (
    Archive(
        url="https://zenodo.org/records/1214456/files/NCT-CRC-HE-100K.zip",
        checksum="md5:6fd702d11df6292bc054397ae038a464",
        folder="NCT-CRC-HE-100K",
        size=11_690_284_003,
    ),
    Archive(
        url="https://zenodo.org/records/1214456/files/CRC-VAL-HE-7K.zip",
        checksum="md5:2fd1651b4f94ebd818ebf90ad2b6ce06",
        folder="CRC-VAL-HE-7K",
        size=800_276_929,
    ),
)


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="crc",
        label_type="classification",
        modality="microscopy",
        classes=(
            "adipose",
            "background",
            "debris",
            "lymphocytes",
            "mucus",
            "smooth muscle",
            "normal colon mucosa",
            "cancer-associated stroma",
            "colorectal adenocarcinoma epithelium",
        ),
        cases="umedpt_task_crc.data:open_cases",
        fake="umedpt_task_crc.data:make_fake",
        instances=Whole(size=224),
        augmentation="histology",
        splits=("train", "test"),
        suites=("umedpt", "umedpt-clf", "umedpt-in-domain"),
        references=REFERENCES,
        source=Source(
            homepage="https://zenodo.org/records/1214456",
            licence="CC-BY-4.0",
            commercial="yes",
            citation=(
                "Kather, J. N., Halama, N. & Marx, A. 100,000 histological images of human "
                "colorectal cancer and healthy tissue. Zenodo (2018). "
                "https://doi.org/10.5281/zenodo.1214456. Kather, J. N. et al. Predicting survival "
                "from colorectal cancer histology slides using deep learning: a retrospective "
                "multicenter study. PLoS Medicine 16, e1002730 (2019). "
                "https://doi.org/10.1371/journal.pmed.1002730"
            ),
            access="open",
            download=(
                "download NCT-CRC-HE-100K.zip (11.7 GB) and CRC-VAL-HE-7K.zip (0.8 GB) from "
                "https://zenodo.org/records/1214456",
                "unpack both into the folder crc of the data root, so that "
                "crc/NCT-CRC-HE-100K/ADI and crc/CRC-VAL-HE-7K/ADI exist",
            ),
            archives=ARCHIVES,
        ),
    )
