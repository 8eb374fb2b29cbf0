"""umedpt predict: what a trained model says about new images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import UmedptError
from .pretrain import device_option


@click.command()
@click.argument("model")
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path())
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="A new folder."
)
@click.option("--task", metavar="NAME", help="Which of the model's tasks, if it has several.")
@click.option(
    "--overlays/--no-overlays",
    default=True,
    show_default=True,
    help="Draw each prediction on its input.",
)
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True)
@device_option
@click.option("--workers", type=click.IntRange(1), help="Threads that read and write.")
@click.pass_obj
def predict(session: Any, /, **arguments: Any) -> None:
    """Predict every INPUT: image files, volumes, or folders of them.

    MODEL is a run or a saved model. An input that cannot be used is reported and the rest goes on.
    """
    from ..use.predict import predict as run

    done, failed = run(catalogue=session.catalogue, **arguments)
    if failed:
        raise UmedptError(
            f"{len(failed)} of {done + len(failed)} inputs could not be used; the others are in "
            f"{arguments['output']}"
        )
    click.echo(f"{done} predicted; see {arguments['output']}", err=True)
