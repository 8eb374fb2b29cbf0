"""Checkpoints: written whole or not at all, without pickle."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..errors import UmedptError

KEEP = 2
"""The latest, and one before it in case its disk block is damaged."""


def save_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> Path:
    """Write a checkpoint, then remove old ones.

    Args:
        folder: The run's ``checkpoints``.
        model: All its parameters and buffers are saved.
        optimizer: Its state is saved by parameter name.
        state: JSON; ``step`` names the checkpoint.

    Raises:
        UmedptError: The disk is full or unwritable; earlier checkpoints are untouched.
    """
    target = folder / f"step-{state['step']:08d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
        try:
            tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
            save_file(tensors, temporary / "model.safetensors")
            save_file(_named_state(model, optimizer), temporary / "optimizer.safetensors")
            (temporary / "state.json").write_text(json.dumps(state))
            for file in temporary.iterdir():
                _sync(file)
            if target.exists():
                shutil.rmtree(target)
            temporary.rename(target)
            _sync(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise UmedptError(
            f"cannot write the checkpoint {target}: {error}; free some space, then go on with "
            "--resume from the checkpoint before it"
        ) from error
    for old in list_checkpoints(folder)[:-KEEP]:
        shutil.rmtree(old)
    return target


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first; what a killed process left half-written is none."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").is_file())


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Load a checkpoint into a model and its optimizer, and return its state.

    Raises:
        UmedptError: A file is damaged or does not fit.
    """
    try:
        state: dict[str, Any] = json.loads((path / "state.json").read_text())
        model.load_state_dict(load_file(path / "model.safetensors"))
        _load_named_state(model, optimizer, load_file(path / "optimizer.safetensors"))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UmedptError(
            f"{path}: the checkpoint is damaged ({error}); remove this folder to go on from the "
            "one before it"
        ) from error
    return state


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
    order = {id(p): i for i, p in enumerate(optimizer.param_groups[0]["params"])}
    state: dict[int, dict[str, torch.Tensor]] = {}
    for full_name, value in tensors.items():
        key, _, name = full_name.partition(":")
        state.setdefault(order[id(parameters[name])], {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
