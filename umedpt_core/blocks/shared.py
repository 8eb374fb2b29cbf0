"""The shared blocks, put together (paper: Architecture)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from torch import Tensor, nn

from .decoders import PixelDecoder, Pyramid, PyramidDecoder, upsample
from .encoder import Encoder
from .folding import add_folded_biases
from .norms import Swap, SwapReport, swap_norms


class Blocks(Protocol):
    """What heads are built on: three views of a batch of images."""

    def embedding(self, x_BCHW: Tensor) -> Tensor:
        """B x D: one embedding an image."""

    def pixels(self, x_BCHW: Tensor) -> Tensor:
        """B x D x H x W: one embedding a pixel."""

    def pyramid(self, x_BCHW: Tensor) -> Pyramid:
        """Multi-scale features for detection."""


class SharedBlocks(nn.Module):
    """Encoder, pixel decoder and pyramid decoder, each decoder only where some task needs it.

    Args:
        encoder: timm name.
        pretrained: See :class:`.encoder.Encoder`.
        needs: Out of ``embedding``, ``pixels``, ``pyramid``.
        pixels: Width of the pixel decoder.
        pyramid: Width of the pyramid decoder.
        swap: How norms are replaced; None keeps what the encoder and decoders were built with.

    Attributes:
        swap_report: What the swap did.
        dims: Channels of each output that was asked for.
    """

    def __init__(
        self,
        encoder: str,
        *,
        pretrained: bool | str = False,
        needs: Iterable[str] = ("embedding", "pixels", "pyramid"),
        pixels: int = 64,
        pyramid: int = 128,
        swap: Swap | None = None,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(encoder, pretrained)
        channels = self.encoder.channels
        needs = set(needs)
        self.pixel_decoder = PixelDecoder(channels, pixels) if "pixels" in needs else None
        self.pyramid_decoder = PyramidDecoder(channels, pyramid) if "pyramid" in needs else None
        dims = {"embedding": channels[-1], "pixels": pixels, "pyramid": pyramid}
        self.dims = {name: dims[name] for name in sorted(needs)}
        self.swap_report = swap_norms(self, swap, self.encoder.example) if swap else SwapReport()
        self.register_load_state_dict_pre_hook(add_folded_biases)  # type: ignore[no-untyped-call]
        # Pretrained batch statistics are kept as they are: a task's batch is no fair sample of all.
        self._frozen = (
            [m for m in self.encoder.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
            if pretrained and not swap
            else []
        )
        self._kept: tuple[Tensor, list[Tensor]] | None = None
        self._keeps = False

    def train(self, mode: bool = True) -> SharedBlocks:
        """As in torch, except that a pretrained encoder's batch statistics stay frozen."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def embedding(self, x_BCHW: Tensor) -> Tensor:
        """B x D: global average pool of the encoder's lowest level, after its final norm."""
        return self.encoder.embed(self._features(x_BCHW)[-1])

    def pixels(self, x_BCHW: Tensor) -> Tensor:
        """B x D x H x W: the pixel decoder's embeddings at full resolution."""
        return upsample(self.quarter_pixels(x_BCHW), _size(x_BCHW))

    def quarter_pixels(self, x_BCHW: Tensor) -> Tensor:
        """B x D x H/4 x W/4: the pixel decoder's embeddings before they are upsampled."""
        if self.pixel_decoder is None:
            raise RuntimeError("these blocks were built without the pixel decoder")
        embeddings: Tensor = self.pixel_decoder(self._features(x_BCHW))
        return embeddings

    def pyramid(self, x_BCHW: Tensor) -> Pyramid:
        """The pyramid decoder's five levels at strides 8 to 128."""
        if self.pyramid_decoder is None:
            raise RuntimeError("these blocks were built without the pyramid decoder")
        pyramid: Pyramid = self.pyramid_decoder(self._features(x_BCHW), _size(x_BCHW))
        return pyramid

    @contextmanager
    def keeping_features(self) -> Iterator[None]:
        """Within it the encoder runs once for the loss and the prediction of the same batch."""
        self._keeps = True
        try:
            yield
        finally:
            self._keeps, self._kept = False, None

    def _features(self, x_BCHW: Tensor) -> list[Tensor]:
        if not self._keeps:
            return self.encoder(x_BCHW)  # type: ignore[no-any-return]
        if self._kept is None or self._kept[0] is not x_BCHW:
            self._kept = (x_BCHW, self.encoder(x_BCHW))
        return self._kept[1]


def _size(x_BCHW: Tensor) -> tuple[int, int]:
    return (x_BCHW.shape[2], x_BCHW.shape[3])


def describe(blocks: SharedBlocks) -> dict[str, Any]:
    """Parameters a part, for people and for the run's record."""
    return {
        name: sum(p.numel() for p in part.parameters()) for name, part in blocks.named_children()
    }
