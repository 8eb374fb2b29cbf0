"""Working through a grid in SLURM jobs.

The jobs share the grid's folder, as processes on one machine do. submitit hands each job what it
is to run as a pickle in ``OUTPUT/slurm``, between processes of one user; we read none back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ConfigError, UmedptError, reason
from ..requires import import_extra
from .collect import write_results
from .work import Workplace

GENERIC = (
    *("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node"),
    *("tasks_per_node", "stderr_to_stdout"),
)
"""What submitit sets on any cluster; it wants all else with the cluster's name in front."""


def submit(
    place: Workplace,
    jobs: int,
    parameters: Mapping[str, Any],
    results: Path,
    *,
    cluster: str = "slurm",
) -> list[str]:
    """Submit jobs that compute a grid's free cells, and return at once.

    Args:
        place: A prepared grid, on a disk that all machines share.
        jobs: How many.
        parameters: Of sbatch, in submitit's words: ``partition``, ``timeout_min``, ``mem_gb``, ...
        results: The table, which each job writes at its end.
        cluster: ``local`` starts processes here instead.

    Returns:
        The jobs' ids.

    Raises:
        ConfigError: submitit or SLURM is missing, or a parameter is unknown.
        UmedptError: SLURM refuses the jobs.
    """
    submitit = import_extra("submitit", "slurm", "--slurm needs submitit")
    place = replace(place, folder=place.folder.resolve())
    named = {key if key in GENERIC else f"slurm_{key}": value for key, value in parameters.items()}
    try:
        executor = submitit.AutoExecutor(place.folder / "slurm", cluster)
        executor.update_parameters(**{"name": "umedpt", **named})
    except (NameError, AssertionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"--slurm: {str(error).splitlines()[0]}") from error
    try:
        with executor.batch():
            submitted = [executor.submit(_job, place, results.resolve()) for _ in range(jobs)]
        return [job.job_id for job in submitted]
    except (RuntimeError, OSError) as error:
        raise UmedptError(f"SLURM has not taken the jobs: {reason(error)}") from error


def _job(place: Workplace, results: Path) -> None:
    place.work(wait=False)  # a machine is not to wait for the last cells of others
    with place.lock("grid"):
        write_results(place.folder, results)
