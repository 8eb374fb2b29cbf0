"""What fixed shared blocks make of each image, computed once (paper: the frozen setting)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..blocks.decoders import Pyramid, upsample
from ..blocks.shared import SharedBlocks
from ..data.batch import Batch, Ticket, map_tensors
from ..engine.checkpoint import UNFINISHED, writing


class Features:
    """The outputs of the shared blocks for many images, in the place of the blocks.

    The images of a batch are stand-ins: each holds its own number, by which its outputs are looked
    up. So the label types' losses and predictions work on it as on the blocks themselves.

    Args:
        device: Where outputs and targets are wanted; they are kept on the CPU.

    Attributes:
        ids: The case of each target.
        nbytes: Size of the outputs.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.ids: list[str] = []
        self.nbytes = 0
        self._outputs: list[dict[str, list[Tensor]]] = []  # an image: block to tensors of one
        self._sizes: list[tuple[int, int]] = []  # an image: height, width in pixels
        self._images: list[list[int]] = []  # a target: its images, several where it is a bag's
        self._targets: list[Any] = []  # collated, of one
        self._in_bags = False

    def __len__(self) -> int:
        return len(self.ids)

    @torch.no_grad()
    def add(self, blocks: SharedBlocks, batch: Batch) -> None:
        """Compute and keep the outputs for a batch, on the CPU."""
        with blocks.keeping_features():
            outputs = {name: _outputs(blocks, name, batch.x_BCHW) for name in blocks.dims}
        height, width = batch.x_BCHW.shape[-2:]
        first = len(self._outputs)
        for place in range(len(batch.x_BCHW)):
            kept = {n: [t[place : place + 1].cpu() for t in ts] for n, ts in outputs.items()}
            self.nbytes += sum(t.nbytes for tensors in kept.values() for t in tensors)
            self._outputs.append(kept)
            self._sizes.append((height, width))
        self._in_bags = bool(batch.bags)
        for place, (case, count) in enumerate(
            zip(batch.ids, batch.bags or (1,) * len(batch), strict=True)
        ):
            self.ids.append(case)
            self._images.append(list(range(first, first + count)))
            self._targets.append(map_tensors(_pick(batch.target, place), Tensor.cpu))
            first += count

    def batches(self, order: Iterable[int], size: int) -> Iterator[Batch]:
        """Batches of the targets in an order; one batch holds images of one size.

        Args:
            order: Places of targets.
            size: Targets a batch at most.
        """
        waiting: dict[tuple[int, int], list[int]] = {}
        for place in order:
            group = waiting.setdefault(self._sizes[self._images[place][0]], [])
            group.append(place)
            if len(group) == size:
                yield self._batch(group)
                group.clear()
        for group in waiting.values():
            if group:
                yield self._batch(group)

    def _batch(self, places: Sequence[int]) -> Batch:
        numbers = [number for place in places for number in self._images[place]]
        x_BCHW = torch.tensor(numbers, dtype=torch.float64).view(-1, 1, 1, 1)
        return Batch(
            Ticket("features", "", 0),
            x_BCHW.expand(-1, 3, *self._sizes[numbers[0]]),
            map_tensors(_join([self._targets[p] for p in places]), lambda t: t.to(self.device)),
            tuple(self.ids[place] for place in places),
            bags=tuple(len(self._images[place]) for place in places) if self._in_bags else (),
        )

    def embedding(self, x_BCHW: Tensor) -> Tensor:
        """See :class:`umedpt_core.blocks.shared.Blocks`; likewise below."""
        return self._look_up("embedding", x_BCHW)[0]

    def pixels(self, x_BCHW: Tensor) -> Tensor:
        """B x D x H x W."""
        height, width = x_BCHW.shape[-2:]
        return upsample(self._look_up("pixels", x_BCHW)[0], (height, width))

    def pyramid(self, x_BCHW: Tensor) -> Pyramid:
        """Multi-scale features."""
        levels = self._look_up("pyramid", x_BCHW)
        count = len(levels) // 3
        height, width = x_BCHW.shape[-2:]
        classes, boxes, centerness = (levels[n * count : (n + 1) * count] for n in range(3))
        return Pyramid(classes, boxes, centerness, (height, width))

    def _look_up(self, name: str, x_BCHW: Tensor) -> list[Tensor]:
        numbers = x_BCHW[:, 0, 0, 0].long().tolist()
        found = [self._outputs[number][name] for number in numbers]
        return [torch.cat(tensors).to(self.device) for tensors in zip(*found, strict=True)]

    def save(self, file: Path) -> None:
        """Write all to one file, whole or not at all.

        Raises:
            UmedptError: The disk is full or unwritable.
        """
        tensors: dict[str, Tensor] = {}
        for image, outputs in enumerate(self._outputs):
            for name, parts in outputs.items():
                tensors |= {f"{image}/{name}/{n:03}": t.contiguous() for n, t in enumerate(parts)}
        shapes = [
            _flatten(target, f"target/{n}", tensors) for n, target in enumerate(self._targets)
        ]
        facts = {
            "ids": self.ids,
            "sizes": self._sizes,
            "images": self._images,
            "targets": shapes,
            "in_bags": self._in_bags,
        }
        temporary = file.with_name(f"{UNFINISHED}{file.name}")
        with writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, temporary, {"facts": json.dumps(facts)})
            temporary.replace(file)

    @classmethod
    def load(cls, file: Path, device: torch.device) -> Features | None:
        """What :meth:`save` wrote; None where there is no such file, or it is damaged."""
        features = cls(device)
        try:
            with safe_open(file, "pt") as opened:
                facts = json.loads(opened.metadata()["facts"])
                tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, ValueError, KeyError):
            return None
        features.ids, features._images = facts["ids"], facts["images"]
        features._sizes = [(height, width) for height, width in facts["sizes"]]
        features._in_bags = facts["in_bags"]
        features._outputs = [{} for _ in facts["sizes"]]
        for key in sorted(k for k in tensors if not k.startswith("target/")):
            image, name, _ = key.split("/")
            features._outputs[int(image)].setdefault(name, []).append(tensors[key])
            features.nbytes += tensors[key].nbytes
        features._targets = [_unflatten(shape, tensors) for shape in facts["targets"]]
        return features


def fingerprint(blocks: SharedBlocks, *facts: Any) -> str:
    """A name for what fixed blocks make of data that the facts describe."""
    digest = sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, tensor in blocks.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:20]


def _outputs(blocks: SharedBlocks, name: str, x_BCHW: Tensor) -> list[Tensor]:
    if name == "embedding":
        return [blocks.embedding(x_BCHW)]
    if name == "pixels":
        return [blocks.quarter_pixels(x_BCHW)]  # a sixteenth of the memory
    pyramid = blocks.pyramid(x_BCHW)
    return [*pyramid.classes, *pyramid.boxes, *pyramid.centerness]


def _pick(value: Any, place: int) -> Any:
    """One item of a collated target, collated."""
    if isinstance(value, dict):
        return {key: _pick(item, place) for key, item in value.items()}
    return value[place : place + 1]


def _join(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        return {key: _join([value[key] for value in values]) for key in first}
    if isinstance(first, Tensor):
        return torch.cat(list(values))
    return [item for value in values for item in value]


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Put the tensors of nested lists and dicts into one dict; their names in their places."""
    if isinstance(value, dict):
        return {key: _flatten(item, f"{name}/{key}", tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_flatten(item, f"{name}/{n}", tensors) for n, item in enumerate(value)]
    tensors[name] = value.contiguous()
    return name


def _unflatten(shape: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(shape, dict):
        return {key: _unflatten(item, tensors) for key, item in shape.items()}
    if isinstance(shape, list):
        return [_unflatten(item, tensors) for item in shape]
    return tensors[shape]
