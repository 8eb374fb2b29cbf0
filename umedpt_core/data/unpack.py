"""Unpacking archives that others made: every member is looked at before anything is written."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path

from ..errors import UmedptError, reason

DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error)
ENCRYPTED = 1
"""A bit of the flags of a zip's member."""


def unpack(file: Path, folder: Path) -> None:
    """Unpack a zip or tar file that holds nothing but plain files and folders.

    Every member is looked at before the first is written: absolute paths, ``..``, links, devices
    and encrypted members are refused.

    Args:
        file: The archive; what it is, is told by its content.
        folder: A new folder.

    Raises:
        UmedptError: The archive is refused or damaged, or there is no space for its content.
        OSError: The disk is full or unwritable.
    """
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as opened:
                infos = opened.infolist()
                for info in infos:
                    # 0: made on a system that stores no mode
                    kind = stat.S_IFMT(info.external_attr >> 16)
                    plain = (
                        kind in (0, stat.S_IFREG, stat.S_IFDIR) and not info.flag_bits & ENCRYPTED
                    )
                    _check_member(file, info.filename, plain)
                check_space(folder.parent, sum(info.file_size for info in infos))
                opened.extractall(folder)  # noqa: S202, its members were looked at
        elif tarfile.is_tarfile(file):
            with tarfile.open(file) as archive:
                members = archive.getmembers()
                for member in members:
                    _check_member(file, member.name, member.isreg() or member.isdir())
                check_space(folder.parent, sum(member.size for member in members))
                archive.extractall(folder, members, filter="data")
        else:
            raise UmedptError(f"{file} is neither a zip nor a tar file; unpack it by hand")
    except (*DAMAGED, NotImplementedError) as error:  # a compression that zipfile does not know
        raise UmedptError(f"cannot unpack {file}: {reason(error)}; try it by hand") from error


def _check_member(file: Path, name: str, plain: bool) -> None:
    parts = name.replace("\\", "/").split("/")
    if not parts[0] or ":" in parts[0] or ".." in parts:
        raise UmedptError(f"{file} is not unpacked: '{name}' would lie outside its folder")
    if not plain:
        raise UmedptError(
            f"{file} is not unpacked: '{name}' is no plain file (a link, a device or encrypted)"
        )


def check_space(folder: Path, needed: int) -> None:
    """See that a folder's disk has so many bytes free.

    Raises:
        UmedptError: It has not.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UmedptError(
            f"{folder} has {free / 1e9:.1f} GB free, and {needed / 1e9:.1f} GB are needed; free "
            "some space, then run the same command again"
        )
