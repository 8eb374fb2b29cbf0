"""The conformance kit: what a plugin must do, as checks that run against an installed one.

On the command line it is ``umedpt check DISTRIBUTION``. In a plugin's tests:

    from umedpt_core.testing import Conformance

    class TestConformance(Conformance):
        distribution = "umedpt-task-bccd"
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .conformance import Conformance
    from .kit import Check, Examination, Result, all_checks

_HOME_OF = {"Conformance": "conformance"} | dict.fromkeys(
    ("Check", "Examination", "Result", "all_checks"), "kit"
)

__all__ = ["Check", "Conformance", "Examination", "Result", "all_checks"]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
