import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import BatchNormAct2d, GroupNormAct, LayerNorm2d, LayerNormAct2d
from torch import nn
from umedpt_norm_layernorm.swap import with_parameters, without_parameters

from umedpt_core.blocks.norms import norm_channels, swap_norms
from umedpt_core.testing import Conformance

MAP_NORMS = [
    nn.BatchNorm2d,
    nn.SyncBatchNorm,
    nn.InstanceNorm2d,
    lambda channels: nn.GroupNorm(2, channels),
    LayerNorm2d,
    BatchNormAct2d,
    lambda channels: GroupNormAct(channels, num_groups=2),
    LayerNormAct2d,
]
TOKEN_NORMS = [nn.LayerNorm, nn.RMSNorm]
SWAPS = [without_parameters, with_parameters]


def swapped(layer, swap=without_parameters):
    """What becomes of one layer."""
    root = nn.Sequential(layer)
    report = swap_norms(root, swap)
    assert report.replaced == {type(layer).__name__: 1}
    return root[0]


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("make", MAP_NORMS)
def test_maps_are_normalised_over_channels_and_pixels_of_each_sample(make, swap):
    old = make(6).train()
    x_BCHW = torch.randn(2, 6, 5, 7) * torch.tensor([1.0, 30]).view(2, 1, 1, 1) + 3
    expected = x_BCHW - x_BCHW.mean((1, 2, 3), keepdim=True)
    expected /= (expected.square().mean((1, 2, 3), keepdim=True) + old.eps).sqrt()
    expected = getattr(old, "act", nn.Identity())(expected)
    torch.testing.assert_close(swapped(old, swap)(x_BCHW), expected)


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("make", TOKEN_NORMS)
def test_tokens_are_normalised_over_the_last_dimension(make, swap):
    x_BNC = torch.randn(2, 5, 6) * 4 + 3
    y_BNC = swapped(make(6), swap)(x_BNC)
    torch.testing.assert_close(y_BNC, nn.LayerNorm(6)(x_BNC), rtol=1e-4, atol=1e-4)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(scale=st.floats(0.1, 100), shift=st.floats(-10, 10), make=st.sampled_from(MAP_NORMS[:5]))
def test_a_sample_s_own_scale_and_shift_do_not_matter(scale, shift, make):
    x_BCHW = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    norm = swapped(make(4))
    torch.testing.assert_close(norm(x_BCHW * scale + shift), norm(x_BCHW), rtol=1e-2, atol=1e-2)


def test_only_the_affine_variant_has_parameters():
    for make in MAP_NORMS + TOKEN_NORMS:
        assert not list(swapped(make(6)).parameters())
        assert len(list(swapped(make(6), with_parameters).parameters())) == 2


@pytest.mark.parametrize("make", [nn.LayerNorm, LayerNorm2d, LayerNormAct2d])
def test_the_affine_variant_carries_the_weights_of_a_layer_norm(make):
    old = make(6)
    nn.init.normal_(old.weight)
    nn.init.normal_(old.bias)
    new = swapped(old, with_parameters)
    new = new[0] if isinstance(new, nn.Sequential) else new
    assert (new.weight == old.weight).all()
    assert (new.bias == old.bias).all()
    old.weight.data.zero_()
    assert (new.weight != 0).all()  # a copy


def test_the_affine_variant_takes_a_layer_norm_without_weights_or_bias():
    assert (swapped(nn.LayerNorm(6, elementwise_affine=False), with_parameters).weight == 1).all()
    old = nn.LayerNorm(6, bias=False)
    nn.init.normal_(old.weight)
    new = swapped(old, with_parameters)
    assert (new.weight == old.weight).all()
    assert (new.bias == 0).all()


def test_the_affine_variant_starts_a_batch_norm_anew():
    old = nn.BatchNorm2d(6)
    nn.init.normal_(old.weight)
    assert (swapped(old, with_parameters).weight == 1).all()


def test_other_layers_stay():
    conv = nn.Conv2d(3, 3, 1)
    root = nn.Sequential(conv, nn.ReLU())
    report = swap_norms(root, without_parameters)
    assert root[0] is conv
    assert str(report) == "kept every norm"


def test_a_swap_may_leave_a_layer():
    root = nn.Sequential(nn.BatchNorm2d(4), nn.GroupNorm(2, 4))
    only_batch = lambda old, c: None if isinstance(old, nn.GroupNorm) else nn.Identity()  # noqa: E731
    assert swap_norms(root, only_batch).replaced == {"BatchNorm2d": 1}
    assert isinstance(root[1], nn.GroupNorm)


def activations(net):
    """How often an activation runs in one pass."""
    count = 0

    def hook(*_):
        nonlocal count
        count += 1

    for module in net.modules():
        if isinstance(module, nn.ReLU | nn.ReLU6 | nn.SiLU | nn.GELU):
            module.register_forward_hook(hook)
    with torch.no_grad():
        net(torch.rand(2, 3, 32, 32))
    return count


def test_activations_within_norm_layers_survive():
    net, same = (timm.create_model("tf_efficientnet_lite0") for _ in range(2))
    report = swap_norms(same, without_parameters)
    assert report.replaced == {"BatchNormAct2d": 49}
    assert activations(net) == activations(same) == 33


def test_drop_within_a_norm_layer_survives():
    layer = BatchNormAct2d(6, drop_layer=nn.Dropout2d)
    assert [type(m) for m in swapped(layer)] == [nn.GroupNorm, nn.Dropout2d, nn.ReLU]
    assert type(swapped(BatchNormAct2d(6, apply_act=False))) is nn.GroupNorm


@pytest.mark.parametrize(
    "name", ["resnet18", "test_efficientnet_ln", "convnext_atto", "test_resnet", "test_convnext3"]
)
def test_no_norm_of_a_network_keeps_parameters(name):
    net = timm.create_model(name, num_classes=0)
    assert [m for m in net.modules() if norm_channels(m) and list(m.parameters(recurse=False))]
    swap_norms(net, without_parameters)
    assert not [m for m in net.modules() if norm_channels(m) and list(m.parameters())]
    assert net(torch.rand(2, 3, 64, 64)).isfinite().all()


def test_the_report_counts_what_was_lost():
    scaled, closed = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
    nn.init.normal_(scaled.weight)
    nn.init.zeros_(closed.weight)

    def root():
        return nn.Sequential(scaled, closed, nn.BatchNorm2d(4), nn.LayerNorm(4))

    report = swap_norms(root(), without_parameters)
    assert report.replaced == {"BatchNorm2d": 3, "LayerNorm": 1}
    assert (report.dropped, report.zero_scales) == (1, 1)
    assert str(report) == (
        "replaced 3 BatchNorm2d, 1 LayerNorm; scale, shift or statistics of 1 pretrained ones were "
        "dropped: retrain before use; 1 of them started at scale 0 and now start at 1"
    )


class TestConformance(Conformance):
    distribution = "umedpt-norm-layernorm"
