"""Watching plugin code: what it writes where, and whether it reaches for the network."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
HOMES = ("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME", "UMEDPT_CACHE")
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")

_active: list[Watch] = []
_hooked = False


class Watch:
    """Within it, writes outside a folder are noted, and the network is noted and refused.

    The working, home, temporary and cache folders are an empty folder meanwhile, so that a library
    which Python cannot look into is seen too. What is imported may be compiled.

    Args:
        folder: Empty; stands for all folders that nobody named.
        allowed: The folder in which writing is right, if there is one.
        offline: Whether the network is refused.

    Attributes:
        strays: What was written elsewhere, but for temporary files that were removed again.
        network: What the network was asked for.
    """

    def __init__(self, folder: Path, allowed: Path | None = None, *, offline: bool = True) -> None:
        self.folder = Path(os.path.realpath(folder))
        self.allowed = allowed and Path(os.path.realpath(allowed))
        self.offline = offline
        self.strays: list[str] = []
        self.network: list[str] = []

    def __enter__(self) -> Watch:
        global _hooked
        if not _hooked:
            sys.addaudithook(_audit)
            _hooked = True
        self._before = (Path.cwd(), {key: os.environ.get(key) for key in HOMES}, tempfile.tempdir)
        os.chdir(self.folder)
        os.environ.update(dict.fromkeys(HOMES, str(self.folder)))
        tempfile.tempdir = str(self.folder)
        _active.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _active.remove(self)
        place, variables, tempfile.tempdir = self._before
        os.chdir(place)
        for key, value in variables.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
        # What is gone again was a temporary file, as readers of some formats need.
        self.strays = [
            path
            for path in self.strays
            if os.path.exists(path) or not Path(path).is_relative_to(self.folder)
        ]
        self.strays += [str(path) for path in self.folder.rglob("*")]
        self.strays = [self._short(path) for path in dict.fromkeys(self.strays)]

    def _short(self, path: str) -> str:
        return path.removeprefix(f"{self.folder}{os.sep}")

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take an audit event."""
        if event in NETWORK:
            if event == "socket.connect" and arguments[0].family not in (
                socket.AF_INET,
                socket.AF_INET6,
            ):
                return  # within the machine
            asked = arguments[1:] if event in ("socket.connect", "socket.sendto") else arguments
            self.network.append(f"{event.partition('.')[2]} {asked[0]}")
            if self.offline:
                raise ConnectionRefusedError("there is no network while a plugin is checked")
            return
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & WRITING:
                return
        elif event in ("os.rename", "os.link", "os.symlink"):
            path = arguments[1]
        elif event == "os.mkdir":
            path = arguments[0]
            if os.path.exists(path):
                return
        else:
            return
        if isinstance(path, int):
            return
        full = os.path.realpath(os.fsdecode(path))
        inside = self.allowed and Path(full).is_relative_to(self.allowed)
        if not inside and "__pycache__" not in full and not full.startswith(("/dev/", "/proc/")):
            self.strays.append(full)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _active:
        _active[-1].note(event, arguments)
