"""Checks of a label type: its predictions, metrics and pictures."""

from __future__ import annotations

import numpy as np

from ..label_type import Metric
from .kit import Failure, check
from .label_types import SEEDS, SIZE, LabelSubject, check_form, dump


@check(
    "label type",
    "predictions split into one an image",
    hint="unbatch gives a list on the CPU; with a geometry in the form of a checked target",
    needs=("collates",),
)
def predicts(subject: LabelSubject) -> None:
    """As many items as images, in a form that can be moved."""
    for prediction, _ in subject.predictions:
        items = subject.label.unbatch(prediction)
        if not isinstance(items, list) or len(items) != 4:
            raise Failure(f"unbatch gives {len(items)} items for 4 images")
        for item in items:
            if subject.spec.geometry != "none":
                check_form(subject.spec.geometry, item)


@check(
    "label type",
    "the metrics are those that the spec names",
    hint="compute gives floats under the names in LabelTypeSpec.metrics, NAME_baseline, NAME/CLASS",
    needs=("predicts",),
)
def metrics(subject: LabelSubject) -> None:
    """New ones are empty; after some batches there are finite floats."""
    metric, other = subject.label.metric(), subject.label.metric()
    if metric is other:
        raise Failure("metric gives the same object twice")
    for prediction, target in subject.predictions:
        metric.update(prediction, target)
    values = metric.compute()
    names = subject.spec.metrics
    known = {*names, *(f"{name}_baseline" for name in ("loss", *names))}
    if unknown := sorted({name.partition("/")[0] for name in values} - known):
        raise Failure(f"'{unknown[0]}' is not in the spec's metrics")
    if not values.keys() & set(names):
        raise Failure(f"none of {', '.join(names)} after {len(SEEDS)} batches")
    for name, value in values.items():
        if not isinstance(value, float):
            raise Failure(f"'{name}' is {type(value).__name__}, not float")


@check(
    "label type",
    "the metrics can be taken over chosen images",
    hint="compute(chosen) takes places in the order of update; what is there twice counts twice",
    needs=("metrics",),
)
def chooses(subject: LabelSubject) -> None:
    """They are those of a new metric that got the chosen images and no others."""
    batches = list(range(len(SEEDS)))
    metric = collected(subject, batches)
    for order in (batches[::-1], [2, 0, 2, 2], [1]):
        # The images of whole batches: what one image adds by itself, no other call can tell.
        chosen = [4 * batch + image for batch in order for image in range(4)]
        values, wanted = metric.compute(chosen), collected(subject, order).compute()
        if values.keys() != wanted.keys() or not np.allclose(
            list(values.values()), [wanted[name] for name in values], rtol=1e-4, atol=1e-6
        ):
            raise Failure(f"of the images {chosen} they are {values}, by themselves {wanted}")
    if dump(metric.compute()) != dump(collected(subject, batches).compute()):
        raise Failure("compute(chosen) changes what compute() gives afterwards")


def collected(subject: LabelSubject, batches: list[int]) -> Metric:
    """A new metric that has got these batches."""
    metric = subject.label.metric()
    for number in batches:
        metric.update(*subject.predictions[number])
    return metric


@check(
    "label type",
    "the classes in a target are indices",
    hint="classes_in gives a set of indices into classes; leave out background and unknown",
    needs=("targets",),
)
def classes_in(subject: LabelSubject) -> None:
    """Or none, where the label type knows of no classes."""
    indices = range(len(subject.label.classes))
    for target in subject.targets(0):
        found = subject.label.classes_in(target)
        if not isinstance(found, set):
            raise Failure(f"classes_in gives {type(found).__name__}, no set")
        for index in found:
            if not isinstance(index, int) or index not in indices:
                raise Failure(f"{index!r} is no index into {len(indices)} classes")


@check(
    "label type",
    "predictions become rows of one table",
    hint="row gives the same columns for every item of unbatch, each a str or a float",
    needs=("predicts",),
)
def rows(subject: LabelSubject) -> None:
    """Or of none, where predictions become files."""
    columns = None
    for item in subject.label.unbatch(subject.predictions[0][0]):
        row = subject.label.row(item)
        for name, value in row.items():
            if not isinstance(name, str) or not isinstance(value, str | float):
                raise Failure(f"column {name!r} holds {type(value).__name__}, not str or float")
        columns = list(row) if columns is None else columns
        if list(row) != columns:
            raise Failure(f"the columns are {columns}, then {list(row)}")


@check(
    "label type",
    "targets and predictions can be drawn",
    hint="draw onto a copy and return it: H x W x 3, uint8",
    needs=("predicts",),
)
def draws(subject: LabelSubject) -> None:
    """The picture has the image's form, and the image stays as it was."""
    image = np.full((*SIZE, 3), 99, np.uint8)
    items = {"target": subject.targets(0), "prediction": []}
    items["prediction"] = subject.label.unbatch(subject.predictions[0][0])
    for what, found in items.items():
        for item in found:
            picture = subject.label.draw(image, item)
            if picture.shape != image.shape or picture.dtype != np.uint8:
                raise Failure(f"a {what} becomes {picture.dtype} {picture.shape}")
            if (image != 99).any():
                raise Failure(f"drawing a {what} changes the image itself")
