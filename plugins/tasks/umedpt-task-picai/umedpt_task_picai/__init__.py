"""umedpt-task-picai: clinically significant prostate cancer in MRI (PI-CAI), PICAI-MRI."""

from collections.abc import Iterator

from umedpt_core import Bag, Source, TaskSpec, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="picai",
        label_type="bag",
        modality="MRI",
        classes=("no csPCa", "csPCa"),
        cases="umedpt_task_picai.data:open_cases",
        fake="umedpt_task_picai.fake:make_fake",
        instances=Bag(size=256, axis="axial", most=32),
        intensity="mri",
        augmentation="tomography",
        suites=("umedpt", "umedpt-clf"),
        splits=("train", "test"),
        options="umedpt_task_picai.data:Options",
        source=Source(
            homepage="https://pi-cai.grand-challenge.org/DATA/",
            licence="CC-BY-NC-4.0",
            commercial="no",
            citation=(
                "Saha, A., Twilt, J. J., Bosma, J. S., van Ginneken, B., Yakar, D., Elschot, M., "
                "Veltman, J., Fütterer, J. J., de Rooij, M. & Huisman, H. Artificial Intelligence "
                "and Radiologists at Prostate Cancer Detection in MRI: The PI-CAI Challenge. "
                "Zenodo (2022). https://doi.org/10.5281/zenodo.6522364"
            ),
            access="open",
            download=(
                "download picai_public_images_fold0.zip to picai_public_images_fold4.zip from "
                "https://zenodo.org/records/6624726",
                "unpack all five into the folder picai/images of the data root, so that "
                "picai/images/10000 exists; a folder an archive will do, too",
                "git clone https://github.com/DIAGNijmegen/picai_labels into the folder picai, so "
                "that picai/picai_labels/clinical_information/marksheet.csv exists",
            ),
        ),
    )
