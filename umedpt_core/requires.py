"""What must be installed: the distributions that a mix requires, the libraries of an extra."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from .errors import ConfigError


def import_extra(module: str, extra: str, need: str) -> Any:
    """Import a library that comes with an extra of the core.

    Args:
        module: Its name.
        extra: That of ``umedpt-core[extra]``.
        need: Who needs it, as the message says it.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(f"{need}: pip install 'umedpt-core[{extra}]'") from error


def version_range(version: str) -> str:
    """The releases that promise to fit a version: ``>=1.2,<2``; before 1.0 ``>=0.1,<0.2``."""
    parsed = Version(version)
    if parsed.major:
        return f">={parsed.major}.{parsed.minor},<{parsed.major + 1}"
    return f">=0.{parsed.minor},<0.{parsed.minor + 1}"


def check_requirement(line: str) -> None:
    """Check one line such as ``umedpt-task-brats>=1,<2`` against what is installed.

    Raises:
        ConfigError: It is not installed, in another version, or no requirement.
    """
    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        raise ConfigError(f"requires: '{line}' is no requirement such as 'name>=1,<2'") from error
    try:
        installed = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        raise ConfigError(
            f"the mix requires {requirement.name}, which is not installed; pip install '{line}'"
        ) from None
    if not requirement.specifier.contains(installed, prereleases=True):
        raise ConfigError(
            f"the mix requires {line}, installed is {installed}; pip install '{line}'"
        )
