"""Finding, blocking, loading and isolating plugins; who registered what.

Each plugin is imported and each of its hooks is called by itself, so that one that fails is known
by name, is alone in failing, and costs nobody else anything.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Generic, Literal, TypeVar

import pluggy
from pydantic import ValidationError

from . import API, __version__, hookspecs
from .errors import ConfigError
from .hookspecs import KINDS
from .missing import advice
from .selectors import select
from .specs import AugmentationSpec, LabelTypeSpec, LoggerSpec, NormSpec, Spec, TaskSpec

GROUP = "umedpt"
Status = Literal["ok", "failed", "blocked", "incompatible"]
S = TypeVar("S", bound=Spec)


@dataclass
class Plugin:
    """One entry point of the group ``umedpt`` and what became of it."""

    distribution: str
    version: str
    entry_point: str
    module: str
    status: Status = "ok"
    reason: str = ""
    clashes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The row of ``umedpt plugins --json``."""
        return {key: value for key, value in vars(self).items() if key != "module"}


@dataclass(frozen=True)
class Entry(Generic[S]):
    """A registered spec and the distribution that registered it."""

    spec: S
    distribution: str
    version: str

    @property
    def slug(self) -> str:
        """The name of a task plugin without its prefix, and of its folder below a data root."""
        return self.distribution.removeprefix(KINDS["task"][2])


class Catalogue:
    """Everything that the installed plugins register.

    Attributes:
        plugins: Every plugin found, in name order, whatever its state.
        tasks: Task entries by name, and likewise `label_types`, `augmentations`, `norms`,
            `loggers`. A name that two distributions register belongs to neither.
    """

    def __init__(self, plugins: list[Plugin], entries: Mapping[str, dict[str, Entry[Any]]]) -> None:
        self.plugins = plugins
        self._entries = entries
        self.tasks: dict[str, Entry[TaskSpec]] = entries["task"]
        self.label_types: dict[str, Entry[LabelTypeSpec]] = entries["label type"]
        self.augmentations: dict[str, Entry[AugmentationSpec]] = entries["augmentation"]
        self.norms: dict[str, Entry[NormSpec]] = entries["norm"]
        self.loggers: dict[str, Entry[LoggerSpec]] = entries["logger"]

    @property
    def versions(self) -> dict[str, str]:
        """The version of the core and of every plugin, by distribution."""
        plugins = {plugin.distribution: plugin.version for plugin in self.plugins}
        return {"umedpt-core": __version__, **plugins}

    def with_task(self, entry: Entry[TaskSpec]) -> Catalogue:
        """A copy with one more task, say of somebody's own data.

        Raises:
            ConfigError: There is a task of this name.
        """
        if entry.spec.name in self.tasks:
            raise ConfigError(f"there is a task named '{entry.spec.name}'; choose another name")
        tasks = dict(sorted((self.tasks | {entry.spec.name: entry}).items()))
        return Catalogue(self.plugins, {**self._entries, "task": tasks})

    def find(self, kind: str, name: str) -> Entry[Any]:
        """The entry of this kind and name.

        Args:
            kind: ``task``, ``label type``, ``augmentation``, ``norm`` or ``logger``.
            name: Its registered name.

        Raises:
            ConfigError: There is none; the message says what to install or which plugin to mend.
        """
        if name in self._entries[kind]:
            return self._entries[kind][name]
        raise ConfigError(f"no {kind} named '{name}'; {advice(self, kind, name)}")

    def of_kind(self, kind: str) -> Mapping[str, Entry[Any]]:
        """The entries of a kind by name."""
        return self._entries[kind]

    def select(
        self, selectors: Iterable[str], exclude: Iterable[str] = (), names: Iterable[str] = ()
    ) -> list[str]:
        """The names of the tasks that selectors choose, in name order.

        Args:
            selectors: Each a name, a glob, or ``label:``, ``modality:``, ``suite:``, ``access:``,
                ``commercial:`` or ``dist:`` with a value; ``+`` inside one narrows it. Several
                add up.
            exclude: Selectors of tasks to take away.
            names: Further tasks to begin with, installed or not.

        Raises:
            ConfigError: A selector is not understood or matches nothing.
        """
        return select(self, selectors, exclude, names)


def load_catalogue(no_plugin: Iterable[str] = (), *, strict: bool = False) -> Catalogue:
    """Find and load the installed plugins.

    Args:
        no_plugin: Distributions or entry points that must not even be imported.
        strict: Raise what a plugin raises instead of recording it.

    The environment variable ``UMEDPT_PLUGINS`` (names, comma-separated; empty = none) restricts
    loading to the plugins that it names.

    Raises:
        ConfigError: A name to block or to allow belongs to no installed plugin.
    """
    found = list(_find())
    plugins = [plugin for plugin, _ in found]
    _block(plugins, no_plugin)
    manager = pluggy.PluginManager("umedpt")
    manager.add_hookspecs(hookspecs)
    for plugin, entry_point in found:
        if plugin.status == "ok":
            _load(manager, plugin, entry_point, strict)
    registered = _call_hooks(manager, plugins, strict)
    plugins.sort(key=lambda plugin: (plugin.distribution, plugin.entry_point))
    return Catalogue(plugins, _entries(registered))


def _find() -> Iterator[tuple[Plugin, metadata.EntryPoint]]:
    """The entry points of our group, the first on the path winning where a name is there twice."""
    seen: dict[str, list[Plugin]] = {}
    for distribution in metadata.distributions():
        try:
            ours = [ep for ep in distribution.entry_points if ep.group == GROUP]
        except Exception:  # noqa: S112 - any distribution's; an entry_points.txt that is none
            continue
        if not ours:
            continue
        try:
            facts = distribution.metadata
            name, version = canonical(facts["Name"]), facts["Version"]
        except Exception:  # left over from a broken installation
            for ep in ours:
                reason = "its METADATA cannot be read; reinstall or remove it"
                yield Plugin(ep.name, "?", ep.name, ep.value, "failed", reason), ep
            continue
        if name in seen:
            for plugin in seen[name]:
                if version != plugin.version:  # the same one twice: an editable installation
                    plugin.clashes.append(
                        f"version {version} of {name} is installed too, later on the path, "
                        "and unused"
                    )
            continue
        seen[name] = [Plugin(name, version, ep.name, ep.value) for ep in ours]
        yield from zip(seen[name], ours, strict=True)


def canonical(name: str) -> str:
    """The normal form of a distribution's name (PyPA, Names and normalization)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _block(plugins: list[Plugin], no_plugin: Iterable[str]) -> None:
    known = {canonical(name) for p in plugins for name in (p.distribution, p.entry_point)}

    def names(given: Iterable[str], where: str) -> set[str]:
        wanted = {canonical(name.strip()) for name in given if name.strip()}
        for name in sorted(wanted - known):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "without it, see 'umedpt plugins'"
            raise ConfigError(f"{where} names '{name}', which is no installed plugin; {hint}")
        return wanted

    blocked = names(no_plugin, "--no-plugin")
    listed = os.environ.get("UMEDPT_PLUGINS")
    allowed = None if listed is None else names(listed.split(","), "UMEDPT_PLUGINS")
    for plugin in plugins:
        own = {plugin.distribution, canonical(plugin.entry_point)}
        if own & blocked:
            plugin.status, plugin.reason = "blocked", "by --no-plugin"
        elif allowed is not None and not own & allowed:
            plugin.status, plugin.reason = "blocked", "not in UMEDPT_PLUGINS"


def _key(plugin: Plugin) -> str:
    return f"{plugin.distribution}:{plugin.entry_point}"


def _load(
    manager: pluggy.PluginManager, plugin: Plugin, entry_point: metadata.EntryPoint, strict: bool
) -> None:
    try:
        module = entry_point.load()
        wanted = int(getattr(module, "UMEDPT_API", API))
    except (Exception, SystemExit) as error:
        _fail(plugin, "failed", f"import of {plugin.module} raised {_describe(error)}", strict)
        return
    if wanted != API:
        way = "a newer umedpt-core" if wanted > API else "a newer version of this plugin"
        _fail(plugin, "incompatible", f"speaks API {wanted}, the core {API}: needs {way}", strict)
        return
    try:
        manager.register(module, _key(plugin))
    except pluggy.PluginValidationError as error:
        # The first line says which plugin, in pluggy's words; ours is known already.
        lines = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
        reason = f"a hook does not fit this core: {' '.join(lines)}"
        _fail(plugin, "incompatible", reason, strict)
    except Exception as error:
        _fail(plugin, "failed", f"its hooks cannot be registered: {_describe(error)}", strict)


def _call_hooks(
    manager: pluggy.PluginManager, plugins: list[Plugin], strict: bool
) -> list[tuple[str, Spec, Plugin]]:
    """Call every implementation by itself; the specs of the plugins that are still ok."""
    by_key = {_key(plugin): plugin for plugin in plugins}
    for hook in [caller for caller in vars(manager.hook).values() if not caller.has_spec()]:
        for implementation in hook.get_hookimpls():
            if not implementation.optionalhook:
                reason = f"hook '{hook.name}' is unknown: misspelt, or for a newer umedpt-core"
                _fail(by_key[implementation.plugin_name], "incompatible", reason, strict)
    specs: list[tuple[str, Spec, Plugin]] = []
    for kind, (hook_name, spec_class, _) in KINDS.items():
        for implementation in getattr(manager.hook, hook_name).get_hookimpls():
            plugin = by_key[implementation.plugin_name]
            if plugin.status != "ok":
                continue
            try:
                for spec in implementation.function():
                    if not isinstance(spec, spec_class):
                        raise TypeError(f"yielded {type(spec).__name__}, not {spec_class.__name__}")
                    specs.append((kind, spec, plugin))
            except (Exception, SystemExit) as error:
                unknown = isinstance(error, ValidationError) and any(
                    detail["type"] == "extra_forbidden" for detail in error.errors()
                )
                status: Status = "incompatible" if unknown else "failed"
                _fail(plugin, status, f"hook {hook_name} raised {_describe(error)}", strict)
    return [(kind, spec, plugin) for kind, spec, plugin in specs if plugin.status == "ok"]


def _entries(specs: list[tuple[str, Spec, Plugin]]) -> dict[str, dict[str, Entry[Any]]]:
    entries: dict[str, dict[str, Entry[Any]]] = {kind: {} for kind in KINDS}
    owners: dict[tuple[str, str], list[Plugin]] = {}
    for kind, spec, plugin in specs:
        name: str = spec.name  # type: ignore[attr-defined]
        owners.setdefault((kind, name), []).append(plugin)
        entries[kind][name] = Entry(spec, plugin.distribution, plugin.version)
    for (kind, name), plugins in owners.items():
        if len(plugins) > 1:
            del entries[kind][name]
            for plugin in {id(plugin): plugin for plugin in plugins}.values():
                others = ", ".join(p.distribution for p in plugins if p is not plugin)
                plugin.clashes.append(
                    f"{kind} '{name}' is registered by {others} too"
                    if others
                    else f"{kind} '{name}' is registered twice by this plugin"
                )
    return {kind: dict(sorted(found.items())) for kind, found in entries.items()}


def _describe(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        details = (f"{'.'.join(map(str, d['loc']))}: {d['msg']}" for d in error.errors())
        return f"an invalid {error.title}: {'; '.join(details)}"
    first_line = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__


def _fail(plugin: Plugin, status: Status, reason: str, strict: bool) -> None:
    if strict:
        raise ConfigError(f"{plugin.distribution} is {status}: {reason}")
    if plugin.status == "ok":
        plugin.status, plugin.reason = status, reason
