"""umedpt-task-arvaniti: Gleason patterns in prostate tissue microarrays (Arvaniti-WSI)."""

from collections.abc import Iterator

from umedpt_core import Archive, Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1

FILES = {
    3201623: ("ZT76_39_A", "054be24c8522bdacef2916a48e2463da238e39efbb96c4aae6e2f802168cc14f"),
    3201625: ("ZT76_39_B", "9d18c74ea72e6936a7ec6481373191b0c3da4f1a915280439b25efa7bcb645dc"),
    3201626: ("ZT80_38_A", "3ae19e2a3b00c4158171487da7cab10f05cbaddbb256a41ad6be73f4be091972"),
    3201627: ("ZT80_38_B", "406211b0822d165555346ae459db6ddb1daa32c9257f1578aeb7c2da03f3c910"),
    3201628: ("ZT80_38_C", "16bda74826ac8c907c85460b72f713f4f63d765167c18b2729743eed7e806048"),
    3201629: ("ZT111_4_A", "4e87448fe2db959a757c792069df5d49aaf08f305484a829832cb2d44e60fba0"),
    3201630: ("ZT111_4_B", "6e898136490c5fc4d46bb66541519a4bdfe77bcb7fcc7d2f39440195e8fe01ce"),
    3201631: ("ZT111_4_C", "85eeeeefd89f55d4aa12ce498f573c55f2ed83bf957b73a736a446cdb7540b45"),
    3201632: ("ZT199_1_A", "2e1f4cc38097d36be6d33c76688ec85df87c7f53812b205e34c1d5c47a720b45"),
    3201633: ("ZT199_1_B", "fa2d79e4891c5043f4dbb3db92e8d75de8d2f7c9afdf51d48c80dfb4f1d0b507"),
    3201634: ("ZT204_6_A", "ad02fe27bbdae2d2af0bf4e9725d8dabe1c15bdb49125e9e0131705401cdb610"),
    3201635: ("ZT204_6_B", "b89d3b8422cb1c2a9f3034d4f146ba0d3ce82260ab512c5ea5fc983506205c14"),
    3201636: (
        "Gleason_masks_train",
        "f4a3ce4a599b210d60cddc6ad3cd8d28d58546fbdb82ee59ba52fc66e90698a6",
    ),
    3201654: (
        "Gleason_masks_test_pathologist1",
        "265c31f163072c7cdab9bcd850748b9196e79ac68497449dad542a3095f388ff",
    ),
}
"""The folder in each file of the record, and the file's SHA-256."""


@hookimpl
def umedpt_tasks() -> Iterator[TaskSpec]:
    """Register the task."""
    yield TaskSpec(
        name="arvaniti",
        label_type="multilabel",
        modality="microscopy",
        classes=("benign", "Gleason 3", "Gleason 4", "Gleason 5"),
        cases="umedpt_task_arvaniti.data:open_cases",
        fake="umedpt_task_arvaniti.data:make_fake",
        instances=Whole(size=512),
        augmentation="histology",
        splits=("train", "val", "test"),
        suites=("umedpt", "umedpt-clf"),
        source=Source(
            homepage="https://doi.org/10.7910/DVN/OCYCMP",
            licence="CC0-1.0",
            commercial="yes",
            citation=(
                "Arvaniti, E. et al. Automated Gleason grading of prostate cancer tissue "
                "microarrays via deep learning. Sci. Rep. 8, 12054 (2018). "
                "https://doi.org/10.1038/s41598-018-30535-1. Data: Arvaniti, E. et al. Replication "
                "data for: Automated Gleason grading of prostate cancer tissue microarrays via "
                "deep learning. Harvard Dataverse (2018). https://doi.org/10.7910/DVN/OCYCMP"
            ),
            access="open",
            download=(
                "from https://doi.org/10.7910/DVN/OCYCMP download the twelve archives "
                "ZT*.tar.gz, Gleason_masks_train.tar.gz and Gleason_masks_test_pathologist1.tar.gz",
                "unpack them all in the folder arvaniti of the data root, so that "
                "arvaniti/ZT111_4_A and arvaniti/Gleason_masks_train exist",
            ),
            archives=tuple(
                Archive(
                    url=f"https://dataverse.harvard.edu/api/access/datafile/{file}",
                    checksum=f"sha256:{digest}",
                    folder=folder,
                )
                for file, (folder, digest) in FILES.items()
            ),
        ),
    )
