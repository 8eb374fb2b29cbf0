import math
import pickle

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from umedpt_label_segmentation.head import Segmentation, dice_loss
from umedpt_norm_layernorm.swap import without_parameters

from umedpt_core.blocks.shared import SharedBlocks
from umedpt_core.data.batch import Batch, Ticket
from umedpt_core.testing import Conformance

SIZE = (64, 64)


class RandomBlocks:
    """Stands in for the shared blocks: standard normal pixel embeddings."""

    dims = {"pixels": 16}  # noqa: RUF012

    def pixels(self, x_BCHW):
        return torch.randn(len(x_BCHW), 16, *x_BCHW.shape[2:])


class FixedBlocks(RandomBlocks):
    """The images are their own pixel embeddings."""

    def pixels(self, x_BCHW):
        return x_BCHW


def small_encoder():
    return SharedBlocks("mobilenetv3_small_050", needs=["pixels"], swap=without_parameters)


def names(C):
    return ["background", *(f"class {c}" for c in range(1, C))] if C > 1 else ["lesion"]


def batch_of(label, targets, x_BCHW=None):
    x_BCHW = torch.rand(len(targets), 3, *SIZE) if x_BCHW is None else x_BCHW
    ids = tuple(map(str, range(len(targets))))
    return Batch(Ticket("train", "t", 0), x_BCHW, label.collate(targets), ids)


def anything(label, rng):
    return label.random_target(SIZE, rng)


def one_small_object(label, rng):
    mask, center = np.zeros(SIZE, np.uint8), rng.integers(8, 56, 2).tolist()
    mask = cv2.circle(mask, center, 5, int(rng.integers(1, label.indices)), -1)
    mask[:4] = 255
    return mask


def only_background(label, rng):
    return np.zeros(SIZE, np.uint8)


def mean_loss(C, draw, make_blocks):
    label, losses = Segmentation(names(C)), []
    for seed in range(10):
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        blocks = make_blocks()
        head = label.head(blocks.dims)
        targets = [label.check(draw(label, rng), SIZE)[0] for _ in range(4)]
        losses.append(float(label.loss(head, blocks, batch_of(label, targets)).detach()))
    return np.mean(losses)


@pytest.mark.parametrize("draw", [anything, one_small_object])
@pytest.mark.parametrize("C", [1, 2, 5, 13, 20])
def test_the_loss_is_about_1_at_initialisation(C, draw):
    assert 0.7 <= mean_loss(C, draw, RandomBlocks) <= 1.3


@pytest.mark.parametrize("C", [1, 13])
def test_the_loss_is_about_1_at_initialisation_on_real_blocks(C):
    assert 0.7 <= mean_loss(C, anything, small_encoder) <= 1.3


@pytest.mark.parametrize("C", [1, 2, 13])
def test_the_loss_without_any_foreground(C):
    assert 0.7 <= mean_loss(C, only_background, RandomBlocks) <= 1


def logits_of(p_NC):
    """One image of one row whose pixels have these probabilities."""
    return torch.tensor(p_NC, dtype=torch.float64).log().T[None, :, None]


@pytest.mark.parametrize("C", [2, 3, 8])
def test_uniform_predictions_of_balanced_classes_cost_exactly_1(C):
    label = Segmentation(names(C))
    batch = batch_of(label, [np.arange(C, dtype=np.uint8)[None]], torch.zeros(1, C, 1, C))
    assert float(label.loss(nn.Identity(), FixedBlocks(), batch)) == pytest.approx(1, abs=1e-6)


def test_loss_by_hand():
    label = Segmentation(names(3))
    x_BCHW = logits_of([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.5, 0.5, 0.0001]])
    batch = batch_of(label, [np.array([[0, 1, 255]], np.uint8)], x_BCHW)
    dice = (1 - 2 * 0.7 / (1.3 + 1) + 1 - 2 * 0.3 / (0.5 + 1)) / 2  # class 2 is absent
    focal = -(0.3**2 * math.log(0.7) + 0.7**2 * math.log(0.3)) / 2
    expected = (dice * 3 / 2 + focal / ((2 / 3) ** 2 * math.log(3))) / 2
    assert float(label.loss(nn.Identity(), FixedBlocks(), batch)) == pytest.approx(expected)


def test_dice_is_over_the_classes_that_occur():
    target_N = torch.tensor([0, 0])
    p_NC = torch.tensor([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1]])
    assert float(dice_loss(p_NC.log(), target_N)) == pytest.approx(1 - 2 * 1.6 / (1.6 + 2))


@pytest.mark.parametrize("C", [1, 3])
def test_perfect_predictions_cost_nothing(C):
    label = Segmentation(names(C))
    mask = anything(label, np.random.default_rng(0))
    hot_CHW = np.moveaxis(np.eye(label.indices, dtype=np.float32)[mask], -1, 0)
    x_BCHW = torch.from_numpy(60 * hot_CHW[1:] - 30 if C == 1 else 60 * hot_CHW)[None]
    blocks = FixedBlocks()
    assert float(label.loss(nn.Identity(), blocks, batch_of(label, [mask], x_BCHW))) < 1e-6
    prediction = label.predict(nn.Identity(), blocks, x_BCHW)
    assert (prediction[0].numpy() == mask).all()


def test_one_class_is_two_classes_with_the_background_at_0():
    one, two = Segmentation(["lesion"]), Segmentation(["background", "lesion"])
    z_BCHW = torch.randn(2, 1, *SIZE, generator=torch.Generator().manual_seed(0))
    both_BCHW = torch.cat([0 * z_BCHW, z_BCHW], 1)
    targets = [anything(one, np.random.default_rng(i)) for i in range(2)]
    losses = [
        label.loss(nn.Identity(), FixedBlocks(), batch_of(label, targets, x_BCHW))
        for label, x_BCHW in ((one, z_BCHW), (two, both_BCHW))
    ]
    assert losses[0] == losses[1]
    assert one.head(RandomBlocks.dims).out_channels == 1


def test_unknown_pixels_count_nowhere():
    label = Segmentation(names(3))
    mask = anything(label, np.random.default_rng(0))
    mask[:, :20] = 255
    x_BCHW = torch.randn(1, 3, *SIZE, requires_grad=True)
    loss = label.loss(nn.Identity(), FixedBlocks(), batch_of(label, [mask], x_BCHW))
    loss.backward()
    assert ((x_BCHW.grad[0] != 0).any(0).numpy() == (mask != 255)).all()
    cropped = batch_of(label, [mask[:, 20:]], x_BCHW.detach()[..., 20:])
    torch.testing.assert_close(loss, label.loss(nn.Identity(), FixedBlocks(), cropped))


@pytest.mark.parametrize("C", [1, 3])
def test_nothing_known_is_finite_and_teaches_nothing(C):
    label = Segmentation(names(C))
    head = label.head(RandomBlocks.dims)
    loss = label.loss(head, RandomBlocks(), batch_of(label, [np.full(SIZE, 255, np.uint8)] * 2))
    loss.backward()
    assert float(loss.detach()) == 0
    assert (head.weight.grad == 0).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_targets_that_fit(dtype):
    raw = np.array([[0, 1], [1, 0]], dtype)
    target, dropped = Segmentation(["lesion"]).check(raw, (2, 2))
    assert (target.tolist(), target.dtype, dropped) == ([[0, 1], [1, 0]], np.uint8, 0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((3, 2), np.uint8), r"mask of shape \(3, 2\) for an image of shape \(2, 3\)"),
        (np.zeros((2, 3, 1), np.uint8), r"mask of shape \(2, 3, 1\)"),
        (None, r"mask of shape \(\)"),
        (np.full((2, 3), 4), r"mask holds 4, outside the classes 0\.\.3"),
        (np.full((2, 3), -1), "mask holds -1"),
        (np.full((2, 3), 256), "mask holds 256"),
        (np.full((2, 3), 0.5), "mask of float64, which holds no class indices"),
    ],
)
def test_targets_that_do_not_fit(bad, message):
    with pytest.raises(ValueError, match=message):
        Segmentation(names(4)).check(bad, (2, 3))


def test_the_ignore_index_leaves_room_for_255_classes():
    assert Segmentation(names(255)).check(np.full((1, 1), 255, np.uint8), (1, 1))[0] == 255
    with pytest.raises(ValueError, match="at most 255 classes"):
        Segmentation(names(256))


def measure(label, predicted, true):
    """Fed in two batches."""
    metric, predicted, true = label.metric(), torch.tensor(predicted), torch.tensor(true)
    metric.update(predicted[:1], true[:1])
    metric.update(predicted[1:], true[1:])
    return metric.compute()


def test_metrics_by_hand():
    values = measure(
        Segmentation(names(4)),
        [[[0, 0, 1, 1]], [[0, 2, 2, 1]]],
        [[[0, 0, 0, 1]], [[0, 2, 255, 255]]],  # class 3 occurs nowhere
    )
    assert values == pytest.approx(
        {
            "miou": (3 / 4 + 1 / 2 + 1) / 3,
            "dice": (2 / 3 + 1) / 2,
            "miou_baseline": 4 / 6 / 3,
            "dice_baseline": (2 / 7 + 2 / 7) / 2,
        }
    )


def test_a_first_class_that_is_no_background_counts_as_foreground():
    values = measure(Segmentation(["cell", "nucleus"]), [[[0, 0]], [[0, 1]]], [[[0, 1]], [[0, 1]]])
    assert values["dice"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert values["dice_baseline"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(("index", "left"), [(255, set()), (0, {"miou", "miou_baseline"})])
def test_metrics_without_anything_to_average_are_left_out(index, left):
    label = Segmentation(["lesion"])
    assert measure(label, [[[0]], [[0]]], [[[index]], [[index]]]).keys() == left


def test_the_baselines_are_what_constant_predictions_reach():
    true = [[[0, 0, 1, 2]], [[0, 0, 2, 2]]]
    label = Segmentation(names(3))
    values = measure(label, np.zeros_like(true), true)
    assert values["miou"] == pytest.approx(values["miou_baseline"])
    dice = [measure(label, np.full_like(true, c), true)["dice"] * 2 for c in (1, 2)]
    assert np.mean(dice) == pytest.approx(values["dice_baseline"])


def test_metrics_over_chosen_images_are_those_of_their_pixels():
    rng = np.random.default_rng(0)
    predicted, true = rng.integers(0, 3, (2, 5, 4, 6))
    true[0, :2] = 255
    metric = Segmentation(names(3)).metric()
    for batch in (slice(3), slice(3, 5)):
        metric.update(torch.tensor(predicted[batch]), torch.tensor(true[batch]))
    chosen = [4, 0, 0, 2]
    wanted = measure(Segmentation(names(3)), predicted[chosen], true[chosen])
    assert metric.compute(chosen) == pytest.approx(wanted)
    assert metric.compute(chosen)["miou"] != pytest.approx(metric.compute()["miou"])


@pytest.mark.parametrize(
    ("classes", "found"),
    [(["lesion"], {0}), (names(4), {1, 3}), (["a", "b", "c", "d"], {0, 1, 3})],
)
def test_the_classes_in_a_mask(classes, found):
    mask = np.array([[0, 1, 255, 1 if len(classes) == 1 else 3]], np.uint8)
    assert Segmentation(classes).classes_in(mask) == found
    assert Segmentation(classes).classes_in(np.full((2, 2, 2), 255, np.uint8)) == set()


@pytest.mark.parametrize("C", [1, 5])
def test_predictions_are_masks_and_can_be_drawn(C):
    torch.manual_seed(0)
    label, image = Segmentation(names(C)), np.full((*SIZE, 3), 200, np.uint8)
    prediction = label.predict(
        label.head(RandomBlocks.dims), RandomBlocks(), torch.rand(2, 3, *SIZE)
    )
    items = label.unbatch(prediction)
    assert len(items) == 2
    target = anything(label, np.random.default_rng(0))
    target[0] = 255
    for item in [target, *items]:
        drawn = label.draw(image, item)
        assert (drawn.shape, drawn.dtype, item.dtype) == (image.shape, np.uint8, np.uint8)
        assert ((drawn != image).any(-1) == (item != 0)).all()
    assert (image == 200).all()


def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)
    label = Segmentation(names(3))
    mask = anything(label, np.random.default_rng(0))
    features_BCHW = torch.randn(1, 16, *SIZE)
    features_BCHW[0, :3] += torch.from_numpy(np.moveaxis(np.eye(3, dtype=np.float32)[mask], -1, 0))
    batch = batch_of(label, [mask], features_BCHW)
    head = label.head(RandomBlocks.dims)
    optimizer = torch.optim.SGD(head.parameters(), lr=1)
    losses = []
    for _ in range(20):
        losses.append(label.loss(head, FixedBlocks(), batch))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


def test_it_pickles_for_the_workers():
    label = pickle.loads(pickle.dumps(Segmentation(names(3))))  # noqa: S301
    assert label.classes == tuple(names(3))
    assert label.check(np.full((1, 1), 2), (1, 1))[0] == 2


class TestConformance(Conformance):
    distribution = "umedpt-label-segmentation"
