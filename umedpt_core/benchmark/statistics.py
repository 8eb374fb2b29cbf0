"""What the results of a benchmark say (paper: Clinical validation, Fig. 3, Table 1).

All functions take a data frame with the columns of ``results.csv``, one row a cell and metric.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import ttest_rel

if TYPE_CHECKING:
    from ..specs import Reference

LEVEL = 0.05
"""Of the tests; the confidence intervals are its complement (paper: P < 0.05)."""

LOWER_IS_BETTER = {"loss", "mae", "rmse"}

CELL = ["task", "metric", "mode", "fraction"]

SAME = 1e-12
"""Differences that lie closer together than this are the same: what is left is rounding."""


def sign(metric: str) -> int:
    """1 where a higher value is better, -1 where a lower one is."""
    return -1 if metric in LOWER_IS_BETTER else 1


def summarise(results: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread over the draws.

    Returns:
        A row for each task, metric, model, mode and fraction: ``n`` draws, ``mean``, ``sd``
        (n - 1 in the denominator; empty for one draw), ``min``, ``max``, the mean of the constant
        prediction's value as ``constant`` (empty where there is none), ``draws_below`` it, and
        whether the mean is (``below``). Below means worse, so above for errors.
    """
    signs = results["metric"].map(sign)
    worse = signs * results["value"] < signs * results["baseline"]
    groups = results.assign(worse=worse).groupby(
        ["task", "metric", "model", "mode", "fraction"], sort=False
    )
    table = groups.agg(
        n=("value", "size"),
        mean=("value", "mean"),
        sd=("value", "std"),
        min=("value", "min"),
        max=("value", "max"),
        constant=("baseline", "mean"),
        draws_below=("worse", "sum"),
    ).reset_index()
    signs = table["metric"].map(sign)
    return table.assign(below=signs * table["mean"] < signs * table["constant"])


def compare(results: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Compare every model with the baseline model on the same draws.

    Args:
        results: One metric a task; all its comparisons are one family for Holm's correction.
        baseline: The name of a model.

    Returns:
        A row for each task, mode, fraction and other model: ``pairs`` (draws that both have),
        ``unpaired`` (draws that one lacks), both means over the pairs, what :func:`paired` gives,
        ``p_holm``, and the ``verdict``: ``better``, ``worse``, ``not shown`` or ``no test``.
    """
    rows = []
    for cell, group in results.groupby(CELL, sort=False):
        values = group.pivot(index="draw", columns="model", values="value")
        for model in dict.fromkeys(group["model"]):
            if model == baseline:
                continue
            both = values.reindex(columns=[model, baseline])
            pairs = both.dropna()
            row = dict(zip(CELL, cell, strict=True)) | {
                "model": model,
                "baseline": baseline,
                "pairs": len(pairs),
                "unpaired": len(both.dropna(how="all")) - len(pairs),
                "model_mean": pairs[model].mean(),
                "baseline_mean": pairs[baseline].mean(),
            }
            rows.append(row | paired(pairs[model].to_numpy(), pairs[baseline].to_numpy()))
    table = pd.DataFrame(rows, columns=COMPARISON)
    table["p_holm"] = holm(table["p"])
    table["verdict"] = [_verdict(row) for _, row in table.iterrows()]
    return table


COMPARISON = [
    *(*CELL, "model", "baseline", "pairs", "unpaired", "model_mean", "baseline_mean"),
    *("difference", "low", "high", "d_z", "p", "p_holm", "verdict", "remark"),
]


def _verdict(row: pd.Series) -> str:
    if np.isnan(row["p_holm"]):
        return "no test"
    if row["p_holm"] >= LEVEL:
        return "not shown"
    return "better" if sign(row["metric"]) * row["difference"] > 0 else "worse"


def paired(model: NDArray[np.float64], baseline: NDArray[np.float64]) -> dict[str, Any]:
    """The paired t-test of two models on the same draws.

    Args:
        model: Its values, one a draw.
        baseline: Those of the baseline on the same draws.

    Returns:
        ``difference`` of the means (model less baseline), ``low`` and ``high`` of its 95 %
        confidence interval, Cohen's ``d_z`` (mean over standard deviation of the differences),
        the exact two-sided ``p``, and a ``remark`` where there is no test: with fewer than two
        pairs, or when all differences are the same, these four are nan.
    """
    differences = model - baseline
    nothing = {"low": np.nan, "high": np.nan, "d_z": np.nan, "p": np.nan}
    if not len(differences):
        return {"difference": np.nan, **nothing, "remark": "no common draw"}
    found = {"difference": differences.mean(), **nothing, "remark": ""}
    if len(differences) < 2:
        return found | {"remark": "one common draw"}
    if np.ptp(differences) < SAME:
        return found | {"remark": "all differences are the same"}
    test = ttest_rel(model, baseline)
    low, high = test.confidence_interval(1 - LEVEL)
    d_z = differences.mean() / differences.std(ddof=1)
    return found | {"low": low, "high": high, "d_z": d_z, "p": test.pvalue}


def holm(p_values: Sequence[float] | pd.Series) -> NDArray[np.float64]:
    """Holm's step-down correction (Scand. J. Statist. 1979): controls the family-wise error.

    Args:
        p_values: nan where there was no test; these are no part of the family.

    Returns:
        The corrected p values in the order given, at most 1, nan where `p_values` are.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # nan comes last
    corrected = np.full_like(p, np.nan)
    steps = np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1))
    corrected[order] = np.minimum(steps, 1)
    return corrected


def data_needed(
    summary: pd.DataFrame,
    baseline: str,
    headlines: Mapping[str, str],
    references: Mapping[str, Sequence[Reference]],
) -> pd.DataFrame:
    """The data needed to match a target (paper: Table 1).

    The rule: the smallest fraction at which the mean over the draws reaches the target, whatever
    larger fractions do. The targets are the baseline's best mean over all fractions and modes, its
    mean on all data in each mode, and the published references whose metric was measured.

    Args:
        summary: What :func:`summarise` gives.
        baseline: The name of a model, which is itself compared with the references only.
        headlines: Task to the metric of the baseline's targets.
        references: Task to its published results.

    Returns:
        A row for each task, target, model and mode: ``task``, ``target`` in words, ``metric``,
        ``value``, ``model``, ``mode``, and the ``fraction``, nan where the target is never
        reached; ``published`` is the fraction that the reference's source needed in that mode.
    """
    rows = []
    for task, metric in headlines.items():
        own = summary[summary["task"] == task]
        of_baseline = own[(own["model"] == baseline) & (own["metric"] == metric)]
        others = own[own["model"] != baseline]
        for target, value in _targets(of_baseline, baseline, sign(metric)):
            rows += _needed(others, {"task": task, "target": target, "metric": metric}, value, {})
        for reference in references.get(task, ()):
            target = f"{reference.setting} ({reference.source})"
            row = {"task": task, "target": target, "metric": reference.metric}
            rows += _needed(own, row, reference.value, reference.needed)
    columns = ["task", "target", "metric", "value", "model", "mode", "fraction", "published"]
    return pd.DataFrame(rows, columns=columns)


def _targets(own: pd.DataFrame, baseline: str, direction: int) -> Iterable[tuple[str, float]]:
    """The baseline's results to match: its best, and those on all data."""
    if own.empty:
        return
    best = own.loc[(direction * own["mean"]).idxmax()]
    place = f"{best['mode']}, {percent(best['fraction'])}"
    yield f"best of {baseline} ({place})", best["mean"]
    for _, row in own[own["fraction"] == 1].iterrows():
        yield f"{baseline}, {row['mode']}, {percent(1)}", row["mean"]


def _needed(
    own: pd.DataFrame, row: dict[str, Any], value: float, published: Mapping[str, float]
) -> list[dict[str, Any]]:
    """A row for each model and mode that was measured by the metric of `row`."""
    direction = sign(row["metric"])
    rows = []
    for (model, mode), group in own[own["metric"] == row["metric"]].groupby(
        ["model", "mode"], sort=False
    ):
        enough = group.loc[direction * group["mean"] >= direction * value, "fraction"]
        found = {"model": model, "mode": mode, "fraction": enough.min()}
        rows.append(row | {"value": value} | found | {"published": published.get(mode)})
    return rows


def percent(fraction: float) -> str:
    """A fraction as people read it: ``2.5 %``."""
    return f"{100 * fraction:.4g} %"
