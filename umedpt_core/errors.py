"""Errors that people see. Each names the thing that is wrong and says what to do next."""

from __future__ import annotations


class UmedptError(Exception):
    """A failure while running; the command line prints it on one line and exits with 1."""

    exit_code = 1


class ConfigError(UmedptError):
    """Wrong usage or configuration, found before anything heavy starts; exit code 2."""

    exit_code = 2


class DataError(UmedptError):
    """A case that cannot be used: an unreadable image, or a target that does not fit it."""


class Interrupted(UmedptError):
    """Stopped on request (Ctrl-C) after the step was finished and saved; exit code 130."""

    exit_code = 130


def reason(error: Exception) -> str:
    """An error in one line; one that is not ours, say from a plugin's reader, with its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UmedptError) else f"{type(error).__name__}: {text}"
