"""What the results of a benchmark say, put together for its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ..catalogue import Catalogue
from ..specs import Reference
from .results import NUMBERS, TEXTS, choose_baseline, headlines
from .statistics import compare, data_needed, percent, summarise


@dataclass(frozen=True)
class Findings:
    """What the results say.

    Attributes:
        results: What :func:`.read_results` gives.
        baseline: The model that the others are compared with.
        metrics: Task to the metric that its report is about.
        references: Task to its published results.
        summary: What :func:`.summarise` gives, of all metrics.
        comparisons: What :func:`.compare` gives.
        needed: What :func:`.data_needed` gives.
    """

    results: pd.DataFrame
    baseline: str
    metrics: Mapping[str, str]
    references: Mapping[str, Sequence[Reference]]
    summary: pd.DataFrame
    comparisons: pd.DataFrame
    needed: pd.DataFrame

    @property
    def models(self) -> list[str]:
        """The baseline, then the others in the order of the results."""
        return list(dict.fromkeys([self.baseline, *self.results["model"]]))

    def of(self, task: str) -> pd.DataFrame:
        """The results of a task by its metric."""
        rows = self.results[self.results["task"] == task]
        return rows[rows["metric"] == self.metrics[task]]

    @property
    def headlines(self) -> pd.DataFrame:
        """The rows of the summary by each task's metric."""
        return self.summary[self.summary["metric"] == self.summary["task"].map(self.metrics)]

    @property
    def below(self) -> pd.DataFrame:
        """Those of the headlines that are worse than a constant prediction."""
        return self.headlines[self.headlines["below"]]


def find(
    table: pd.DataFrame, baseline: str | None, chosen: Mapping[str, str], catalogue: Catalogue
) -> Findings:
    """All that the page and the files tell.

    Args:
        table: What :func:`.read_results` gives.
        baseline: The name of a model; None: see :func:`.choose_baseline`.
        chosen: Task to metric, where it is not the label type's first.
        catalogue: The installed plugins.

    Raises:
        ConfigError: The baseline, a task or a metric is not among the results.
    """
    baseline = choose_baseline(table, baseline)
    metrics = headlines(table, chosen, catalogue)
    known = {task: catalogue.tasks[task].spec for task in metrics if task in catalogue.tasks}
    references = {task: spec.references for task, spec in known.items() if spec.references}
    summary = summarise(table)
    return Findings(
        results=table,
        baseline=baseline,
        metrics=metrics,
        references=references,
        summary=summary,
        comparisons=compare(table[table["metric"] == table["task"].map(metrics)], baseline),
        needed=data_needed(summary, baseline, metrics, references),
    )


def cautions(findings: Findings) -> list[str]:
    """What a reader must know before believing anything else."""
    found = []
    if findings.results["draw"].nunique() < 2:
        found.append("there is one draw only: no spread and no test; run more with --draws")
    if len(findings.models) < 2:
        found.append("there is one model only: nothing is compared; add one with --model")
    found += [f"not the same for all models: {unlike}" for unlike in _unlike(findings.results)]
    if len(findings.below):
        found.append(f"worse than a constant prediction: {places(findings.below)}")
    return found


def _unlike(results: pd.DataFrame) -> list[str]:
    """What differs between the models within one cell of the grid."""
    kept = ["n_train", "n_test", *setting_names(results)]
    counts = results.groupby(["task", "mode", "fraction", "draw"])[kept].nunique(dropna=False)
    differing = (counts > 1).groupby(["task", "mode"]).any()
    return [
        f"{', '.join(row.index[row])} ({task}, {mode})"
        for (task, mode), row in differing.iterrows()
        if row.any()
    ]


def setting_names(results: pd.DataFrame) -> list[str]:
    """The columns that hold settings of the training."""
    return [name for name in results.columns if name not in {*TEXTS, *NUMBERS}]


def places(rows: pd.DataFrame) -> str:
    """Cells in words: ``random on pneumonia (frozen 1 %, 5 %; finetune 1 %)``."""
    found = []
    for (model, task), group in rows.groupby(["model", "task"], sort=False):
        found.append(f"{model} on {task} ({fractions_of(group)})")
    return ", ".join(found)


def fractions_of(rows: pd.DataFrame) -> str:
    """The modes and fractions of some cells: ``frozen 1 %, 5 %; finetune 1 %``."""
    return "; ".join(
        f"{mode} {', '.join(percent(fraction) for fraction in sorted(group['fraction']))}"
        for mode, group in rows.groupby("mode", sort=False)
    )
