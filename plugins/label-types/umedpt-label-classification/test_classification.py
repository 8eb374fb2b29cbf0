import math
import pickle

import numpy as np
import pytest
import torch
from umedpt_label_classification.head import Classification
from umedpt_norm_layernorm.swap import without_parameters

from umedpt_core.blocks.shared import SharedBlocks
from umedpt_core.data.batch import Batch, Ticket
from umedpt_core.testing import Conformance

SIZE = (64, 64)


class RandomBlocks:
    """Stands in for the shared blocks: standard normal embeddings."""

    dims = {"embedding": 32}  # noqa: RUF012

    def embedding(self, x_BCHW):
        return torch.randn(len(x_BCHW), 32)


class FixedBlocks(RandomBlocks):
    """The images are their own embeddings."""

    def embedding(self, x_BCHW):
        return x_BCHW.flatten(1)


def small_encoder():
    return SharedBlocks("mobilenetv3_small_050", needs=["embedding"], swap=without_parameters)


def names(C):
    return [f"class {c}" for c in range(C)]


def batch_of(label, targets, x_BCHW=None):
    x_BCHW = torch.rand(len(targets), 3, *SIZE) if x_BCHW is None else x_BCHW
    ids = tuple(map(str, range(len(targets))))
    return Batch(Ticket("train", "t", 0), x_BCHW, label.collate(targets), ids)


def anything(label, rng):
    return label.random_target(SIZE, rng)


def mostly_the_first(label, rng):
    return 0 if rng.random() < 0.9 else len(label.classes) - 1


def mean_loss(C, draw, make_blocks):
    label, losses = Classification(names(C)), []
    for seed in range(10):
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        blocks = make_blocks()
        head = label.head(blocks.dims)
        targets = [label.check(draw(label, rng), SIZE)[0] for _ in range(8)]
        losses.append(float(label.loss(head, blocks, batch_of(label, targets)).detach()))
    return np.mean(losses)


@pytest.mark.parametrize("draw", [anything, mostly_the_first])
@pytest.mark.parametrize("C", [2, 5, 13, 20])
def test_the_loss_is_about_1_at_initialisation(C, draw):
    assert 0.7 <= mean_loss(C, draw, RandomBlocks) <= 1.3


def test_the_loss_is_about_1_at_initialisation_on_a_real_encoder():
    assert 0.7 <= mean_loss(13, anything, small_encoder) <= 1.3


@pytest.mark.parametrize("C", [2, 7])
def test_loss_in_closed_form(C):
    label = Classification(names(C))
    logits_BC = torch.randn(C, C, generator=torch.Generator().manual_seed(0))
    batch = batch_of(label, range(C), logits_BC)
    uniform = label.loss(torch.zeros_like, FixedBlocks(), batch)
    assert float(uniform) == pytest.approx(1, abs=1e-6)
    expected = -logits_BC.log_softmax(1).diagonal().mean() / math.log(C)
    assert float(label.loss(torch.nn.Identity(), FixedBlocks(), batch)) == pytest.approx(expected)
    perfect = batch_of(label, range(C), 50 * torch.eye(C))
    assert float(label.loss(torch.nn.Identity(), FixedBlocks(), perfect)) < 1e-6


def test_one_class_cannot_be_told_from_another():
    with pytest.raises(ValueError, match="at least two classes"):
        Classification(["only"])


@pytest.mark.parametrize("good", [2, np.int16(2), np.array([2]), torch.tensor(2)])
def test_targets_that_fit(good):
    target, dropped = Classification(names(3)).check(good, SIZE)
    assert (target, type(target), dropped) == (2, int, 0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (3, r"label 3 is outside the classes 0\.\.2"),
        (-1, r"label -1 is outside"),
        (1.0, "label 1.0 is no class index"),
        (True, "label True is no class index"),
        ("1", "label '1' is no class index"),
        (None, "label None is no class index"),
        ([0, 1], r"label \[0, 1\] is no class index"),
    ],
)
def test_targets_that_do_not_fit(bad, message):
    with pytest.raises(ValueError, match=message):
        Classification(names(3)).check(bad, SIZE)


def measure(label, p_NC, y_N):
    """Fed in two batches."""
    metric, p_NC, y_N = label.metric(), torch.tensor(p_NC), torch.tensor(y_N)
    metric.update(p_NC[:1], y_N[:1])
    metric.update(p_NC[1:], y_N[1:])
    return metric.compute()


def test_metrics_by_hand():
    p_N1 = [0.1, 0.2, 0.8, 0.7]
    values = measure(Classification(names(2)), [[1 - p, p] for p in p_N1], [0, 0, 0, 1])
    assert values == pytest.approx(
        {
            "accuracy": 3 / 4,
            "f1": (4 / 5 + 2 / 3) / 2,
            "auc": 2 / 3,
            "accuracy_baseline": 3 / 4,
            "f1_baseline": (6 / 7 + 0) / 2,
            "auc_baseline": 1 / 2,
        }
    )


def test_metrics_leave_out_what_does_not_occur():
    p_NC = [[0.8, 0.2, 0.0], [0.3, 0.6, 0.1], [0.9, 0.1, 0.0]]
    values = measure(Classification(names(3)), p_NC, [0, 1, 0])
    assert values["f1"] == values["accuracy"] == values["auc"] == 1
    values = measure(Classification(names(3)), p_NC, [0, 0, 0])
    assert "auc" not in values
    assert values["f1_baseline"] == values["accuracy_baseline"] == 1


def test_the_baselines_are_what_the_majority_class_reaches():
    y_N = [0, 2, 2, 1, 2]
    label = Classification(names(4))
    values = measure(label, [[0.1, 0.1, 0.7, 0.1]] * len(y_N), y_N)
    assert values["f1"] == pytest.approx(values["f1_baseline"])
    assert values["accuracy"] == pytest.approx(values["accuracy_baseline"])
    assert values["auc"] == pytest.approx(values["auc_baseline"])


def test_predictions_are_probabilities_and_can_be_drawn():
    label, image = Classification(names(5)), np.full((48, 64, 3), 200, np.uint8)
    p_BC = label.predict(label.head(RandomBlocks.dims), RandomBlocks(), torch.rand(3, 3, *SIZE))
    assert p_BC.shape == (3, 5)
    torch.testing.assert_close(p_BC.sum(1), torch.ones(3))
    for item in [4, *label.unbatch(p_BC.detach())]:
        drawn = label.draw(image, item)
        assert (drawn.shape, drawn.dtype) == (image.shape, np.uint8)
        assert (drawn != image).any()
    assert (image == 200).all()


def test_a_prediction_becomes_a_row_and_a_target_a_class():
    label = Classification(["normal", "tumour"])
    (item,) = label.unbatch(torch.tensor([[0.25, 0.75]]))
    assert label.row(item) == {"class": "tumour", "p_normal": 0.25, "p_tumour": 0.75}
    assert label.classes_in(1) == {1}


def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)
    label = Classification(names(5))
    batch = batch_of(label, [0, 1, 2, 3, 4] * 2, torch.randn(10, 32))
    head = label.head(RandomBlocks.dims)
    optimizer = torch.optim.SGD(head.parameters(), lr=1)
    losses = []
    for _ in range(10):
        losses.append(label.loss(head, FixedBlocks(), batch))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 2


def test_it_pickles_for_the_workers():
    label = pickle.loads(pickle.dumps(Classification(names(3))))  # noqa: S301
    assert label.classes == tuple(names(3))
    assert label.check(2, SIZE) == (2, 0)


class TestConformance(Conformance):
    distribution = "umedpt-label-classification"
