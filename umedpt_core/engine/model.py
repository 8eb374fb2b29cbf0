"""Shared blocks and heads together; saving them, and loading them from wherever they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..blocks.shared import SharedBlocks
from ..catalogue import Catalogue
from ..counters import seed_of
from ..data.batch import Batch, map_tensors
from ..data.tasks import make_label
from ..errors import ConfigError
from ..label_type import LabelType
from ..mix import Architecture, EncoderSettings
from ..specs import Instances, LabelTypeSpec, TaskSpec, resolve

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class Model(nn.Module):
    """The shared blocks and one head a task.

    Args:
        blocks: Shared by all tasks.
        labels: The label type of each task, at work.
        seed: Each head's initialisation depends on it and on the task's name alone.

    Attributes:
        heads: The tasks' own parameters, by name.
        bf16: Whether matrix products and convolutions run in bfloat16 (autocast).
    """

    bf16 = False

    def __init__(self, blocks: SharedBlocks, labels: Mapping[str, LabelType], seed: int) -> None:
        super().__init__()
        self.blocks = blocks
        self.labels = dict(labels)
        self.heads = nn.ModuleDict()
        for name in sorted(labels):
            torch.manual_seed(seed_of(seed, "head", name))
            self.heads[name] = labels[name].head(blocks.dims)

    def loss(self, batch: Batch) -> Tensor:
        """The scalar loss of one task's batch."""
        task = batch.ticket.task
        with torch.autocast(batch.x_BCHW.device.type, torch.bfloat16, enabled=self.bf16):
            return self.labels[task].loss(self.heads[task], self.blocks, batch)

    def predict(self, task: str, x_BCHW: Tensor) -> Any:
        """The prediction of one task for images with values in [0, 1].

        Args:
            task: Its name.
            x_BCHW: B x 3 x H x W; for bags of N instances B x N x 3 x H x W.
        """
        with torch.autocast(x_BCHW.device.type, torch.bfloat16, enabled=self.bf16):
            prediction = self.labels[task].predict(self.heads[task], self.blocks, x_BCHW)
        return map_tensors(prediction, lambda x: x.float() if x.dtype == torch.bfloat16 else x)


def build_blocks(
    catalogue: Catalogue, needs: Iterable[str], architecture: Architecture, seed: int
) -> SharedBlocks:
    """New shared blocks; their random initialisation depends on the seed alone.

    Raises:
        ConfigError: The norm or the encoder is unknown, or pretrained weights do not fit.
    """
    norm = architecture.norm
    swap = resolve(catalogue.find("norm", norm).spec.swap) if norm else None
    torch.manual_seed(seed_of(seed, "blocks"))
    return SharedBlocks(
        architecture.encoder.name,
        pretrained=architecture.encoder.pretrained,
        needs=needs,
        pixels=architecture.decoders.pixels,
        pyramid=architecture.decoders.pyramid,
        swap=swap,
    )


def blocks_needed(catalogue: Catalogue, tasks: Iterable[str]) -> set[str]:
    """The outputs of the shared blocks that the label types of these tasks use."""
    label_types = {catalogue.find("task", name).spec.label_type for name in tasks}
    found: list[LabelTypeSpec] = [catalogue.find("label type", name).spec for name in label_types]
    return {block for spec in found for block in spec.blocks}


def save_model(
    model: Model,
    folder: Path,
    architecture: Architecture,
    tasks: Mapping[str, Instances],
    catalogue: Catalogue,
) -> None:
    """Write weights (safetensors) and what is needed to rebuild the model (JSON).

    Args:
        model: With a head for each task.
        folder: For both files.
        architecture: What the blocks were built from.
        tasks: Each task's instances as they were trained on, of another size than the task's own
            where that was asked for.
        catalogue: Where the tasks are registered.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encoder = EncoderSettings(name=architecture.encoder.name)  # its weights are in the file
    config = {
        "format": 1,
        "architecture": architecture.model_copy(update={"encoder": encoder}).model_dump(),
        "always_partition": False,  # windows as in stock timm
        "needs": sorted(model.blocks.dims),
        "tasks": {
            name: catalogue.tasks[name]
            .spec.model_copy(update={"instances": instances})
            .model_dump(mode="json")
            for name, instances in sorted(tasks.items())
        },
        "plugins": catalogue.versions,
    }
    save_file(
        {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}, folder / WEIGHTS
    )
    (folder / CONFIG).write_text(json.dumps(config, indent=1))


def load_blocks(
    model: str,
    catalogue: Catalogue,
    needs: Iterable[str],
    *,
    seed: int = 0,
    warn: Callable[[str], None] = lambda _: None,
) -> tuple[SharedBlocks, Architecture]:
    """The shared blocks that a MODEL argument names.

    Args:
        model: A run or a saved model's folder; ``timm:NAME[@weights file]``, a pretrained encoder
            that keeps its own norms; or ``random:NAME``, a random one with layer norm.
        catalogue: For the norm.
        needs: The outputs that will be used; a decoder that the model lacks starts at random.
        seed: For what is random.
        warn: Told what started at random, and which plugins had another version.

    Returns:
        The blocks and what they were built from.

    Raises:
        ConfigError: There is no such model, or it cannot be read.
    """
    kind, colon, name = model.partition(":")
    if colon and kind in ("timm", "random"):
        name, at, file = name.partition("@")
        pretrained = (file if at else True) if kind == "timm" else False
        architecture = Architecture(encoder=EncoderSettings(name=name, pretrained=pretrained))
        if kind == "timm":
            architecture = architecture.model_copy(update={"norm": None})
        return build_blocks(catalogue, needs, architecture, seed), architecture
    folder = Path(model)
    folder = folder / "model" if (folder / "model").is_dir() else folder
    config, architecture, state = _read(folder, model)
    for plugin, version in config.get("plugins", {}).items():
        if (here := catalogue.versions.get(plugin, version)) != version:
            warn(f"{model} was made with {plugin} {version}, installed is {here}")
    blocks = build_blocks(catalogue, needs, architecture, seed)
    own = {k.removeprefix("blocks."): v for k, v in state.items() if k.startswith("blocks.")}
    try:
        missing, _ = blocks.load_state_dict(own, strict=False)
    except RuntimeError as error:
        raise ConfigError(f"{folder / WEIGHTS}: does not fit {CONFIG}: {error}") from error
    if lacking := sorted({key.split(".")[0] for key in missing}):
        if "encoder" in lacking:
            raise ConfigError(f"{folder / WEIGHTS}: lacks encoder weights; the file is damaged")
        warn(f"{model} has no {' and no '.join(lacking)}: starts at random")
    return blocks, architecture


def load_model(model: str, catalogue: Catalogue) -> Model:
    """A run's model, or a saved one, with the heads of its tasks, in evaluation mode.

    Raises:
        ConfigError: There is no such model, it cannot be read, or a label type is not installed.
    """
    folder = Path(model)
    config, architecture, state = _read(
        folder / "model" if (folder / "model").is_dir() else folder, model
    )
    labels = {}
    for name, facts in config["tasks"].items():
        spec = TaskSpec.model_validate(facts)
        labels[name] = make_label(spec, catalogue.find("label type", spec.label_type).spec)
    loaded = Model(build_blocks(catalogue, config["needs"], architecture, seed=0), labels, seed=0)
    try:
        loaded.load_state_dict(state)
    except RuntimeError as error:
        raise ConfigError(f"{model}: {WEIGHTS} does not fit {CONFIG}: {error}") from error
    return loaded.eval()


def load_tasks(model: str) -> dict[str, TaskSpec]:
    """The tasks that a run or a saved model has heads for, by name.

    Raises:
        ConfigError: There is no such model, it cannot be read, or it is an encoder without heads.
    """
    if model.startswith(("timm:", "random:")):
        raise ConfigError(
            f"{model} has no heads; train one with 'umedpt adapt {model} TASK --output DIR' and "
            "give DIR"
        )
    folder = Path(model)
    config, *_ = _read(folder / "model" if (folder / "model").is_dir() else folder, model)
    return {name: TaskSpec.model_validate(facts) for name, facts in config["tasks"].items()}


def _read(folder: Path, model: str) -> tuple[dict[str, Any], Architecture, dict[str, Tensor]]:
    if not (folder / CONFIG).is_file():
        hint = "is the run finished?" if Path(model).is_dir() else "no such folder"
        raise ConfigError(
            f"no model at '{model}' ({hint}); give a run, a saved model, timm:NAME or random:NAME"
        )
    try:
        config = json.loads((folder / CONFIG).read_text())
        architecture = Architecture.model_validate(config["architecture"])
        return config, architecture, load_file(folder / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{folder}: the model cannot be read: {reason}") from error
