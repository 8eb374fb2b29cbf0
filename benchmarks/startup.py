"""How long `umedpt tasks` and `umedpt --help` take, and what each further installed plugin costs.

Wall time of whole processes, as medians of alternating repeats. The shares are of `import torch` in
the same Python; the growth is from 10 to 200 task plugins beside those installed, each a
distribution as pip leaves it. First runs, which compile and fill the disk cache, do not count.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

UMEDPT = (sys.executable, "-c", "from umedpt_core.cli import main; main()")
FEW, MANY = 10, 200
MODULE = '''"""umedpt-task-fake{n}: a task that exists for the time of a benchmark."""

from umedpt_core import Source, TaskSpec, Whole, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_tasks():
    """Register the task."""
    yield TaskSpec(
        name="fake{n}",
        label_type="classification",
        modality="MRI",
        classes=("no", "yes"),
        cases="umedpt_task_fake{n}.data:open_cases",
        fake="umedpt_task_fake{n}.data:make_fake",
        instances=Whole(size=224),
        source=Source(
            homepage="https://example.org",
            licence="CC-BY-4.0",
            commercial="yes",
            citation="A paper, a journal, a year.",
            access="open",
            download=("download the archive", "unpack it into fake{n}"),
        ),
    )
'''
METADATA = (
    """Metadata-Version: 2.4
Name: umedpt-task-fake{n}
Version: 1.0
Summary: A task that exists for the time of a benchmark.
License-Expression: Apache-2.0
Requires-Python: >=3.11
Requires-Dist: umedpt-core<0.2,>=0.1
Requires-Dist: umedpt-label-classification<0.2,>=0.1
Description-Content-Type: text/markdown

"""
    + "A line of a README, of which a plugin has some forty.\n" * 40
)


def install(folder: Path, numbers: Sequence[int]) -> None:
    """Write task plugins into a folder, as pip would."""
    for n in numbers:
        package = folder / f"umedpt_task_fake{n}"
        info = folder / f"umedpt_task_fake{n}-1.0.dist-info"
        package.mkdir(parents=True)
        info.mkdir()
        (package / "__init__.py").write_text(MODULE.format(n=n))
        (info / "METADATA").write_text(METADATA.format(n=n))
        (info / "entry_points.txt").write_text(f"[umedpt]\numedpt-task-fake{n} = {package.name}\n")


def seconds(commands: Mapping[str, tuple[Sequence[str], str]], repeats: int) -> dict[str, float]:
    """Median wall time of each command (arguments, PYTHONPATH), taking turns."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for repeat in range(repeats + 1):
        for name, (arguments, path) in commands.items():
            started = time.perf_counter()
            subprocess.run(
                arguments,
                env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": ""},
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            if repeat:
                times[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in times.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 repeats in place of 11")
    repeats = 3 if parser.parse_args().quick else 11
    torch, tasks, usage = "import torch", "umedpt tasks", "umedpt --help"
    with tempfile.TemporaryDirectory() as name:
        few, rest = Path(name, "few"), Path(name, "rest")
        install(few, range(FEW))
        install(rest, range(FEW, MANY))
        took = seconds(
            {
                torch: ((sys.executable, "-c", torch), ""),
                tasks: ((*UMEDPT, "tasks"), ""),
                usage: ((*UMEDPT, "--help"), ""),
                "few": ((*UMEDPT, "tasks"), str(few)),
                "many": ((*UMEDPT, "tasks"), os.pathsep.join([str(few), str(rest)])),
            },
            repeats,
        )
    for command in (torch, tasks, usage):
        share = took[command] / took[torch]
        print(f"{command:14} {1000 * took[command]:6.0f} ms  {share:5.3f} of import torch")
    growth = 1000 * (took["many"] - took["few"]) / (MANY - FEW)
    print(
        f"{tasks}, {FEW} plugins more {1000 * took['few']:.0f} ms, {MANY} more "
        f"{1000 * took['many']:.0f} ms: {growth:.2f} ms a plugin"
    )
    print(
        f"startup: 'umedpt tasks' takes {took[tasks] / took[torch]:.3f} and 'umedpt --help' "
        f"{took[usage] / took[torch]:.3f} of 'import torch' (aim: under 0.2); a further task "
        f"plugin costs {growth:.2f} ms (aim: under 1.5)"
    )


if __name__ == "__main__":
    main()
