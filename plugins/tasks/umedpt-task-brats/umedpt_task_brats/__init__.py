"""umedpt-task-brats: segmentation of gliomas in MRI (BraTS 2020), Brats2020-MRI."""

from collections.abc import Iterator

from umedpt_core import Slices, Source, TaskSpec, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="brats",
        label_type="segmentation",
        modality="MRI",
        classes=(
            "background",
            "necrotic and non-enhancing tumor core",
            "peritumoral edema",
            "GD-enhancing tumor",
        ),
        cases="umedpt_task_brats.data:open_cases",
        fake="umedpt_task_brats.data:make_fake",
        instances=Slices(size=224, foreground=0.5),
        intensity="mri",
        augmentation="tomography",
        suites=("umedpt",),
        options="umedpt_task_brats.data:Options",
        source=Source(
            homepage="https://www.med.upenn.edu/cbica/brats2020/data.html",
            licence=(
                "You are free to use and/or refer to the BraTS datasets in your own research, "
                "provided that you always cite the following three manuscripts [see citation]."
            ),
            commercial="unknown",
            citation=(
                "Menze, B. H., Jakab, A., Bauer, S. et al. The multimodal brain tumor image "
                "segmentation benchmark (BRATS). IEEE Transactions on Medical Imaging 34(10), "
                "1993-2024 (2015). https://doi.org/10.1109/TMI.2014.2377694. "
                "Bakas, S., Akbari, H., Sotiras, A. et al. Advancing The Cancer Genome Atlas "
                "glioma MRI collections with expert segmentation labels and radiomic features. "
                "Scientific Data 4, 170117 (2017). https://doi.org/10.1038/sdata.2017.117. "
                "Bakas, S., Reyes, M., Jakab, A. et al. Identifying the best machine learning "
                "algorithms for brain tumor segmentation, progression assessment, and overall "
                "survival prediction in the BRATS challenge. arXiv:1811.02629 (2018)."
            ),
            access="registration",
            download=(
                "register as 'Registration/Data Request' on "
                "https://www.med.upenn.edu/cbica/brats2020/data.html says, and download the "
                "training data",
                "unpack it into the folder brats of the data root, so that "
                "brats/MICCAI_BraTS2020_TrainingData/BraTS20_Training_001 exists",
            ),
        ),
    )
