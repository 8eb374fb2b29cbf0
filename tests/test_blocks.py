"""The shared blocks: any backbone, any image size; each built only where it is needed."""

from __future__ import annotations

import pickle
from functools import cache, partial
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from umedpt_norm_layernorm.swap import without_parameters

from umedpt_core import ConfigError
from umedpt_core.blocks.encoder import Encoder
from umedpt_core.blocks.norms import norm_channels
from umedpt_core.blocks.shared import SharedBlocks, describe

SWIN, SMALL = "swin_tiny_patch4_window7_224", "mobilenetv3_small_050"
ENCODERS = [SWIN, SMALL, "resnet18", "tf_efficientnet_lite0", "convnext_atto"]


@cache
def blocks_of(name: str) -> SharedBlocks:
    """All blocks with the default norm; shared by the tests, which leave them as they are."""
    torch.manual_seed(0)
    return SharedBlocks(name, pixels=16, pyramid=32, swap=without_parameters)


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(64, 96), (97, 65), (33, 160)])
@pytest.mark.parametrize("name", ENCODERS)
@torch.no_grad()
def test_any_size_goes_through(name, size):
    blocks, x_BCHW = blocks_of(name), images(2, 3, *size)
    height, width = (-(-edge // 32) * 32 for edge in size)
    features = blocks.encoder(x_BCHW)
    assert [tuple(level.shape) for level in features] == [
        (2, channels, height // stride, width // stride)
        for channels, stride in zip(blocks.encoder.channels, (4, 8, 16, 32), strict=True)
    ]
    assert blocks.embedding(x_BCHW).shape == (2, blocks.dims["embedding"])
    assert blocks.pixels(x_BCHW).shape == (2, 16, *size)
    pyramid = blocks.pyramid(x_BCHW)
    assert pyramid.size == size
    shapes = [(-(-height // stride), -(-width // stride)) for stride in (8, 16, 32, 64, 128)]
    for levels, channels in ((pyramid.classes, 32), (pyramid.boxes, 32), (pyramid.centerness, 1)):
        assert [tuple(level.shape) for level in levels] == [(2, channels, *s) for s in shapes]
        assert all(level.isfinite().all() for level in levels)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_parameter_is_trained(name):
    blocks, x_BCHW = blocks_of(name), images(2, 3, 64, 64)
    pyramid = blocks.pyramid(x_BCHW)
    outputs = [blocks.embedding(x_BCHW), blocks.pixels(x_BCHW), *pyramid.boxes, *pyramid.centerness]
    names, parameters = zip(*blocks.named_parameters(), strict=True)
    total = sum(output.square().mean() for output in outputs)
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    unused = [n for n, g in zip(names, gradients, strict=True) if g is None]
    assert not unused
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", ENCODERS)
def test_the_default_norm_leaves_no_norm_with_parameters(name):
    norms = [module for module in blocks_of(name).modules() if norm_channels(module)]
    assert len(norms) > 10
    assert not [norm for norm in norms if list(norm.parameters())]


@pytest.mark.parametrize("name", ENCODERS)
@torch.no_grad()
def test_a_sample_does_not_depend_on_the_others(name):
    blocks = blocks_of(name).train()
    x_BCHW, other_BCHW = images(2, 3, 64, 64), images(2, 3, 64, 64, seed=1) * 9
    other_BCHW[0] = x_BCHW[0]
    for view in (blocks.embedding, blocks.pixels, lambda x: blocks.pyramid(x).boxes[0]):
        torch.manual_seed(0)  # Swin's drop path
        one = view(x_BCHW)
        torch.manual_seed(0)
        two = view(other_BCHW)
        torch.testing.assert_close(one[0], two[0], rtol=1e-4, atol=1e-4)
        assert not torch.allclose(one[1], two[1], rtol=1e-2, atol=1e-2)


@torch.no_grad()
def test_with_batch_norm_a_sample_does_depend_on_the_others():
    """The control of the test above."""
    blocks = SharedBlocks(SMALL, needs=["embedding"]).train()
    x_BCHW, other_BCHW = images(2, 3, 64, 64), images(2, 3, 64, 64, seed=1) * 9
    other_BCHW[0] = x_BCHW[0]
    one, two = blocks.embedding(x_BCHW), blocks.embedding(other_BCHW)
    assert not torch.allclose(one[0], two[0], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("need", ["embedding", "pixels", "pyramid"])
def test_only_what_is_needed_is_built(need):
    blocks = SharedBlocks(SMALL, needs=[need], pixels=16, pyramid=32)
    assert blocks.dims == {need: {"embedding": 288, "pixels": 16, "pyramid": 32}[need]}
    decoders = {"pixels": "pixel_decoder", "pyramid": "pyramid_decoder"}
    assert describe(blocks).keys() == {"encoder", *([decoders[need]] if need in decoders else [])}
    for other in decoders.keys() - {need}:
        with pytest.raises(RuntimeError, match=f"without the {other.removesuffix('s')} decoder"):
            getattr(blocks, other)(images(1, 3, 64, 64))


def test_within_keeping_features_the_encoder_runs_once_a_batch():
    blocks, runs = SharedBlocks(SMALL, pixels=16, pyramid=32, swap=without_parameters), []
    blocks.encoder.register_forward_hook(lambda *_: runs.append(1))
    one, two = images(1, 3, 64, 64), images(1, 3, 64, 64, seed=1)
    with torch.no_grad(), blocks.keeping_features():
        kept = blocks.pixels(one)
        blocks.pyramid(one)
        assert len(runs) == 1
        assert not torch.equal(blocks.pixels(two), kept)
        assert len(runs) == 2
    torch.testing.assert_close(blocks.pixels(one), kept)
    blocks.pixels(one)
    assert len(runs) == 4


# Where the weights come from


def stock(name: str) -> nn.Module:
    """timm's own network with weights that no initialisation gives, its norms' too."""
    net = timm.create_model(name).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net


@torch.no_grad()
def test_stock_swin_weights_give_stock_embeddings(tmp_path):
    net = stock(SWIN)
    save_file(net.state_dict(), tmp_path / "swin.safetensors")
    encoder = Encoder(SWIN, str(tmp_path / "swin.safetensors")).eval()
    x_BCHW = images(1, 3, 224, 224)
    mean, std = (torch.tensor(net.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    expected = net.forward_head(net.forward_features((x_BCHW - mean) / std), pre_logits=True)
    torch.testing.assert_close(encoder.embed(encoder(x_BCHW)[-1]), expected, rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def small():
    """The stock network and its weights."""
    net = stock(SMALL)
    return net, {key: value.clone() for key, value in net.state_dict().items()}


def layouts(state):
    """The same weights as different libraries store them."""
    own = {k: v for k, v in state.items() if not k.startswith("classifier.")}
    return {
        "plain": state,
        "in state_dict": {"epoch": 3, "state_dict": state},
        "in model": {"model": state},
        "no classifier": own,
        "other classifier": own | {"classifier.weight": torch.zeros(7, 1024)},
        "other names": {f"layer.{i}": v for i, v in enumerate(state.values())},
    }


@pytest.mark.parametrize("layout", layouts({}))
@torch.no_grad()
def test_weights_load_by_name_or_by_order(layout, small, tmp_path):
    net, state = small
    torch.save(layouts(state)[layout], tmp_path / "w.pth")
    encoder = Encoder(SMALL, str(tmp_path / "w.pth")).eval()
    x_BCHW = images(1, 3, 64, 64)
    expected = net.forward_intermediates(
        (x_BCHW - encoder.mean) / encoder.std, intermediates_only=True, output_fmt="NCHW"
    )
    for level, stock_level in zip(encoder(x_BCHW), expected[-4:], strict=True):
        torch.testing.assert_close(level, stock_level)


@torch.no_grad()
def test_the_backbone_s_own_mean_and_std_are_applied_inside_and_stored():
    encoder = Encoder("resnet18").eval()
    for key in ("mean", "std"):
        own = torch.tensor(encoder.net.pretrained_cfg[key])
        assert torch.equal(encoder.state_dict()[key].flatten(), own)
    seen = []
    encoder.net.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(*inputs))
    encoder(encoder.mean.expand(1, 3, 32, 64))
    encoder((encoder.mean + encoder.std).expand(1, 3, 32, 64))
    torch.testing.assert_close(seen, [torch.zeros(1, 3, 32, 64), torch.ones(1, 3, 32, 64)])


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("mobilenetv3_smal_050", SMALL),
        ("swin_tiny", "swin_tiny"),
        ("resnet1800", "resnet18"),
        ("no such thing at all", "timm.list_models"),
    ],
)
def test_an_unknown_encoder_is_named_with_what_is_near(name, near):
    with pytest.raises(ConfigError, match=f"timm has no encoder '{name}'; .*{near}"):
        Encoder(name)


def test_an_encoder_without_a_pyramid():
    with pytest.raises(ConfigError, match="'vit_tiny_patch16_224' gives no feature pyramid"):
        Encoder("vit_tiny_patch16_224")


@torch.no_grad()
def test_a_classifier_s_norm_of_another_width_is_no_final_norm():
    encoder = Encoder("inception_next_atto")
    assert encoder.embed(encoder(images(1, 3, 64, 64))[-1]).shape == (1, 320)


def test_weights_that_cannot_be_downloaded(monkeypatch):
    def offline(name, **arguments):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ConfigError, match=f"'{SMALL}' cannot be downloaded .*encoder.pretrained"):
        Encoder(SMALL, pretrained=True)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such weights file"),
        (b"", "cannot be read as weights"),
        (b"\x80garbage" * 9, "cannot be read as weights"),
    ],
)
def test_a_file_that_holds_no_weights(content, message, suffix, tmp_path):
    path = tmp_path / f"w.{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"w\.{suffix}: {message}"):
        Encoder(SMALL, str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: list(state.values()), "holds no state dict"),
        (lambda state: {"lr": 0.1}, "holds no state dict"),
        (lambda state: {}, "does not fit the encoder"),
        (lambda state: dict(list(state.items())[1:]), "does not fit the encoder: 1 of its 244"),
        (lambda state: state | {"bn1.weight": torch.zeros(1)}, ".* or of another shape.* bn1.wei"),
        (lambda state: {f"x{i}": v[None] for i, v in enumerate(state.values())}, "does not fit"),
    ],
)
def test_weights_that_do_not_fit(change, message, small, tmp_path):
    torch.save(change(small[1]), tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=rf"w\.pth: {message}"):
        Encoder(SMALL, str(tmp_path / "w.pth"))


class Malicious:
    """Unpickles by touching a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (partial(open, self.trace, "w"), ())


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("wrap", ["torch", "pickle"])
def test_code_in_a_weights_file_never_runs(wrap, suffix, tmp_path):
    trace, path = tmp_path / "trace", tmp_path / f"w.{suffix}"
    if wrap == "torch":
        torch.save({"state_dict": Malicious(trace)}, path)
    else:
        path.write_bytes(pickle.dumps({"state_dict": Malicious(trace)}))
    with pytest.raises(ConfigError, match="cannot be read as weights"):
        Encoder(SMALL, str(path))
    assert not trace.exists()
    pickle.loads(pickle.dumps(Malicious(trace))).close()  # noqa: S301
    assert trace.exists()  # the control: unpickled, it would have


# Batch statistics where nothing is swapped


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    return [m for m in module.modules() if isinstance(m, _BatchNorm)]


def statistics(norms):
    return torch.cat([norm.running_mean for norm in norms])


@torch.no_grad()
def test_pretrained_batch_statistics_stay(small, tmp_path):
    save_file(small[1], tmp_path / "w.safetensors")
    blocks = SharedBlocks(
        SMALL, pretrained=str(tmp_path / "w.safetensors"), needs=["pixels"], pixels=16
    )
    blocks.eval().train()
    norms, own = batch_norms(blocks.encoder), batch_norms(blocks.pixel_decoder)
    assert len(norms) == 34
    assert all(norm.weight.requires_grad for norm in norms)
    before = statistics(norms), statistics(own)
    blocks.pixels(images(2, 3, 64, 64))
    assert torch.equal(statistics(norms), before[0])
    assert not torch.equal(statistics(own), before[1])  # the decoder starts at random
    assert blocks.training
    assert str(blocks.swap_report) == "kept every norm"


@torch.no_grad()
def test_random_batch_statistics_are_trained():
    blocks = SharedBlocks(SMALL, needs=["embedding"]).eval().train()
    before = statistics(batch_norms(blocks))
    blocks.embedding(images(2, 3, 64, 64))
    assert not torch.equal(statistics(batch_norms(blocks)), before)


def test_swapping_pretrained_norms_says_what_it_costs(small, tmp_path):
    save_file(small[1], tmp_path / "w.safetensors")
    path = str(tmp_path / "w.safetensors")
    blocks = SharedBlocks(SMALL, pretrained=path, needs=["embedding"], swap=without_parameters)
    assert not batch_norms(blocks)
    assert "34 BatchNormAct2d" in str(blocks.swap_report)
    assert "of 34 pretrained ones were dropped: retrain before use" in str(blocks.swap_report)
