"""umedpt-task-bach: breast cancer histology in four classes (BACH 2018), BC-Bach-WSI."""

from collections.abc import Iterator

from umedpt_core import Archive, Reference, Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1

PAPER = "Schäfer et al. 2024"
"""UMedPT, Nature Computational Science. It does not say how it averages F1 over the classes."""

REFERENCES = (
    Reference(
        metric="f1",
        value=0.729,
        setting="ImageNet, frozen, 100 %",
        source=f"{PAPER}, Fig. 4b and Results",
        needed={"frozen": 0.5},
    ),
    Reference(metric="f1", value=0.78, setting="UMedPT, frozen, 50 %", source=f"{PAPER}, Results"),
    Reference(
        metric="accuracy",
        value=0.87,
        setting="Aresta et al. 2019, another split",
        source=f"{PAPER}, Table 1",
        needed={"finetune": 0.5},
    ),
)

ARCHIVE = Archive(
    url="https://zenodo.org/records/3632035/files/ICIAR2018_BACH_Challenge.zip",
    checksum="md5:8ae1801334aa943c44627c1eef3631b2",
    folder="ICIAR2018_BACH_Challenge",
)


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="bach",
        label_type="classification",
        modality="microscopy",
        classes=("normal", "benign", "in situ carcinoma", "invasive carcinoma"),
        cases="umedpt_task_bach.data:open_cases",
        fake="umedpt_task_bach.data:make_fake",
        instances=Whole(size=512),
        augmentation="histology",
        splits=("train", "test"),
        suites=("umedpt-out-of-domain",),
        references=REFERENCES,
        source=Source(
            homepage="https://iciar2018-challenge.grand-challenge.org/Dataset/",
            licence="CC-BY-NC-ND-4.0",
            commercial="no",
            citation=(
                "Aresta, G. et al. BACH: grand challenge on breast cancer histology images. "
                "Medical Image Analysis 56, 122-139 (2019). "
                "https://doi.org/10.1016/j.media.2019.05.010. Data: "
                "https://doi.org/10.5281/zenodo.3632035"
            ),
            access="open",
            download=(
                "download ICIAR2018_BACH_Challenge.zip (10.4 GB) from "
                "https://zenodo.org/records/3632035",
                "unpack it into the folder bach of the data root, so that "
                "bach/ICIAR2018_BACH_Challenge/Photos/Normal exists",
            ),
            archives=(ARCHIVE,),
        ),
    )
