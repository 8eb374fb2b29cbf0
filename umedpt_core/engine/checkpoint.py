"""Checkpoints: written whole or not at all, without pickle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..errors import ConfigError, UmedptError, reason

UNFINISHED = ".writing-"


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Word the errors of writing to a place.

    Raises:
        UmedptError: The disk is full or unwritable.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise UmedptError(
            f"cannot write {place}: {reason(error)}; free some space, then go on with --resume"
        ) from error


@contextmanager
def written_whole(place: Path) -> Iterator[Path]:
    """A folder to write files into, which takes its place only when all is on the disk.

    Args:
        place: An older folder there is replaced.

    Raises:
        UmedptError: The disk is full or unwritable; there is nothing new at `place`.
    """
    temporary = place.with_name(f"{UNFINISHED}{place.name}")
    with writing(place):
        _clear(place.parent, place.name)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            for file in temporary.iterdir():
                _sync(file)
            _sync(temporary)
            if place.exists():
                _remove(place)
            temporary.rename(place)
            _sync(place.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_whole(file: Path, text: str) -> None:
    """Write a small file whole or not at all.

    Raises:
        UmedptError: The disk is full or unwritable; the file is as it was.
    """
    temporary = file.with_name(f"{UNFINISHED}{file.name}")
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(text)
            _sync(temporary)
            temporary.replace(file)
            _sync(file.parent)
        finally:
            temporary.unlink(missing_ok=True)


def save_checkpoint(
    folder: Path,
    models: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    keep: int,
) -> Path:
    """Write a checkpoint, then remove old ones.

    Args:
        folder: The run's ``checkpoints``.
        models: ``model``, and ``average`` where there is one: parameters and buffers are saved.
        optimizer: Its state is saved by parameter name.
        state: JSON; ``step`` names the checkpoint.
        keep: How many of the latest checkpoints to keep.

    Raises:
        UmedptError: The disk is full or unwritable; earlier checkpoints are untouched.
    """
    _clear(folder)
    target = folder / f"step-{state['step']:08d}"
    with written_whole(target) as temporary:
        for name, model in models.items():
            tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
            save_file(tensors, temporary / f"{name}.safetensors")
        optimizer_state = _named_state(models["model"], optimizer)
        save_file(optimizer_state, temporary / "optimizer.safetensors")
        (temporary / "state.json").write_text(json.dumps(state))
    for old in list_checkpoints(folder)[:-keep]:
        with suppress(OSError):  # then after the next one
            _remove(old)
    return target


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first; what a killed process left half-written is none."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").is_file())


def load_checkpoint(
    path: Path, models: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Load a checkpoint into models and their optimizer, and return its state.

    Raises:
        UmedptError: A file is damaged or does not fit.
    """
    try:
        state: dict[str, Any] = json.loads((path / "state.json").read_text())
        for name, model in models.items():
            model.load_state_dict(load_file(path / f"{name}.safetensors"))
        _load_named_state(models["model"], optimizer, load_file(path / "optimizer.safetensors"))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UmedptError(
            f"{path}: the checkpoint is damaged ({reason(error)}); remove this folder to go on "
            "from the one before it"
        ) from error
    return state


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint, by name.

    Raises:
        ConfigError: The file is damaged.
    """
    try:
        weights: dict[str, torch.Tensor] = load_file(path / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise ConfigError(
            f"{path}: the checkpoint is damaged ({reason(error)}); remove this folder to go on "
            "from the one before it"
        ) from error
    return weights


def start_from(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Take over, by name, what fits of another run's weights and optimizer state.

    Returns:
        The parameters that stay as they are: new, or of another shape.

    Raises:
        ConfigError: A file is damaged, or nothing of the encoder fits.
    """
    weights = load_weights(path)
    try:
        state = load_file(path / "optimizer.safetensors")
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path}: the checkpoint is damaged ({reason(error)})") from error
    own = model.state_dict()
    fits = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    parameters = [name for name, _ in model.named_parameters()]
    if not any(name.startswith("blocks.encoder.") and name in fits for name in parameters):
        raise ConfigError(f"{path}: none of its encoder's weights fit; take a run of this encoder")
    model.load_state_dict(fits, strict=False)
    kept = {name for name in parameters if name in fits}
    named = {k: v for k, v in state.items() if k.partition(":")[2] in kept}
    _load_named_state(model, optimizer, named)
    return sorted(set(parameters) - kept)


def _named_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"{key}:{name}": value.detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _load_named_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]
) -> None:
    parameters = dict(model.named_parameters())
    listed = [p for group in optimizer.param_groups for p in group["params"]]
    order = {id(p): i for i, p in enumerate(listed)}
    state: dict[int, dict[str, torch.Tensor]] = {}
    for full_name, value in tensors.items():
        key, _, name = full_name.partition(":")
        state.setdefault(order[id(parameters[name])], {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _clear(folder: Path, name: str = "") -> None:
    """Delete what a killed process has left of anything, or of what has a name."""
    for left in folder.glob(f"{UNFINISHED}{name}*"):
        shutil.rmtree(left, ignore_errors=True)


def _remove(folder: Path) -> None:
    """Take a folder away at once, then delete it; if that is cut short, the next save does it."""
    gone = folder.with_name(f"{UNFINISHED}{folder.name}.old")
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
