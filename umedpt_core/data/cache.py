"""The caching component: a loaded case is kept once for the machine, in a bounded folder.

An entry is a folder of ``.npy`` files that every worker maps into its memory: the pages are shared,
and the kernel takes them back when memory is short. What an entry holds is a function of its key,
so evicting one that is still needed costs a load, never a different result.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from ..counters import seed_of
from ..errors import ConfigError, DataError, reason

Arrays = Mapping[str, NDArray[Any]]

LOCKS = 1024
"""Lock files of a cache; two keys with the same one wait for each other, no more."""
MAPPED = 1 << 16
"""Bytes from which an array is mapped, not read; an empty file cannot be mapped."""


@dataclass(frozen=True)
class Cache:
    """A bounded folder of loaded cases, shared by the processes of one run. It pickles small.

    Attributes:
        folder: Belongs to one run; see :func:`open_cache`.
        bytes: What all entries together may take.
    """

    folder: Path
    bytes: int

    def take(self, key: str, uses: int, load: Callable[[], Arrays]) -> Arrays:
        """The arrays of a case, loaded by the first who asks.

        Args:
            key: Names the case and all that its loading depends on.
            uses: How often the entry is taken; the last time removes it.
            load: Loads the case.

        Returns:
            Read-only arrays, mapped from the disk; they outlive the entry.

        Raises:
            DataError: The entry does not fit into the cache, or the disk is full.
            Exception: What `load` raises, now and whenever the entry is taken again.
        """
        entry = self.folder / key
        with self._lock(key):
            while True:
                if not entry.is_dir():
                    self._load(entry, load)
                try:
                    arrays = {file.stem: _read(file) for file in entry.iterdir() if file.suffix}
                    with (entry / "uses").open("ab") as file:
                        file.write(b".")
                        used = file.tell()
                    break
                except FileNotFoundError:  # evicted by another process a moment ago
                    continue
            if used >= uses:
                _remove(entry)
        if "failure" in arrays:
            raise DataError(str(arrays["failure"]))
        return arrays

    def prepare(self, key: str, load: Callable[[], Arrays]) -> None:
        """Load an entry that will be taken soon, unless somebody does already or it is full."""
        entry = self.folder / key
        with self._lock(key, wait=False) as mine:
            sizes = [size for _, size, _ in self._entries()]
            room = sum(sizes) + max(sizes, default=0) <= self.bytes
            if mine and room and not entry.is_dir():
                self._load(entry, load)

    def loads(self) -> Counter[str]:
        """How often each entry was loaded."""
        log = self.folder / "loads"
        return Counter(log.read_text().splitlines() if log.exists() else [])

    def reloads(self) -> int:
        """Loads of training cases that had been evicted before their last use."""
        return sum(n - 1 for key, n in self.loads().items() if key.startswith("train-"))

    def _load(self, entry: Path, load: Callable[[], Arrays]) -> None:
        try:
            arrays = load()
        except Exception as error:  # a plugin's reader may raise anything
            arrays = {"failure": np.array(reason(error))}
        try:
            self._write(entry, arrays)
        except OSError as error:
            raise DataError(
                f"cannot write the cache in {self.folder.parent}: {error.strerror}; free some "
                "space, or set UMEDPT_CACHE to a folder on another disk"
            ) from error

    def _write(self, entry: Path, arrays: Arrays) -> None:
        size = sum(array.nbytes + 128 for array in arrays.values())
        if size > self.bytes:
            raise DataError(
                f"the loaded case takes {size / 1e9:.2g} GB, the cache holds "
                f"{self.bytes / 1e9:.2g}; raise --cache-gb"
            )
        with locked(self.folder / "room.lock"):  # one writer at a time, so that sizes add up
            entries = sorted(self._entries())
            total = sum(size for _, size, _ in entries)
            for _, freed, oldest in entries:
                if total + size <= self.bytes:
                    break
                _remove(oldest)
                total -= freed
            unfinished = entry.with_name(f".{entry.name}")  # may be there from a killed process
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            try:
                for name, array in arrays.items():
                    np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
                (unfinished / "uses").touch()
                unfinished.rename(entry)
            except OSError:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
            with (self.folder / "loads").open("a") as log:
                log.write(f"{entry.name}\n")

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """(time of the last use, bytes, folder) of every entry."""
        for folder in self.folder.iterdir():
            try:
                if folder.is_dir():
                    used = (folder / "uses").stat().st_mtime
                    yield used, sum(file.stat().st_size for file in folder.iterdir()), folder
            except FileNotFoundError:  # removed meanwhile, or not yet whole
                continue

    @contextmanager
    def _lock(self, key: str, *, wait: bool = True) -> Iterator[bool]:
        with locked(self.folder / f"{seed_of(key) % LOCKS}.lock", wait=wait) as mine:
            yield mine


@contextmanager
def open_cache(gigabytes: float) -> Iterator[Cache]:
    """A new, empty cache under ``UMEDPT_CACHE``, removed at the end.

    What killed runs have left there is removed first: a run holds a lock as long as any of its
    processes lives.

    Raises:
        ConfigError: The folder cannot be written.
    """
    from fcntl import LOCK_EX, flock  # here, as only volumes and slides need what Windows lacks

    home = Path(os.environ.get("UMEDPT_CACHE") or platformdirs.user_cache_path("umedpt")) / "cases"
    folder = home / uuid.uuid4().hex
    try:
        home.mkdir(parents=True, exist_ok=True)
        with locked(home / "lock"):
            _remove_dead(home)
            lock = os.open(home / f"{folder.name}.lock", os.O_CREAT | os.O_RDWR, 0o600)
            flock(lock, LOCK_EX)
            folder.mkdir()
    except OSError as error:
        raise ConfigError(
            f"cannot write the cache in {home}: {error.strerror}; set UMEDPT_CACHE to a folder on "
            "a disk with space"
        ) from error
    try:
        yield Cache(folder, int(gigabytes * 1e9))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        Path(f"{folder}.lock").unlink(missing_ok=True)
        os.close(lock)


def _remove_dead(home: Path) -> None:
    for file in home.glob("*.lock"):
        with locked(file, wait=False) as dead:
            if dead:
                shutil.rmtree(file.with_suffix(""), ignore_errors=True)
                file.unlink()


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a file's lock, which the kernel releases when the process dies."""
    from fcntl import LOCK_EX, LOCK_NB, flock

    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            flock(descriptor, LOCK_EX | (0 if wait else LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _remove(entry: Path) -> None:
    """Remove an entry at once for those who look for it; who has mapped it keeps it."""
    gone = entry.with_name(f".{uuid.uuid4().hex}")
    with suppress(FileNotFoundError):
        entry.rename(gone)
        shutil.rmtree(gone)


def _read(file: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(file, mmap_mode="r" if file.stat().st_size > MAPPED else None)
    return array
