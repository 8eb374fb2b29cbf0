"""The caching component: which case comes when, one load for all, a bound, and no leftovers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umedpt_core import ConfigError, DataError
from umedpt_core.data import cache as module
from umedpt_core.data.cache import Cache, open_cache
from umedpt_core.data.window import place_at

fork = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("UMEDPT_CACHE", str(tmp_path))
    return tmp_path / "cases"


def load(value: int = 1, size: int = 100_000) -> dict[str, np.ndarray]:
    return {"image": np.full(size, value, np.uint8)}


# The window


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9))
def test_each_visit_gives_each_of_its_instances_once(cases, per_case, window):
    places = [place_at(p, cases, per_case, window) for p in range(cases * per_case * 3)]
    assert len(set(places)) == len(places)
    first_slot = places[::window]
    whole = len(first_slot) // per_case
    for visit in range(whole):
        visits = first_slot[visit * per_case : (visit + 1) * per_case]
        assert {(p.passes, p.place) for p in visits} == {divmod(visit * window, cases)}
        assert [p.number for p in visits] == list(range(per_case))


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9))
def test_no_more_cases_than_the_window_are_in_use_and_they_take_turns(cases, per_case, window):
    places = [place_at(p, cases, per_case, window) for p in range(60)]
    visits = [(p.passes, p.place) for p in places]
    for start in range(0, 60 - window, window):
        assert len(set(visits[start : start + window])) == window
    spans = {v: (visits.index(v), 59 - visits[::-1].index(v)) for v in visits}
    for position in range(60):
        assert sum(a <= position <= b for a, b in spans.values()) <= window


def test_loads_are_spread_evenly():
    """At full speed one slot of four changes its case every other batch of four, never two."""
    fresh = [place_at(p, 50, 8, 4).number == 0 for p in range(32, 32 + 16 * 8)]
    per_batch = [sum(fresh[start : start + 4]) for start in range(0, len(fresh), 4)]
    assert set(per_batch) == {0, 1}


# Taking


def test_an_entry_is_loaded_once_and_gone_after_its_last_use(home):
    with open_cache(1) as cache:
        calls = []
        for use in range(3):
            assert any(home.rglob("image.npy")) == (use > 0)
            taken = cache.take("a", 3, lambda: calls.append(1) or load(7))
            assert (taken["image"] == 7).all()
        assert len(calls) == 1
        assert not any(home.rglob("image.npy"))
        assert (taken["image"] == 7).all()  # who has it keeps it


def test_arrays_are_mapped_read_only_and_empty_ones_survive():
    with open_cache(1) as cache:
        taken = cache.take("a", 2, lambda: load() | {"boxes": np.zeros((0, 6), np.float32)})
        assert isinstance(taken["image"], np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            taken["image"][0] = 1
        assert cache.take("a", 2, load)["boxes"].shape == (0, 6)


def test_a_case_that_cannot_be_loaded_fails_once_for_all_its_instances():
    def broken():
        calls.append(1)
        raise ValueError("no such slice")

    calls: list[int] = []
    with open_cache(1) as cache:
        for _ in range(2):
            with pytest.raises(DataError, match="ValueError: no such slice"):
                cache.take("a", 3, broken)
    assert len(calls) == 1


def hold(folder: Path, key: str, log: Path, size: int) -> None:
    def slowly():
        with log.open("a") as file:
            file.write(f"{key}\n")
        time.sleep(0.1)
        return load(size=size)

    for number in range(4):
        taken = Cache(folder, 10**9).take(f"{key}{number}", 12, slowly)
        assert (taken["image"] == 1).all()


def test_processes_that_need_the_same_case_load_it_once(tmp_path):
    with open_cache(1) as cache:
        log = tmp_path / "log"
        crew = [fork.Process(target=hold, args=(cache.folder, "k", log, 10**6)) for _ in range(3)]
        for process in crew:
            process.start()
        for process in crew:
            process.join()
            assert process.exitcode == 0
        assert Counter(log.read_text().split()) == {"k": 4}
        assert set(cache.loads().values()) == {1}


# The bound


def test_the_least_recently_used_makes_room(home):
    def held() -> set[str]:
        return {path.parent.name for path in home.rglob("image.npy")}

    with open_cache(350_000 / 1e9) as cache:
        for key in ("a", "b", "c"):
            cache.take(key, 9, load)
        os.utime(cache.folder / "b" / "uses", (1, 1))
        cache.take("d", 9, load)
        assert held() == {"a", "c", "d"}
        cache.take("b", 9, partial(load, 5))  # comes back, at the price of a load
        assert cache.loads()["b"] == 2


def test_loading_ahead_never_makes_room():
    with open_cache(250_000 / 1e9) as cache:
        for key in "abc":
            cache.prepare(key, load)
        assert set(cache.loads()) == {"a", "b"}


def test_a_case_larger_than_the_cache_says_so():
    with open_cache(0.00005) as cache, pytest.raises(DataError, match="raise --cache-gb"):
        cache.take("a", 1, load)


def test_a_full_disk_says_where_and_leaves_nothing_half_written(monkeypatch, home):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with open_cache(1) as cache:
        with monkeypatch.context() as patch:
            patch.setattr(module.np, "save", full)
            with pytest.raises(DataError, match=r"No space left on device.*UMEDPT_CACHE"):
                cache.take("a", 2, load)
        assert not [path for path in cache.folder.iterdir() if path.is_dir()]
        assert (cache.take("a", 2, load)["image"] == 1).all()


# The folder


def test_the_folder_goes_with_the_run(home):
    with open_cache(1) as cache:
        cache.take("a", 9, load)
        assert cache.folder.is_dir()
    assert [path.name for path in home.iterdir()] == ["lock"]


def stay(key: str) -> None:
    with open_cache(1) as cache:
        cache.take(key, 9, load)
        time.sleep(60)


def test_what_a_killed_run_left_is_removed_by_the_next_and_a_living_one_is_not(home):
    killed, alive = (fork.Process(target=stay, args=(key,)) for key in ("killed", "alive"))
    for process in (killed, alive):
        process.start()
    deadline = time.time() + 20
    while len(list(home.rglob("image.npy"))) < 2 and time.time() < deadline:
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    with open_cache(1):
        left = {path.parent.name for path in home.rglob("image.npy")}
    alive.kill()
    alive.join()
    assert left == {"alive"}


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("UMEDPT_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="set UMEDPT_CACHE"), open_cache(1):
        pass
