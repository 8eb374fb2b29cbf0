"""Encoders: build, step, save, load at several sizes; what folding of norms keeps and what not."""

from __future__ import annotations

import copy
import os
from itertools import permutations

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from umedpt_norm_layernorm.swap import with_parameters, without_parameters

import umedpt_core as umedpt
from umedpt_core import ConfigError
from umedpt_core.blocks.encoder import Encoder
from umedpt_core.blocks.norms import norm_channels, swap_norms
from umedpt_core.blocks.shared import SharedBlocks
from umedpt_core.data.batch import Batch, Ticket
from umedpt_core.data.tasks import make_label
from umedpt_core.engine.model import Model, load_blocks, load_model, save_model
from umedpt_core.engine.train import train
from umedpt_core.mix import Architecture, DecoderSettings, EncoderSettings

SWIN = "swin_tiny_patch4_window7_224"
ENCODERS = [
    SWIN,
    "swin_small_patch4_window7_224",
    "resnet50",
    "convnext_tiny",
    "tf_efficientnet_lite0",
]
LARGE = [
    pytest.param(
        f"swin_{size}_patch4_window7_224",
        marks=pytest.mark.skipif(
            "UMEDPT_TEST_LARGE" not in os.environ, reason="takes minutes; set UMEDPT_TEST_LARGE"
        ),
    )
    for size in ("base", "large")
]
SIZES = [(64, 64), (96, 128), (224, 224)]
TASKS = ["shapes-classification", "shapes-segmentation"]
CONVNEXT_MAPS = ["net.stem.1", *(f"net.stages.{i}.downsample.0" for i in (1, 2, 3))]


@pytest.fixture(scope="module")
def catalogue():
    return umedpt.load_catalogue()


def architecture(name: str) -> Architecture:
    decoders = DecoderSettings(pixels=8, pyramid=8)
    return Architecture(encoder=EncoderSettings(name=name), decoders=decoders)


def model_of(catalogue, blocks: SharedBlocks, tasks=TASKS) -> Model:
    found = [catalogue.find("task", name).spec for name in tasks]
    types = {spec.name: catalogue.find("label type", spec.label_type).spec for spec in found}
    return Model(blocks, {s.name: make_label(s, types[s.name]) for s in found}, seed=0)


def instances_of(catalogue):
    return {name: catalogue.find("task", name).spec.instances for name in TASKS}


def batch_of(model: Model, task: str, size: tuple[int, int], number: int = 1) -> Batch:
    rng, label = np.random.default_rng(0), model.labels[task]
    raw = [label.check(label.random_target(size, rng), size)[0] for _ in range(number)]
    x_BCHW = torch.rand(number, 3, *size, generator=torch.Generator().manual_seed(0))
    return Batch(Ticket("train", task, 0), x_BCHW, label.collate(raw), ("case",) * number)


def images(*size: int) -> torch.Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", [*ENCODERS, *LARGE])
def test_build_step_save_and_load_at_several_sizes(name, catalogue, tmp_path):
    torch.manual_seed(0)
    needs = ["embedding", "pixels"]
    blocks = SharedBlocks(name, needs=needs, pixels=8, swap=without_parameters)
    model = model_of(catalogue, blocks)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    for size in SIZES:
        before = [p.clone() for p in model.parameters()]
        loss = model.loss(batch_of(model, TASKS[1], size))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        assert loss.isfinite()
        changed = [not torch.equal(*ab) for ab in zip(before, model.parameters(), strict=True)]
        assert sum(changed) > 0.9 * len(changed)  # all but the other head and the last norm
        assert all(p.isfinite().all() for p in model.parameters())
    save_model(model, tmp_path, architecture(name), instances_of(catalogue), catalogue)
    loaded = load_model(str(tmp_path), catalogue)
    model.eval()
    for size in SIZES:
        with torch.no_grad():
            one, two = ((m.blocks.embedding(x), m.blocks.pixels(x))
                        for x in [images(*size)] for m in (model, loaded))  # fmt: skip
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])


@pytest.mark.parametrize("name", ["swin_base", "swin_large"])
def test_large_swins_are_built_and_run_at_several_sizes(name):
    with torch.device("meta"):
        blocks = SharedBlocks(f"{name}_patch4_window7_224", pixels=8, pyramid=8)
        for size in SIZES:
            x_BCHW = torch.rand(2, 3, *size)
            assert blocks.embedding(x_BCHW).shape == (2, blocks.dims["embedding"])
            assert blocks.pixels(x_BCHW).shape == (2, 8, *size)
            assert blocks.pyramid(x_BCHW).boxes[0].shape == (2, 8, size[0] // 8, size[1] // 8)


@pytest.mark.parametrize(
    "name", ["coat_tiny", "maxvit_pico_rw_256", "mvitv2_tiny", "hiera_tiny_224"]
)
def test_a_backbone_of_one_size_is_refused_when_it_is_built(name):
    with pytest.raises(ConfigError, match=f"'{name}' .*any size .*; choose another, such as") as e:
        Encoder(name)
    assert "\n" not in str(e.value)


class Recorder:
    """Stands for a run and its optimizer; keeps the gradients of a step."""

    seed = 0

    def __init__(self, model: Model) -> None:
        self.model = model

    def record(self, *_) -> None: ...

    def before_update(self) -> None: ...

    def end_step(self) -> bool:
        return True

    def step(self) -> None:
        grads = [p.grad.flatten() for p in self.model.parameters() if p.grad is not None]
        self.gradient = torch.cat(grads)

    def zero_grad(self, **arguments) -> None:
        self.model.zero_grad(**arguments)


def test_with_drop_path_on_the_order_of_tasks_does_not_matter(catalogue):
    """Swin's drop path is timm's own, at most 0.1."""
    torch.manual_seed(0)
    blocks = SharedBlocks(SWIN, needs=["embedding", "pixels"], pixels=8, swap=without_parameters)
    model = model_of(catalogue, blocks)
    batches = [batch_of(model, task, (32, 64), number=2) for task in TASKS]

    def gradient(order, step):
        recorder = Recorder(model)
        stream = [
            Batch(b.ticket._replace(step=step, ends_step=b is order[-1]), b.x_BCHW, b.target, b.ids)
            for b in order
        ]
        train(model, stream, recorder, recorder)
        return recorder.gradient

    def difference(one, two):
        return float((one - two).norm() / one.norm())

    one, two = (gradient(order, step=0) for order in permutations(batches))
    assert difference(one, two) < 1e-6
    assert difference(one, gradient(batches, step=1)) > 1e-2  # it is on


# A pretrained start: folding


def pretrained(name: str, path) -> str:
    """Weights as training leaves them: no norm is at its start."""
    net, generator = timm.create_model(name), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in net.modules():
            if norm_channels(module):
                for parameter in module.parameters():
                    parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
            if isinstance(gamma := getattr(module, "gamma", None), nn.Parameter):
                gamma.fill_(0.5)  # layer scale
    save_file(net.state_dict(), path)
    return str(path)


@pytest.fixture(scope="module")
def swin_weights(tmp_path_factory):
    return pretrained(SWIN, tmp_path_factory.mktemp("swin") / "w.safetensors")


def error(one: SharedBlocks, two: SharedBlocks, *size: int) -> float:
    """Of levels and embedding, by norm, relative, the largest."""
    one.eval(), two.eval()
    with torch.no_grad():
        pairs = [*zip(one.encoder(images(*size)), two.encoder(images(*size)), strict=True)]
        pairs.append((one.embedding(images(*size)), two.embedding(images(*size))))
    return max(float((a - b).norm() / a.norm()) for a, b in pairs)


@pytest.mark.parametrize(
    ("name", "rest", "folded", "exact", "inexact"),
    [
        # Windows of 7 x 7 tokens: padded at other sizes than multiples of 224.
        (SWIN, ["net.patch_embed.norm", "final_norm"], 27, [(224, 224)], [(64, 64)]),
        ("convnext_tiny", [*CONVNEXT_MAPS, "final_norm"], 18, [(224, 224), (64, 96)], []),
    ],
)  # fmt: skip
def test_folding_keeps_the_function_but_for_what_is_reported(
    name, rest, folded, exact, inexact, swin_weights, tmp_path
):
    weights = swin_weights if name == SWIN else pretrained(name, tmp_path / "w.safetensors")
    stock = SharedBlocks(name, pretrained=weights, needs=["embedding"])

    def swapped(*, run: bool, everything: bool = False) -> SharedBlocks:
        blocks = SharedBlocks(name, pretrained=weights, needs=["embedding"])
        keep = [] if everything else [blocks.encoder.get_submodule(place) for place in rest]
        report = swap_norms(
            blocks,
            lambda old, channels: None if old in keep else without_parameters(old, channels),
            blocks.encoder.example if run else None,
        )
        assert report.folded == (folded if run else 0)
        assert report.dropped == (0 if run else folded) + (len(rest) if everything else 0)
        return blocks

    folding, plain = swapped(run=True), swapped(run=False)
    for size in exact:
        assert error(stock, folding, *size) < 1e-5
        assert error(stock, plain, *size) > 0.1
    for size in inexact:
        assert 1e-2 < error(stock, folding, *size) < error(stock, plain, *size) / 2
    # The rest alone makes the difference.
    everything = swapped(run=True, everything=True)
    assert error(stock, everything, *exact[0]) > 0.1
    with torch.no_grad():
        swap_norms(folding, without_parameters)
    assert error(folding, everything, *exact[0]) < 1e-5


def test_the_report_says_what_was_folded(swin_weights):
    blocks = SharedBlocks(SWIN, pretrained=swin_weights, needs=[], swap=without_parameters)
    assert str(blocks.swap_report) == (
        "replaced 29 LayerNorm; 27 pretrained ones were folded into the linear layers behind them; "
        "scale, shift or statistics of 2 pretrained ones were dropped: retrain before use"
    )
    assert blocks.training
    assert all(module.training for module in blocks.modules())
    assert not any(module._forward_hooks for module in blocks.modules())


def test_the_affine_norm_keeps_a_pretrained_swin_as_it_is(swin_weights):
    stock = SharedBlocks(SWIN, pretrained=swin_weights, needs=["embedding"])
    affine = SharedBlocks(SWIN, pretrained=swin_weights, needs=["embedding"], swap=with_parameters)
    assert str(affine.swap_report) == "replaced 29 LayerNorm"
    assert error(stock, affine, 64, 96) == 0


def test_a_folded_model_loads_into_blocks_that_start_at_random(swin_weights, catalogue, tmp_path):
    """Patch merging has no bias; folding gives it one, which a random start lacks."""
    needs = ["embedding", "pixels"]
    blocks = SharedBlocks(
        SWIN, pretrained=swin_weights, needs=needs, pixels=8, swap=without_parameters
    )
    model = model_of(catalogue, blocks)
    assert "net.layers.1.downsample.reduction.bias" in blocks.encoder.state_dict()
    save_model(model, tmp_path, architecture(SWIN), instances_of(catalogue), catalogue)
    loaded = load_model(str(tmp_path), catalogue).blocks
    without_heads, _ = load_blocks(str(tmp_path), catalogue, needs)
    copied = copy.deepcopy(SharedBlocks(SWIN, needs=needs, pixels=8, swap=without_parameters))
    copied.load_state_dict(blocks.state_dict())
    for other in (loaded, without_heads, copied):
        assert error(blocks, other, 64, 96) == 0


# What reads a norm


class Net(nn.Module):
    """A norm with scale and shift, and readers of it; `calls` runs them."""

    def __init__(self, calls) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.LayerNorm(6)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)
        self.other = nn.LayerNorm(6, elementwise_affine=False)
        self.one, self.two = nn.Linear(6, 5), nn.Linear(6, 6, bias=False)
        self.conv, self.calls = nn.Conv1d(6, 4, 1), calls

    def forward(self, x):
        return self.calls(self, x)


READ = {
    "linear": lambda n, x: n.one(n.norm(x)),
    "without bias": lambda n, x: n.two(n.norm(x)),
    "linear and residual": lambda n, x: x + n.two(n.norm(x)),
    "two linears": lambda n, x: (lambda y: n.one(y).sum(-1) + n.two(y).sum(-1))(n.norm(x)),
    "moved": lambda n, x: n.one(n.norm(x).roll(2, 1).transpose(0, 1).reshape(-1, 3, 6)),
}
OTHERWISE_READ = {
    "nothing": lambda n, x: n.norm(x),
    "residual of itself": lambda n, x: (lambda y: y + n.two(y))(n.norm(x)),
    "activation": lambda n, x: n.one(n.norm(x).relu()),
    "padding": lambda n, x: n.one(nn.functional.pad(n.norm(x), (0, 0, 0, 1))),
    "cut": lambda n, x: n.one(n.norm(x)[:, 1:]),
    "channels moved": lambda n, x: n.one(n.norm(x).roll(1, -1)),
    "mixed tokens": lambda n, x: n.one(n.norm(x).cumsum(1)),
    "convolution": lambda n, x: n.conv(n.norm(x).transpose(1, 2)),
    "linear and convolution": lambda n, x: (
        lambda y: n.one(y).sum() + n.conv(y.transpose(1, 2)).sum()
    )(n.norm(x)),
    "linear and another norm": lambda n, x: (lambda y: n.one(y).sum() + n.other(y).relu().sum())(
        n.norm(x)
    ),
    "norm used twice": lambda n, x: (lambda y: n.one(n.norm(2 - x)).sum() + y)(n.norm(x)),
    "linear used twice": lambda n, x: n.one(n.norm(x)) + n.one(x),
    "linear used before": lambda n, x: n.one(x) + n.one(n.norm(x)),
    "weight itself": lambda n, x: nn.functional.linear(n.norm(x), n.two.weight),
}


@pytest.mark.parametrize("calls", READ.values(), ids=READ)
def test_a_norm_that_only_linear_layers_read_is_folded(calls):
    net, x_BNC = Net(calls), torch.randn(4, 6, 6)
    expected = net(x_BNC)
    report = swap_norms(net, without_parameters, lambda: [net(x_BNC)])
    assert (report.folded, report.dropped) == (1, 0)
    assert not list(net.norm.parameters())
    torch.testing.assert_close(net(x_BNC), expected)


@pytest.mark.parametrize("calls", OTHERWISE_READ.values(), ids=OTHERWISE_READ)
def test_any_other_norm_is_dropped_and_its_readers_stay(calls):
    net, x_BNC = Net(calls), torch.randn(4, 6, 6)
    before = {k: v.clone() for k, v in net.state_dict().items() if not k.startswith("norm.")}
    report = swap_norms(net, without_parameters, lambda: [net(x_BNC)])
    assert (report.folded, report.dropped) == (0, 1)
    assert before.keys() == net.state_dict().keys()
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(6), nn.RMSNorm(6), nn.LayerNorm(6, eps=0.5)])
def test_a_norm_whose_replacement_computes_something_else_is_never_folded(norm):
    net, x_NC = Net(lambda n, x: n.one(n.norm(x))), torch.randn(8, 6)
    net.norm = norm.eval()
    nn.init.normal_(norm.weight)
    first = nn.LayerNorm(6)
    nn.init.normal_(first.bias)  # without a pretrained layer norm nothing is traced
    both = nn.Sequential(first, net)
    swap = lambda *_: nn.LayerNorm(6, elementwise_affine=False)  # noqa: E731
    report = swap_norms(both, swap, lambda: [both(x_NC)])
    assert (report.folded, report.dropped) == (0, 2)
