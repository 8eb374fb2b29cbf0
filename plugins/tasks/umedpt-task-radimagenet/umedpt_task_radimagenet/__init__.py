"""umedpt-task-radimagenet: anatomy and pathology in CT, MRI and ultrasound (RadImageNet)."""

from collections.abc import Iterator

from umedpt_core import Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1

LABELS = {
    "CT/abd": """normal adrenal_pathology arterial_pathology ascites bil_dil bladder_pathology
        bowel_abnormality bowel_inflammation bowel_mass degenerative_changes dilated_urinary_tract
        entire_organ fat_containing_tumor gallbladder_pathology gallstone intraperitoneal_mass
        liver_lesion osseous_neoplasm ovarian_pathology pancreatic_lesion post_op prostate_lesion
        renal_lesion soft_tissue_collection soft_tissue_mass splenic_lesion urolithiasis
        uterine_pathology""",
    "CT/lung": """normal airspace_opacity bronchiectasis interstitial_lung_disease nodule
        parenchyma_destruction""",
    "MR/af": """normal achilles_pathology atfl_pathology bone_inflammation cfl_pathology
        chondral_abnormality coalition deltoid_pathology extensor_pathology fat_containing_tumor
        flexor_pathology hematoma intra lisfranc_pathology osseous_disruption osseous_neoplasm
        peroneal_pathology plantar_fascia_pathology plantar_plate_tear post_op soft_tissue_edema
        soft_tissue_fluid soft_tissue_mass spring_ligament_injury syndesmosis_pathology""",
    "MR/brain": """normal acute_infarct arteriovenous_anomaly chronic_infarct edema extra
        focal_flair_hyper intra pituatary_lesion white_matter_changes""",
    "MR/hip": """normal abductor_pathology capsular_pathology chondral_pathology
        hamstring_pathology hematoma labral_pathology marrow_inflammation osseous_disruption
        osseous_lesion post_op soft_tissue_edema soft_tissue_fluid soft_tissue_mass""",
    "MR/knee": """normal acl_pathology bone_inflammation chondral_abnormality fcl_pathology fracture
        hematoma intra mcl_pathology meniscal_abnormality muscle_strain patella_pathology
        pcl_pathology post_operative_acl quad_pathology soft_tissue_edema
        soft_tissue_fluid_collection soft_tissue_mass""",
    "MR/mriabd": """normal adrenal_pathology arterial_pathology ascites bil_dil bladder_pathology
        bowel_abnormality bowel_inflammation bowel_mass degenerative_changes dilated_urinary_tract
        enlarged_organ gallbladder_pathology intraperitoneal_mass liver_disease liver_lesion
        marrow_abn osseous_neoplasm ovarian_pathology pancreatic_lesion prostate_lesion renal_lesion
        soft_tissue_collection soft_tissue_mass splenic_lesion uterine_pathology""",
    "MR/shoulder": """normal acj_oa biceps_pathology ca_tendinosis ghj_oa infraspinatus_pathology
        labral_pathology marrow_inflammation osseous_lesion post_op soft_tissue_edema
        soft_tissue_fluid subscapularis_pathology supraspinatus_pathology""",
    "MR/spine": """normal cord_pathology cystic_lesions disc_pathology dural_epidural_abn
        facet_arthropathy foraminal_pathlogy osseous_abn scoliosis""",
    "US": """aorta bladder cbd fibroid gb ivc kidney liver ovary pancreas portal_vein spleen thyroid
        thyroid_nodule uterus""",
}
"""Folder of a modality and an anatomy to the folders in it, spelt as the publisher does; only the
case and marks other than a single inner underscore are evened out."""


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="radimagenet",
        label_type="classification",
        modality="CT, MRI, ultrasound",
        classes=tuple(f"{base}/{name}" for base, names in LABELS.items() for name in names.split()),
        cases="umedpt_task_radimagenet.data:open_cases",
        fake="umedpt_task_radimagenet.data:make_fake",
        instances=Whole(size=224),
        augmentation="standard",
        splits=("train", "val", "test"),
        suites=("umedpt", "umedpt-clf"),
        source=Source(
            homepage="https://www.radimagenet.com/",
            licence="Available by request; the terms come with the access",
            commercial="unknown",
            citation=(
                "Mei, X. et al. RadImageNet: an open radiologic deep learning research dataset for "
                "effective transfer learning. Radiol. Artif. Intell. 4, e210315 (2022). "
                "https://doi.org/10.1148/ryai.210315"
            ),
            access="registration",
            download=(
                "request access at https://www.radimagenet.com/ and unpack the archive in the "
                "folder radimagenet of the data root, so that radimagenet/radiology_ai/CT exists",
                "put RadiologyAI_train.csv, RadiologyAI_val.csv and RadiologyAI_test.csv, to which "
                "https://github.com/BMEII-AI/RadImageNet leads, into the folder radimagenet",
            ),
        ),
    )
