"""umedpt-task-cyto: bone marrow cells in 21 classes (Matek et al. 2021), Cyto-WSI."""

from collections.abc import Iterator

from umedpt_core import Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="cyto",
        label_type="classification",
        modality="microscopy",
        classes=(
            "abnormal eosinophil",
            "artefact",
            "basophil",
            "blast",
            "erythroblast",
            "eosinophil",
            "faggott cell",
            "hairy cell",
            "smudge cell",
            "immature lymphocyte",
            "lymphocyte",
            "metamyelocyte",
            "monocyte",
            "myelocyte",
            "band neutrophil",
            "segmented neutrophil",
            "not identifiable",
            "other cell",
            "proerythroblast",
            "plasma cell",
            "promyelocyte",
        ),
        cases="umedpt_task_cyto.data:open_cases",
        fake="umedpt_task_cyto.data:make_fake",
        instances=Whole(size=256),
        augmentation="histology",
        splits=("train", "test"),
        suites=("umedpt", "umedpt-clf"),
        source=Source(
            homepage=(
                "https://www.cancerimagingarchive.net/collection/"
                "bone-marrow-cytomorphology_mll_helmholtz_fraunhofer/"
            ),
            licence="CC-BY-4.0",
            commercial="yes",
            citation=(
                "Matek, C., Krappe, S., Münzenmayer, C., Haferlach, T. & Marr, C. An "
                "expert-annotated dataset of bone marrow cytology in hematologic malignancies. The "
                "Cancer Imaging Archive (2021). https://doi.org/10.7937/TCIA.AXH3-T579. Matek, C. "
                "et al. Highly accurate differentiation of bone marrow cell morphologies using "
                "deep neural networks on a large image data set. Blood 138, 1917-1927 (2021). "
                "https://doi.org/10.1182/blood.2020010568"
            ),
            access="open",
            download=(
                "download the images (6.8 GB) from https://www.cancerimagingarchive.net/collection/"
                "bone-marrow-cytomorphology_mll_helmholtz_fraunhofer/ with the IBM Aspera Connect "
                "plugin",
                "put the folder BM_cytomorphology_data into the folder cyto of the data root, so "
                "that cyto/BM_cytomorphology_data/ABE exists",
            ),
        ),
    )
