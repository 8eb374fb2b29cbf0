"""The shared encoder: any timm backbone that gives a feature pyramid (paper: Architecture)."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError

STRIDES = (4, 8, 16, 32)
OTHERS = "choose another, such as swin_tiny_patch4_window7_224, resnet50 or convnext_tiny"


class Encoder(nn.Module):
    """A timm backbone as a feature pyramid at strides 4, 8, 16 and 32.

    Swin transformers are built at their native size with ``strict_img_size=False``, so that any
    size goes through and stock weights load; their last stage partitions as in stock timm.

    Args:
        name: A timm model name.
        pretrained: False: random. True: timm's weights, from its hub. A path: a state dict in a
            ``.safetensors`` or ``.pth`` file, of this backbone, read without unpickling code.

    Attributes:
        channels: Channels of the four levels.
        mean: 3 x 1 x 1, the backbone's own, subtracted from the input; and likewise `std`.
        final_norm: Layer norm between the last level and the pooling: the backbone's own where its
            classifier has one, a new one where it has none.

    Raises:
        ConfigError: timm has no such backbone, it gives no pyramid for images of any size, or the
            weights do not fit.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, pretrained: bool | str = False) -> None:
        super().__init__()
        net = _create(name, pretrained=pretrained is True)
        if isinstance(pretrained, str):
            load_weights(net, Path(pretrained).expanduser())
        reductions = [level["reduction"] for level in net.feature_info]
        if not set(STRIDES) <= set(reductions) or not hasattr(net, "forward_intermediates"):
            raise ConfigError(
                f"encoder '{name}' gives no feature pyramid at strides 4, 8, 16, 32; {OTHERS}"
            )
        # The last level of each stride: some backbones list a stem at stride 4 as well.
        levels = [max(i for i, r in enumerate(reductions) if r == stride) for stride in STRIDES]
        self.channels = tuple(int(net.feature_info[i]["num_chs"]) for i in levels)
        self.final_norm = _final_norm(net, self.channels[-1])
        self.levels = net.prune_intermediate_layers(levels, prune_norm=True, prune_head=True)
        self.net = net
        # Also for a random encoder: norms over (C, H, W) keep the offsets that a first convolution
        # makes of values that are all positive, and training is slower for it.
        for key in ("mean", "std"):
            self.register_buffer(key, torch.tensor(net.pretrained_cfg[key]).view(3, 1, 1))
        self._size = tuple(net.pretrained_cfg["input_size"][1:])
        if not self._takes_any_size():
            raise ConfigError(
                f"encoder '{name}' gives no aligned levels for images of any size (its own: "
                f"{self._size[0]} x {self._size[1]}); {OTHERS}"
            )

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """The feature pyramid.

        Args:
            x_BCHW: B x 3 x H x W, values in [0, 1]. Edges that are no multiples of 32 are resized
                up to the next one, where the levels align.

        Returns:
            Four tensors B x C x H/s x W/s for the strides s = 4, 8, 16, 32.
        """
        height, width = (-(-edge // 32) * 32 for edge in x_BCHW.shape[2:])
        if (height, width) != tuple(x_BCHW.shape[2:]):
            x_BCHW = F.interpolate(x_BCHW, (height, width), mode="bilinear", align_corners=False)
        x_BCHW = (x_BCHW - self.mean) / self.std
        features: list[Tensor] = self.net.forward_intermediates(
            x_BCHW, indices=self.levels, intermediates_only=True, output_fmt="NCHW"
        )
        return features

    def example(self) -> list[Tensor]:
        """Levels and embedding of noise at the backbone's own size, in evaluation mode."""
        noise = torch.rand(1, 3, *self._size, generator=torch.Generator().manual_seed(0))
        with _evaluating(self):
            features = self(noise)
            return [*features, self.embed(features[-1])]

    @torch.no_grad()
    def _takes_any_size(self) -> bool:
        """Whether levels have the size they should where images are small, and where oblong."""
        with _evaluating(self):
            for height, width in ((64, 96), (-(-self._size[0] // 32) * 32 + 32, 64)):
                try:
                    levels = self(torch.zeros(1, 3, height, width))
                except (RuntimeError, AssertionError, ValueError, IndexError):
                    return False
                sizes = [(height // stride, width // stride) for stride in STRIDES]
                if [tuple(level.shape[2:]) for level in levels] != sizes:
                    return False
        return True

    def embed(self, lowest_BCHW: Tensor) -> Tensor:
        """The embedding of an image: global average pool of the lowest level, B x C."""
        x_BNC = self.final_norm(lowest_BCHW.flatten(2).transpose(1, 2))
        pooled: Tensor = x_BNC.mean(1)
        return pooled


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def _create(name: str, *, pretrained: bool) -> Any:
    if not timm.is_model(name):
        known = timm.list_models()
        near = timm.list_models(f"{name}*")[:3] or difflib.get_close_matches(name, known)
        hint = f"near: {', '.join(near)}" if near else "timm.list_models() has the names"
        raise ConfigError(f"timm has no encoder '{name}'; {hint}")
    try:
        try:
            return timm.create_model(name, pretrained=pretrained, strict_img_size=False)
        except TypeError:  # not a window transformer: it takes any size as it is
            return timm.create_model(name, pretrained=pretrained)
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise ConfigError(
            f"the weights of encoder '{name}' cannot be downloaded ({type(error).__name__}); give "
            "a weights file: encoder.pretrained in a mix, timm:NAME@FILE as a MODEL"
        ) from error


def _final_norm(net: Any, channels: int) -> nn.Module:
    """A layer norm over channels, with the weights that the stock classifier's norm has."""
    for owner in (net, getattr(net, "head", None)):
        norm = getattr(owner, "norm", None)
        if isinstance(norm, nn.LayerNorm) and norm.normalized_shape == (channels,):
            final = nn.LayerNorm(norm.normalized_shape, eps=norm.eps)
            final.load_state_dict(norm.state_dict())
            return final
    return nn.LayerNorm(channels)


def load_weights(net: nn.Module, path: Path) -> None:
    """Load a backbone's state dict from a file.

    Names are matched first; a file whose tensors have the same shapes in the same order as the
    backbone's (another library's names for the same network) loads by order. A classifier of
    another number of classes is left out.

    Raises:
        ConfigError: The file is missing, no state dict, or does not fit.
    """
    state = _read_state(path)
    own = net.state_dict()
    if not state.keys() & own.keys():
        ordered = dict(zip(own, state.values(), strict=False))
        if len(state) == len(own) and all(own[k].shape == v.shape for k, v in ordered.items()):
            state = ordered
    fitting = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    missing = [key for key in own.keys() - fitting.keys() if not _may_be_missing(key)]
    if missing:
        raise ConfigError(
            f"{path}: does not fit the encoder: {len(missing)} of its {len(own)} tensors are "
            f"missing or of another shape, such as {sorted(missing)[0]}"
        )
    net.load_state_dict(fitting, strict=False)


def _may_be_missing(key: str) -> bool:
    """The classifier, and buffers that are computed, not learned."""
    return key.startswith(("head.fc", "head.weight", "head.bias", "fc.", "classifier.")) or (
        key.endswith(("relative_position_index", "attn_mask", "num_batches_tracked"))
    )


def _read_state(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise ConfigError(f"{path}: no such weights file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigError(f"{path}: cannot be read as weights ({type(error).__name__})") from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ConfigError(f"{path}: holds no state dict")
    return state
