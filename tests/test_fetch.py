"""umedpt data fetch: against a server on this machine, and archives that mean harm."""

from __future__ import annotations

import errno
import hashlib
import io
import re
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from pydantic import ValidationError

from umedpt_core import Archive, UmedptError
from umedpt_core.data import fetch as fetching
from umedpt_core.data import unpack as unpacking
from umedpt_core.data.unpack import unpack

TASK = """
from umedpt_core import Archive

@hookimpl
def umedpt_tasks():
    yield task("parcels", source=Source(
        homepage="https://example.org", licence="CC-BY-4.0", commercial="yes",
        citation="Doe 2020", access="{access}", download=("ask Doe",),
        archives=({archives}),
    ))
"""


def zipped(members: dict[str, bytes | zipfile.ZipInfo]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in members.items():
            if isinstance(content, zipfile.ZipInfo):
                file.writestr(content, b"/etc")
            else:
                file.writestr(name, content)
    return stream.getvalue()


def tarred(*members: tarfile.TarInfo) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as file:
        for member in members:
            file.addfile(member, io.BytesIO(b"x" * member.size) if member.isreg() else None)
    return stream.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    member.size = 3 if kind == tarfile.REGTYPE else 0
    return member


def mode(kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("parcels/inside")
    info.external_attr = (kind | 0o644) << 16
    return info


GOOD = zipped({f"parcels/{n}.bin": bytes([n]) * 50_000 for n in range(8)} | {"README": b"-"})


class Server(ThreadingHTTPServer):
    """Serves one file under any name."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = GOOD
        self.ranges = True  # whether it knows them
        self.cuts: list[int] = []  # bytes after which the next connections are dropped
        self.status = 0  # of an answer without content
        self.asked: list[str | None] = []  # the Range of each request


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers["Range"]
        server.asked.append(asked)
        if server.status:
            self.send_error(server.status)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.ranges else 0
        whole = len(server.content)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        self.send_header("Content-Length", str(whole - start))
        self.end_headers()
        end = start + server.cuts.pop(0) if server.cuts else whole
        self.wfile.write(server.content[start:end])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    monkeypatch.setattr(fetching, "CHUNK", 10_000)  # a chunk that is cut is lost
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("UMEDPT_DATA", raising=False)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def archive(server: Server, **fields) -> Archive:
    digest = hashlib.sha256(server.content).hexdigest()
    url = f"http://127.0.0.1:{server.server_port}/files/parcels.zip?download=1"
    facts = {"url": url, "checksum": f"sha256:{digest}", "folder": "parcels"}
    return Archive.model_validate(facts | fields)


@pytest.fixture
def umedpt(site, server, tmp_path):
    """Run `umedpt data fetch parcels`, whose archive has the given facts."""

    def run(*arguments: str, root: Path = tmp_path / "data", **facts):
        code = TASK.replace("{archives}", f"{archive(server, **({'size': 9} | facts))!r},")
        if not (site.folder / "umedpt_task_parcels.py").exists():
            site.add("umedpt-task-parcels", code.replace("{access}", "open"))
        return site.invoke("data", "fetch", "parcels", "--data-root", str(root), *arguments)

    return run


def files(folder: Path) -> dict[str, int]:
    """Everything below a folder, hidden or not, with its size."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in found}


WHOLE = {f"parcels/parcels/{n}.bin": 50_000 for n in range(8)}


def test_a_download_is_unpacked_below_the_data_root(umedpt, server, tmp_path):
    result = umedpt(size=len(GOOD))
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[:2] == ["licence: CC-BY-4.0 (commercial use: yes)", "cite: Doe 2020"]
    assert lines[2] == f"into {tmp_path / 'data' / 'parcels'}:"
    assert lines[3].startswith("  parcels (0.4 MB) from http://127.0.0.1:")
    assert files(tmp_path / "data") == WHOLE  # README is left out, and nothing hidden is left
    assert [*(tmp_path / "data").iterdir()] == [tmp_path / "data" / "parcels"]
    assert server.asked == [None]


def test_what_is_there_is_left_as_it_is(umedpt, server, tmp_path):
    mine = tmp_path / "data" / "parcels" / "parcels" / "mine.bin"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"1")
    result = umedpt("--yes")
    assert result.exit_code == 0, result.output
    assert "parcels is there already and left as it is" in result.stdout
    assert files(tmp_path / "data") == {"parcels/parcels/mine.bin": 1}
    assert server.asked == []


def test_what_a_killed_call_has_left_is_cleared(server, tmp_path):
    work = tmp_path / ".data.parcels.fetch"
    (work / "unpacked" / "parcels").mkdir(parents=True)
    (work / "unpacked" / "parcels" / "half.bin").write_bytes(b"1")
    (work / "tmp123").write_bytes(b"1")
    fetching.fetch(archive(server), tmp_path / "data", lambda *_: None)
    assert len(files(tmp_path)) == len(WHOLE)
    assert not work.exists()


def test_a_second_call_is_turned_away(umedpt, server, tmp_path):
    """It is made while the first one downloads."""
    said = []

    def again(*_: object) -> None:
        if not said:
            said.append(umedpt(size=len(GOOD)))

    fetching.fetch(archive(server), tmp_path / "data" / "parcels", again)
    assert said[0].exit_code == 1
    assert "another 'umedpt data fetch' is at work in" in said[0].stderr
    assert "wait until it has ended, or stop it, then run the same command again" in said[0].stderr
    assert server.asked == [None]
    assert files(tmp_path / "data") == WHOLE


def test_the_lock_of_a_killed_call_does_not_hold(server, tmp_path):
    code = f"""
import os
from pathlib import Path
from umedpt_core import Archive
from umedpt_core.data import fetch
fetch.CHUNK = 10_000
place = Path({str(tmp_path / "data")!r})
fetch.fetch({archive(server)!r}, place, lambda *_: os.kill(os.getpid(), 9))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    left = files(tmp_path)
    assert left.pop(".data.parcels.fetch.lock") == 0
    assert all(name.startswith(".data.parcels.fetch/") for name in left)
    fetching.fetch(archive(server), tmp_path / "data", lambda *_: None)
    assert server.asked[1].startswith("bytes=")  # it goes on from there
    assert [*tmp_path.iterdir()] == [tmp_path / "data"]


def test_a_large_download_is_asked_about(umedpt, server, tmp_path):
    result = umedpt(size=20 * 10**9)  # nobody answers
    assert result.exit_code == 1
    assert "fetch 20.0 GB? --yes does not ask" in result.stderr
    assert server.asked == []
    assert not (tmp_path / "data").exists()


def test_a_size_that_is_not_known_is_asked_about(umedpt, server):
    result = umedpt(size=None)
    assert result.exit_code == 1
    assert "fetch it, though its size is not known? --yes does not ask" in result.stderr
    assert server.asked == []
    assert umedpt("--yes", size=None).exit_code == 0


def test_a_dropped_connection_is_resumed(umedpt, server, tmp_path):
    server.cuts = [100_000, 50_000]
    assert umedpt(size=len(GOOD)).exit_code == 0
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]
    assert files(tmp_path / "data") == WHOLE


def test_a_download_that_was_given_up_goes_on_with_the_next_call(umedpt, server, tmp_path):
    server.cuts = [100_000] + [0] * fetching.ATTEMPTS
    result = umedpt(size=len(GOOD))
    assert result.exit_code == 1
    assert "100000 bytes are kept, and the same command goes on from there" in result.stderr
    assert not (tmp_path / "data" / "parcels").exists()
    server.asked.clear()
    server.cuts.clear()
    assert umedpt().exit_code == 0
    assert server.asked == ["bytes=100000-"]
    assert files(tmp_path / "data") == WHOLE


def test_a_server_without_ranges_sends_all_again(umedpt, server, tmp_path):
    server.ranges, server.cuts = False, [100_000]
    assert umedpt(size=len(GOOD)).exit_code == 0
    assert server.asked == [None, "bytes=100000-"]
    assert files(tmp_path / "data") == WHOLE


def test_a_wrong_checksum_leaves_nothing(umedpt, server, tmp_path):
    checksum = "md5:" + "0" * 32
    result = umedpt(size=len(GOOD), checksum=checksum)
    assert result.exit_code == 1
    assert f"does not have the checksum {checksum}; what came was removed" in result.stderr
    assert "Fetch it again" in result.stderr
    assert [*(tmp_path / "data").iterdir()] == []
    umedpt()
    assert server.asked == [None, None]  # from the start


def test_a_file_of_another_size_is_not_downloaded(umedpt, tmp_path):
    result = umedpt(size=len(GOOD) + 1)
    assert result.exit_code == 1
    assert f"has {len(GOOD)} bytes, not {len(GOOD) + 1}: the publisher has" in result.stderr
    assert files(tmp_path / "data") == {}


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (503, fetching.ATTEMPTS)])
def test_a_refusal_is_final_and_a_failure_is_tried_again(umedpt, server, status, requests):
    server.status = status
    result = umedpt()
    assert result.exit_code == 1
    assert f"{status}" in result.stderr
    assert len(server.asked) == requests


def test_a_certificate_that_cannot_be_checked_is_said_at_once(umedpt, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise requests.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] no local issuer")

    monkeypatch.setattr(requests, "get", refuse)
    monkeypatch.setattr(fetching.time, "sleep", lambda _: pytest.fail("it is tried again"))
    result = umedpt()
    assert result.exit_code == 1
    assert "the certificate of the server could not be checked" in result.stderr
    assert "download it with a browser" in result.stderr


def test_a_full_disk_says_so_and_keeps_what_came(umedpt, server, tmp_path, monkeypatch):
    free = unpacking.shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(unpacking.shutil, "disk_usage", lambda _: free._replace(free=1000))
        result = umedpt(size=len(GOOD))
    assert result.exit_code == 1
    assert "0.0 GB free" in result.stderr

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", full)
        result = umedpt()
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert "free some space" in result.stderr
    assert files(tmp_path / "data") == {".parcels.parcels.fetch/parcels.zip": len(GOOD)}
    server.asked.clear()
    assert umedpt().exit_code == 0
    assert server.asked == []  # the archive was kept
    assert files(tmp_path / "data") == WHOLE


def test_a_stop_while_unpacking_leaves_nothing_half_made(server, tmp_path, monkeypatch):
    def stop(self, folder):
        Path(folder, "parcels").mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", stop)
        with pytest.raises(KeyboardInterrupt):
            fetching.fetch(archive(server), tmp_path / "data", lambda *_: None)
    assert files(tmp_path) == {".data.parcels.fetch/parcels.zip": len(GOOD)}
    assert not (tmp_path / "data").exists()


def test_a_stop_while_the_checksum_is_taken_keeps_the_download(server, tmp_path, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pooch.core.hash_matches", stop)
        with pytest.raises(KeyboardInterrupt):
            fetching.fetch(archive(server), tmp_path / "data", lambda *_: None)
    assert files(tmp_path) == {".data.parcels.fetch/parcels.zip.part": len(GOOD)}


def test_an_archive_without_a_folder_gets_one(server, tmp_path):
    server.content = zipped({"a/images/a.png": b"1", "b/images/b.png": b"12"})
    facts = archive(server, loose=True)
    fetching.fetch(facts, tmp_path / "data", lambda *_: None)
    assert files(tmp_path) == {
        "data/parcels/a/images/a.png": 1,
        "data/parcels/b/images/b.png": 2,
    }


def test_an_archive_without_the_folder_is_no_data(umedpt, tmp_path):
    result = umedpt(folder="bags", size=len(GOOD))
    assert result.exit_code == 1
    assert "holds no folder bags" in result.stderr
    assert not (tmp_path / "data" / "parcels").exists()


HARMFUL = {
    "zip: up": zipped({"parcels/a": b"1", "parcels/../../b": b"1"}),
    "zip: absolute": zipped({"parcels/a": b"1", "/b": b"1"}),
    "zip: up, as Windows has it": zipped({"parcels/a": b"1", "parcels\\..\\..\\b": b"1"}),
    "zip: drive": zipped({"parcels/a": b"1", "C:\\b": b"1"}),
    "zip: link": zipped({"parcels/a": b"1", "": mode(stat.S_IFLNK)}),
    "zip: device": zipped({"parcels/a": b"1", "": mode(stat.S_IFCHR)}),
    "tar: up": tarred(entry("parcels/a"), entry("../b")),
    "tar: absolute": tarred(entry("parcels/a"), entry("/b")),
    "tar: link out": tarred(entry("parcels/a"), entry("parcels/l", tarfile.SYMTYPE, "/etc")),
    "tar: hard link": tarred(entry("parcels/a"), entry("parcels/l", tarfile.LNKTYPE, "../../b")),
    "tar: device": tarred(entry("parcels/a"), entry("parcels/d", tarfile.CHRTYPE)),
    "tar: pipe": tarred(entry("parcels/a"), entry("parcels/d", tarfile.FIFOTYPE)),
}


@pytest.mark.parametrize("content", HARMFUL.values(), ids=HARMFUL)
def test_an_archive_that_would_write_elsewhere_is_refused_whole(content, tmp_path):
    file = tmp_path / "parcels.zip"
    file.write_bytes(content)
    with pytest.raises(UmedptError, match=r"is not unpacked: '.*' (would lie|is no plain)"):
        unpack(file, tmp_path / "out")
    assert [*tmp_path.iterdir()] == [file]


def test_a_harmful_archive_leaves_no_data(server, tmp_path):
    server.content = HARMFUL["zip: up"]
    with pytest.raises(UmedptError, match="outside its folder"):
        fetching.fetch(archive(server), tmp_path / "root" / "data", lambda *_: None)
    assert [*(tmp_path / "root").iterdir()] == [tmp_path / "root" / ".data.parcels.fetch"]


def test_a_tar_is_unpacked(tmp_path):
    file = tmp_path / "parcels"  # its content tells what it is
    file.write_bytes(tarred(entry("parcels", tarfile.DIRTYPE), entry("./parcels/a")))
    unpack(file, tmp_path / "out")
    assert files(tmp_path / "out") == {"parcels/a": 3}


@pytest.mark.parametrize("content", [b"<html>", GOOD[:-9], tarred(entry("a"))[:40]])
def test_a_damaged_archive_is_refused(content, tmp_path):
    file = tmp_path / "parcels.zip"
    file.write_bytes(content)
    with pytest.raises(UmedptError, match=r"neither a zip nor a tar file|cannot unpack"):
        unpack(file, tmp_path / "out")


@pytest.mark.parametrize(
    ("access", "why"), [("open", "no published checksum"), ("registration", "a registration")]
)
def test_where_nothing_can_be_fetched_the_steps_and_the_reason_are_printed(site, access, why):
    site.add("umedpt-task-parcels", TASK.format(archives="", access=access))
    result = site.invoke("data", "fetch", "parcels")
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())  # lines are as wide as the terminal
    assert "parcels is not downloaded by this command: " in text
    assert why in text
    assert text.endswith("To get it: 1 ask Doe")


def test_generated_data_needs_no_fetching(site):
    site.add("umedpt-task-parcels", TASK.format(archives="", access="generated"))
    result = site.invoke("data", "fetch", "parcels")
    assert result.exit_code == 2
    assert "parcels needs no data: it is generated" in result.stderr


def test_a_place_is_needed(site, server):
    site.add("umedpt-task-parcels", TASK.format(archives=f"{archive(server)!r},", access="open"))
    result = site.invoke("data", "fetch", "parcels")
    assert result.exit_code == 2
    assert "set --data-root or UMEDPT_DATA" in result.stderr


def test_without_pooch_the_extra_is_named(umedpt, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    result = umedpt()
    assert result.exit_code == 2
    assert "pip install 'umedpt-core[fetch]'" in result.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "ftp://example.org/a.zip"},
        {"url": "file:///etc/passwd"},
        {"checksum": "md5:0"},
        {"checksum": "0" * 32},
        {"checksum": None},
        {"folder": ".."},
        {"folder": "a/b"},
        {"folder": ""},
        {"size": 0},
    ],
    ids=str,
)
def test_an_archive_that_cannot_be_right_is_refused(fields):
    facts = {"url": "https://e.org/a.zip", "checksum": f"md5:{'0' * 32}", "folder": "a b"}
    Archive.model_validate(facts)
    with pytest.raises(ValidationError, match=next(iter(fields))):
        Archive.model_validate(facts | fields)
