"""Checks, what they are run on, and what comes of them."""

from __future__ import annotations

import difflib
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from ..catalogue import Catalogue, Entry, Plugin, canonical
from ..errors import ConfigError
from ..hookspecs import KINDS

ANY = "any"
"""The kind of checks that run on every spec."""

PLUGIN = "plugin"
"""The kind of checks that run once, on the distribution."""

MODULES = (
    *("plugin", "specs", "tasks", "reading", "training"),
    *("label_types", "label_outputs", "profiles", "norms", "loggers"),
)
"""The modules of this package that hold checks, in the order of the report."""

CheckFunction = TypeVar("CheckFunction", bound=Callable[[Any], None])


class Failure(Exception):
    """What a check found wrong, in one line."""


class NotApplicable(Exception):
    """Why a check does not apply."""


@dataclass(frozen=True)
class Check:
    """One thing that a plugin must do.

    Attributes:
        name: Short and unique; the id of the pytest item.
        kind: A kind of spec, or `ANY`, or `PLUGIN`.
        title: What is true when it passes.
        hint: What to do when it fails.
        needs: Checks without which it cannot run; it is skipped when one of them fails.
        run: Gets the subject; raises `Failure` or anything else, or `NotApplicable`.
    """

    name: str
    kind: str
    title: str
    hint: str
    needs: tuple[str, ...]
    run: Callable[[Any], None]


CHECKS: dict[str, Check] = {}
SUBJECTS: dict[str, type[Subject]] = {}


def check(
    kind: str, title: str, *, hint: str, needs: tuple[str, ...] = ()
) -> Callable[[CheckFunction], CheckFunction]:
    """Make a check of a function; its name is the function's. See :class:`Check`."""

    def register(function: CheckFunction) -> CheckFunction:
        name = function.__name__.replace("_", "-")
        assert name not in CHECKS, name  # noqa: S101
        CHECKS[name] = Check(name, kind, title, hint, needs, function)
        return function

    return register


def all_checks() -> list[Check]:
    """All checks, in the order of the report."""
    for module in MODULES:
        import_module(f".{module}", __package__)
    return list(CHECKS.values())


@dataclass(eq=False)
class Subject:
    """What a check looks at: a distribution as a whole, or one spec of it.

    Attributes:
        examination: Of which it is a part.
        kind: `PLUGIN`, or the kind of its spec.
        entry: The spec; None for the distribution as a whole.
    """

    examination: Examination
    kind: str = PLUGIN
    entry: Entry[Any] | None = None

    @property
    def spec(self) -> Any:
        """The registered spec."""
        assert self.entry is not None  # noqa: S101
        return self.entry.spec

    @property
    def name(self) -> str:
        """The spec's name; empty for the distribution as a whole."""
        return self.spec.name if self.entry else ""

    def folder(self, name: str) -> Path:
        """A new folder for this subject below the scratch folder."""
        folder = self.examination.scratch / f"{self.kind}-{self.name}".replace(" ", "-") / name
        folder.mkdir(parents=True)
        return folder


@dataclass(frozen=True)
class Result:
    """What came of one check.

    Attributes:
        check: Which one.
        subject: What it looked at.
        status: ``ok``, ``failed`` or ``skipped``.
        message: What was wrong, or why it was skipped.
        seconds: How long it took.
        error: What the check raised.
        blocked: Whether it was skipped because a check that it needs failed.
    """

    check: Check
    subject: Subject
    status: Literal["ok", "failed", "skipped"]
    message: str = ""
    seconds: float = 0.0
    error: BaseException | None = None
    blocked: bool = False

    @property
    def hint(self) -> str:
        """What to do; empty unless it failed."""
        return self.check.hint if self.status == "failed" else ""

    def as_dict(self) -> dict[str, Any]:
        """The row of ``umedpt check --json``."""
        return {
            "check": self.check.name,
            "kind": self.subject.kind,
            "name": self.subject.name,
            "title": self.check.title,
            "status": self.status,
            "message": self.message,
            "hint": self.hint,
            "seconds": round(self.seconds, 3),
        }


class Item(NamedTuple):
    """A check and what it is to look at."""

    check: Check
    subject: Subject

    @property
    def id(self) -> str:
        """The id of the pytest item."""
        return f"{self.subject.name}-{self.check.name}".lstrip("-")


@dataclass
class Examination:
    """All checks of one distribution; each runs once, when its result is first asked for.

    Args:
        distribution: The name of an installed distribution.
        catalogue: Where it is registered.
        scratch: An empty folder.

    Raises:
        ConfigError: There is no such plugin, or it is blocked.
    """

    distribution: str
    catalogue: Catalogue
    scratch: Path
    plugins: list[Plugin] = field(init=False)
    items: list[Item] = field(init=False)
    shared: dict[str, Any] = field(init=False, default_factory=dict)
    """What the subjects of one distribution share: fake data, the batches of the worker."""
    _results: dict[tuple[str, int], Result] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.plugins = find_plugins(self.catalogue, self.distribution)
        self.distribution = self.plugins[0].distribution
        checks = all_checks()
        subjects = [Subject(self)]
        for kind in KINDS:
            subject_class = SUBJECTS.get(kind, Subject)
            subjects += [
                subject_class(self, kind, entry)
                for entry in self.catalogue.of_kind(kind).values()
                if entry.distribution == self.distribution
            ]
        self.items = [
            Item(check, subject)
            for subject in subjects
            for check in checks
            if check.kind == subject.kind or (check.kind == ANY and subject.entry)
        ]

    @property
    def subjects(self) -> list[Subject]:
        """The distribution, then its specs."""
        return list(dict.fromkeys(item.subject for item in self.items))

    def results(self) -> Iterator[Result]:
        """Run everything, giving each result as soon as it is there."""
        for check, subject in self.items:
            yield self.result(check.name, subject)

    def result(self, name: str, subject: Subject) -> Result:
        """The result of one check, after those that it needs."""
        key = name, id(subject)
        if key not in self._results:
            self._results[key] = self._run(CHECKS[name], subject)
        return self._results[key]

    def _run(self, check: Check, subject: Subject) -> Result:
        for need in check.needs:
            result = self.result(need, subject)
            if result.status == "failed" or result.blocked:
                message = f"needs '{result.check.title}'"
                return Result(check, subject, "skipped", message, blocked=True)
        started = time.perf_counter()
        error: BaseException | None = None
        status: Literal["ok", "failed", "skipped"] = "ok"
        message = ""
        try:
            with warnings.catch_warnings(), redirect_stdout(sys.stderr):  # the report's is stdout
                warnings.simplefilter("ignore")
                check.run(subject)
        except NotApplicable as reason:
            status, message = "skipped", str(reason)
        except (Exception, SystemExit) as raised:
            status, message, error = "failed", describe(raised), raised
        return Result(check, subject, status, message, time.perf_counter() - started, error)


def find_plugins(catalogue: Catalogue, distribution: str) -> list[Plugin]:
    """The plugins of a distribution.

    Raises:
        ConfigError: There are none, or they are blocked.
    """
    name = canonical(distribution)
    found = [plugin for plugin in catalogue.plugins if plugin.distribution == name]
    if found and all(plugin.status == "blocked" for plugin in found):
        raise ConfigError(f"{name} is blocked ({found[0].reason}); unblock it to check it")
    if found:
        return [plugin for plugin in found if plugin.status != "blocked"]
    known = sorted({plugin.distribution for plugin in catalogue.plugins})
    near = [other for other in known if other.endswith(f"-{name}")]
    near += difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else "see 'umedpt plugins' for what is installed"
    raise ConfigError(f"no plugin distribution '{distribution}' is installed; {hint}")


def describe(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    text = text if len(text) <= 300 else f"{text[:300]}..."
    if isinstance(error, Failure):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
