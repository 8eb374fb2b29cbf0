"""Downloading a task's archives: resumed, checked, and unpacked whole or not at all."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import UmedptError, reason
from ..requires import import_extra
from .unpack import check_space, unpack

if TYPE_CHECKING:
    from requests import Response

    from ..specs import Archive

Report = Callable[[int, int | None], None]
"""Called with the bytes that are there and, where it is known, the bytes in all."""

ATTEMPTS = 5
"""Tries in a row without a new byte before a download is given up."""

PAUSE = 2.0
"""Seconds before the first new try; they double from try to try."""

TIMEOUT = (30, 60)
"""Seconds to connect, and between two chunks."""

CHUNK = 1 << 16
"""Bytes written at a time; a drop of the connection loses at most one of these."""


def missing_archives(archives: tuple[Archive, ...], place: Path) -> list[Archive]:
    """The archives whose folder is not at `place` yet."""
    return [archive for archive in archives if not (place / archive.folder).exists()]


def load_pooch() -> Any:
    """The module pooch.

    Raises:
        ConfigError: It is not installed.
    """
    pooch = import_extra("pooch", "fetch", "fetching needs pooch")
    pooch.get_logger().setLevel("WARNING")
    return pooch


def fetch(archive: Archive, place: Path, report: Report) -> None:
    """Download one archive, check it and unpack its folder into `place`.

    Everything that is not finished lies in a hidden folder beside `place`: a download that was
    stopped goes on from there with the next call. The archive is removed once it is unpacked.

    Args:
        archive: What to fetch; if its folder is at `place` already, nothing is done.
        place: The folder of the plugin; made if it is not there.
        report: Told how the download goes on.

    Raises:
        ConfigError: pooch is not installed.
        UmedptError: The download failed, the checksum is wrong, the archive would write outside
            its folder, the disk is full, or another call is fetching the same. Nothing new is at
            `place`.
    """
    load_pooch()
    place = place.resolve()
    work = place.with_name(f".{place.name}.{archive.folder}.fetch")
    with _writing(work), _alone(work):
        if not (place / archive.folder).exists():  # another call may just have ended
            _fetch(archive, place, work, report)


def _fetch(archive: Archive, place: Path, work: Path, report: Report) -> None:
    unpacked = work / "unpacked"
    try:
        work.mkdir(exist_ok=True)
        file = download(archive, work, report)
        shutil.rmtree(unpacked, ignore_errors=True)  # of a call that was killed
        unpacked.mkdir()
        unpack(file, unpacked / archive.folder if archive.loose else unpacked)
        if not (unpacked / archive.folder).is_dir():
            raise UmedptError(
                f"{file} holds no folder {archive.folder}, against what the plugin says; "
                "please report it to the plugin's authors"
            )
        place.mkdir(exist_ok=True)
        (unpacked / archive.folder).rename(place / archive.folder)
        shutil.rmtree(work)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
        with suppress(OSError):  # gone, or something is kept for the next call
            work.rmdir()


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Keep other calls out of a folder, by a lock that the system releases with the process.

    Raises:
        UmedptError: Another call is at work there.
    """
    from filelock import FileLock, Timeout

    lock = Path(f"{work}.lock")
    work.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                with suppress(OSError):  # Windows keeps a file that is open
                    lock.unlink()
    except Timeout as error:
        raise UmedptError(
            f"another 'umedpt data fetch' is at work in {work}; wait until it has ended, or stop "
            "it, then run the same command again"
        ) from error


def file_name(archive: Archive) -> str:
    """The name of the archive's file: the last part of its address."""
    return PurePosixPath(urlsplit(archive.url).path).name


def download(archive: Archive, folder: Path, report: Report) -> Path:
    """Download an archive into a folder, or go on with it, and check it through pooch.

    Raises:
        ConfigError: pooch is not installed.
        UmedptError: The server refuses, the connection fails again and again (what has come is
            kept), or the checksum is wrong (nothing is kept).
    """
    part = folder / f"{file_name(archive)}.part"

    def resumed(url: str, output: str, _: Any) -> None:
        _download(url, part, archive.size, report)
        Path(output).unlink()
        try:
            os.link(part, output)  # the part stays until the checksum is known to be right
        except OSError:  # no links on this file system
            part.replace(output)

    name = file_name(archive)
    try:
        load_pooch().retrieve(archive.url, archive.checksum, name, folder, downloader=resumed)
    except ValueError as error:
        part.unlink(missing_ok=True)
        raise UmedptError(
            f"{archive.url} does not have the checksum {archive.checksum}; what came was removed. "
            "Fetch it again; if it stays so, the publisher has changed the file: report it to the "
            "plugin's authors, and download by the steps of 'umedpt show'"
        ) from error
    part.unlink(missing_ok=True)
    return folder / name


def _download(url: str, part: Path, size: int | None, report: Report) -> None:
    """Append to `part` what it lacks, in as many requests as it takes."""
    from requests import RequestException
    from requests.exceptions import SSLError

    tries = 0
    while size is None or _length(part) != size:
        before = _length(part)
        try:
            if _request(url, part, size, report):
                return
            problem = "the connection was closed early"
        except RequestException as error:
            if isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise UmedptError(
                    f"{url}: the certificate of the server could not be checked; download it with "
                    "a browser, and go on by the steps of 'umedpt show'"
                ) from error
            problem = reason(error)
        tries = 1 if _length(part) > before else tries + 1
        if tries >= ATTEMPTS:
            raise UmedptError(
                f"cannot download {url}: {problem}; {_length(part)} bytes are kept, and the same "
                "command goes on from there"
            )
        time.sleep(PAUSE * 2 ** (tries - 1))


def _request(url: str, part: Path, size: int | None, report: Report) -> bool:
    """One request for the rest of a file; whether all is there now."""
    import requests

    have = _length(part)
    headers = {"Accept-Encoding": "identity"}  # else lengths are those of a compressed stream
    if have:
        headers["Range"] = f"bytes={have}-"
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if response.headers.get("Content-Range") == f"bytes */{have}":
                return True
            part.unlink(missing_ok=True)  # longer than the file: of another one
            return False
        status = response.status_code
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            response.raise_for_status()  # tried again
        if status >= HTTPStatus.BAD_REQUEST:
            raise UmedptError(
                f"{url}: the server says {status} {response.reason}; download it by "
                "the steps of 'umedpt show'"
            )
        if not _continues(response, have):
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else size
        if size and total != size:
            raise UmedptError(
                f"{url} has {total} bytes, not {size}: the publisher has changed the file; report "
                "it to the plugin's authors, and download by the steps of 'umedpt show'"
            )
        check_space(part.parent, (total or 0) - have)
        with part.open("ab" if have else "wb") as file:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                report(file.tell(), total)
            return total is None or file.tell() == total


def _continues(response: Response, have: int) -> bool:
    """Whether the server sends the rest; one that knows no ranges sends all."""
    return response.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _length(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Word the errors of writing."""
    try:
        yield
    except OSError as error:
        raise UmedptError(
            f"cannot write {folder}: {reason(error)}; free some space or name another folder, "
            "then run the same command again"
        ) from error
