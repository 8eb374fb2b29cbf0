"""Checks of a task: its terms, its fake data, its cases."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module, metadata
from itertools import islice
from pathlib import Path

from packaging.requirements import Requirement

from ..catalogue import canonical
from ..data.cases import Case
from ..data.instances import Instance, open_case
from ..data.tasks import TaskData, find_root, make_label, make_options, open_split, open_task
from ..errors import UmedptError
from ..hookspecs import KINDS
from ..specs import resolve
from .kit import SUBJECTS, Failure, NotApplicable, Subject, check, describe
from .watch import Watch

LARGEST_FAKE = 5_000_000
CASES = 32
"""Cases of a split that are read; fake data has fewer."""


@dataclass(frozen=True)
class Fake:
    """Fake data, made twice with one seed, and how that went."""

    root: Path
    watch: Watch
    files: dict[str, str]
    again: dict[str, str]
    bytes: int


@dataclass(frozen=True)
class Reading:
    """All splits, opened and read once."""

    task: TaskData
    read: list[tuple[str, Case, Instance]]
    problems: list[str]
    watch: Watch
    changed: list[str]


class TaskSubject(Subject):
    """A task, with what its checks share."""

    @property
    def generated(self) -> bool:
        """Whether there is no folder to read from."""
        return not self.spec.source.on_disk

    @cached_property
    def fake(self) -> Fake:
        """The fake data; tasks with one writer share it."""
        shared = self.examination.shared
        key = f"fake {self.spec.fake}"
        if key not in shared:
            shared[key] = self._make_fake()
        made: Fake = shared[key]
        return made

    def _make_fake(self) -> Fake:
        write = resolve(self.spec.fake)
        base = self.folder("fake")
        root, again = base / "first", base / "again"  # the second is for the writer to make
        root.mkdir()
        with Watch(self.folder("making"), root) as watch:
            write(root, 0)
        with Watch(self.folder("making-again"), again):
            write(again, 0)
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        return Fake(root, watch, contents(root), contents(again), size)

    @property
    def root(self) -> Path | None:
        """The fake data's folder; None where the task needs none."""
        return None if self.generated else self.fake.root

    @cached_property
    def cases(self) -> dict[str, Sequence[Case]]:
        """Every split, listed."""
        return self.reading.task.cases

    @cached_property
    def reading(self) -> Reading:
        """All splits, opened and read under watch."""
        before = contents(self.root)
        if self.spec.instances.kind in ("slices", "bag"):
            with suppress(ImportError):  # what the core imports is not the plugin's writing:
                import_module("monai.transforms")  # matplotlib makes folders for its settings
        with Watch(self.folder("reading")) as watch:
            task = open_task(
                self.examination.catalogue,
                self.name,
                self.spec.all_splits,
                root=self.root,
                augmentation=None if self.spec.augmentation == "none" else self.spec.augmentation,
                batch_size=4,
            )
            read, problems = [], []
            for split, cases in task.cases.items():
                for case in islice(cases, CASES):
                    try:
                        read.append((split, case, open_case(task, case)))
                    except Exception as error:
                        problems.append(f"{split}, {case.id}: {describe(error)}")
        changed = sorted({name for name, _ in before.items() ^ contents(self.root).items()})
        return Reading(task, read, problems, watch, changed)

    @cached_property
    def small(self) -> TaskData:
        """The opened task with images of 64 x 64, for training."""
        task = self.reading.task
        return replace(task, instances=task.instances.model_copy(update={"size": (64, 64)}))


SUBJECTS["task"] = TaskSubject


def contents(folder: Path | None) -> dict[str, str]:
    """The files of a folder and what is in them."""
    if folder is None:
        return {}
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def only_on_disk(subject: TaskSubject) -> None:
    """Skip the check where the data is in no folder."""
    if subject.generated:
        raise NotApplicable(f"the data is {subject.spec.source.access}, there is no folder")


@check(
    "task",
    "licence, citation, homepage and access are stated",
    hint="fill Source: users and registries rely on it; download: the steps, one an entry",
)
def terms(subject: TaskSubject) -> None:
    """Nothing is empty, and there are steps where something is to be downloaded."""
    source = subject.spec.source
    for field in ("homepage", "licence", "citation"):
        if not getattr(source, field).strip(" -?."):
            raise Failure(f"source.{field} is empty")
    if not re.match(r"https?://\S+$", source.homepage):
        raise Failure(f"source.homepage {source.homepage!r} is no address")
    if not subject.generated and not any(step.strip() for step in source.download):
        raise Failure(f"access is {source.access}, but source.download has no steps")


@check(
    "task",
    "its label type, augmentation and options are there",
    hint="install what it names; give label_options that the label type takes",
    needs=("resolves",),
)
def parts(subject: TaskSubject) -> None:
    """The catalogue has them, the label type takes the task, the options have defaults."""
    spec, catalogue = subject.spec, subject.examination.catalogue
    make_label(spec, catalogue.find("label type", spec.label_type).spec)
    if spec.augmentation != "none":
        catalogue.find("augmentation", spec.augmentation)
    make_options(spec, {})


@check(
    "task",
    "it depends on what a default mix of it needs",
    hint="add it to the dependencies in pyproject.toml, then install again",
    needs=("parts",),
)
def requires(subject: TaskSubject) -> None:
    """Installing the distribution brings label type, augmentation profile and norm."""
    spec, catalogue = subject.spec, subject.examination.catalogue
    wanted = {catalogue.find("label type", spec.label_type).distribution}
    wanted |= {KINDS["norm"][2] + "layernorm"}
    if spec.augmentation != "none":
        wanted |= {catalogue.find("augmentation", spec.augmentation).distribution}
    if missing := sorted(wanted - comes_with(subject.examination.distribution)):
        raise Failure(f"it needs {', '.join(missing)}, which it does not depend on")


def comes_with(distribution: str) -> set[str]:
    """What installing a distribution installs, itself included, extras not."""
    found: set[str] = set()
    todo = [distribution]
    while todo:
        name = canonical(todo.pop())
        if name in found or not name.startswith("umedpt-"):
            continue
        found.add(name)
        with suppress(metadata.PackageNotFoundError):
            needs = [Requirement(line) for line in metadata.requires(name) or ()]
            todo += [r.name for r in needs if not r.marker or r.marker.evaluate({"extra": ""})]
    return found


@check(
    "task",
    "fake data can be made",
    hint="fake is (root, seed) -> None: it writes the publisher's layout into the folder root",
    needs=("resolves",),
)
def fake(subject: TaskSubject) -> None:
    """It writes something into a folder that exists, and into one that does not yet."""
    only_on_disk(subject)
    if not subject.fake.files or not subject.fake.again:
        raise Failure("it wrote nothing")


@check(
    "task",
    "fake data is written below its root only",
    hint="write to paths that begin with root, and need no temporary files",
    needs=("fake",),
)
def fake_contained(subject: TaskSubject) -> None:
    """Nothing appears in the working, home, temporary or any other folder."""
    only_on_disk(subject)
    if strays := subject.fake.watch.strays:
        raise Failure(f"it wrote {', '.join(strays[:3])} outside its root")


@check(
    "task",
    "fake data is the same for the same seed",
    hint="draw all that is random from numpy.random.default_rng(seed); write no time stamps",
    needs=("fake",),
)
def fake_seeded(subject: TaskSubject) -> None:
    """Two folders hold the same bytes."""
    only_on_disk(subject)
    first, again = subject.fake.files, subject.fake.again
    if different := sorted(name for name, _ in first.items() ^ again.items()):
        raise Failure(f"{different[0]} differs between two calls with seed 0")


@check(
    "task",
    "fake data is small",
    hint="a dozen images of 64 x 64 pixels are enough",
    needs=("fake",),
)
def fake_small(subject: TaskSubject) -> None:
    """It takes less than 5 MB."""
    only_on_disk(subject)
    if subject.fake.bytes >= LARGEST_FAKE:
        raise Failure(f"it takes {subject.fake.bytes / 1e6:.1f} MB; the limit is 5")


@check(
    "task",
    "missing data gives an error that says how to get it",
    hint="raise FileNotFoundError or DataError where a file is missing, in one line",
    needs=("resolves",),
)
def missing(subject: TaskSubject) -> None:
    """No folder, or an empty one, is an error of one line, the first with the steps."""
    only_on_disk(subject)
    entry, source = subject.entry, subject.spec.source
    assert entry is not None  # noqa: S101
    empty = subject.folder("empty")
    try:
        find_root(entry, empty / "absent", None)
    except UmedptError as error:
        if "\n" in str(error):
            raise Failure(f"the error has several lines: {describe(error)}") from error
        steps = ("umedpt data fetch",) if source.archives else source.steps
        if steps[0] not in str(error):
            raise Failure(f"the error does not say how: {describe(error)}") from error
    options = make_options(subject.spec, {})
    for split in subject.spec.all_splits:
        try:
            found = open_split(subject.spec, empty, split, options)
        except UmedptError as error:
            if "\n" in str(error):
                raise Failure(f"the error has several lines: {describe(error)}") from error
        else:
            raise Failure(f"an empty folder gives {len(found)} cases of {split}, no error")
