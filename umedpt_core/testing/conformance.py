"""The conformance kit as a pytest class."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import ClassVar

import pytest

from ..catalogue import load_catalogue
from .kit import Examination, Item

NOWHERE = Path()


class Conformance:
    """Every check as a test of its own; a subclass named ``Test...`` says of which distribution.

    class TestConformance(Conformance):
        distribution = "umedpt-task-bccd"
    """

    distribution: ClassVar[str]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test a check."""
        if "item" in metafunc.fixturenames:
            items = _items(self.distribution)
            metafunc.parametrize("item", items, ids=[item.id for item in items])

    def test_conforms(self, item: Item, tmp_path_factory: pytest.TempPathFactory) -> None:
        """The check passes."""
        examination = item.subject.examination
        if examination.scratch == NOWHERE:
            examination.scratch = tmp_path_factory.mktemp(self.distribution)
        result = examination.result(item.check.name, item.subject)
        if result.status == "skipped":
            pytest.skip(result.message)
        if result.status == "failed":
            text = f"{result.check.title}\n{result.message}\nhint: {result.hint}"
            pytest.fail(text, pytrace=False)


@functools.cache
def _items(distribution: str) -> list[Item]:
    """The items of a distribution; the examination gets its folder when the first test runs."""
    return Examination(distribution, load_catalogue(), NOWHERE).items
