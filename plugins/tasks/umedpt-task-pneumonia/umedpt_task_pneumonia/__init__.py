"""umedpt-task-pneumonia: pneumonia in paediatric chest X-rays (Kermany 2018), Pneumo-CXR."""

from collections.abc import Iterator

from umedpt_core import Archive, Reference, Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1

PAPER = "Schäfer et al. 2024"
"""UMedPT, Nature Computational Science. It does not say how it averages F1 over the classes."""

REFERENCES = (
    Reference(
        metric="f1",
        value=0.903,
        setting="ImageNet, fine-tuned, 100 %",
        source=f"{PAPER}, Fig. 3a and Results",
        needed={"frozen": 0.01},
    ),
    Reference(metric="f1", value=0.935, setting="UMedPT, frozen, 5 %", source=f"{PAPER}, Results"),
    Reference(
        metric="accuracy",
        value=0.928,
        setting="Kermany et al. 2018",
        source=f"{PAPER}, Table 1",
        needed={"frozen": 0.05, "finetune": 0.01},
    ),
)

ARCHIVE = Archive(
    url=(
        "https://data.mendeley.com/public-files/datasets/rscbjbr9sj/files/"
        "f12eaf6d-6023-432f-acc9-80c9d7393433/file_downloaded"
    ),
    checksum="sha256:13efc055629733dbab07877f8b3c9f81097840dbcdaa326a8542322c2281ce36",
    folder="chest_xray",
    size=1_235_512_464,
)


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="pneumonia",
        label_type="classification",
        modality="X-ray",
        classes=("normal", "pneumonia"),
        cases="umedpt_task_pneumonia.data:open_cases",
        fake="umedpt_task_pneumonia.data:make_fake",
        instances=Whole(size=512),
        augmentation="cxr",
        splits=("train", "test"),
        suites=("umedpt-benchmark",),
        references=REFERENCES,
        source=Source(
            homepage="https://data.mendeley.com/datasets/rscbjbr9sj/2",
            licence="CC-BY-4.0",
            commercial="yes",
            citation=(
                "Kermany, D. S. et al. Identifying medical diagnoses and treatable diseases by "
                "image-based deep learning. Cell 172, 1122-1131.e9 (2018). "
                "https://doi.org/10.1016/j.cell.2018.02.010. Data: Kermany, D., Zhang, K. & "
                "Goldbaum, M. Labeled optical coherence tomography (OCT) and chest X-ray images "
                "for classification. Mendeley Data, V2 (2018). "
                "https://doi.org/10.17632/rscbjbr9sj.2"
            ),
            access="open",
            download=(
                "download ChestXRay2017.zip from https://data.mendeley.com/datasets/rscbjbr9sj/2",
                "unpack it into the folder pneumonia of the data root, so that "
                "pneumonia/chest_xray/train/NORMAL exists",
            ),
            archives=(ARCHIVE,),
        ),
    )
