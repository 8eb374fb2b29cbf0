import math
import pickle

import numpy as np
import pytest
import torch
from umedpt_label_multilabel.head import MultiLabel
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
    return [f"label {c}" for c in range(C)]


def batch_of(label, targets, x_BCHW=None):
    x_BCHW = torch.rand(len(targets), 3, *SIZE) if x_BCHW is None else x_BCHW
    ids = tuple(map(str, range(len(targets))))
    return Batch(Ticket("train", "t", 0), x_BCHW, label.collate(targets), ids)


def anything(label, rng):
    return label.random_target(SIZE, rng)


def rare_and_unknown(label, rng):
    return rng.choice([0, 1, -1], len(label.classes), p=[0.75, 0.05, 0.2])


def mean_loss(C, draw, make_blocks):
    label, losses = MultiLabel(names(C)), []
    for seed in range(10):
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        blocks = make_blocks()
        head = label.head(blocks.dims)
        targets = [label.check(draw(label, rng), SIZE)[0] for _ in range(8)]
        losses.append(float(label.loss(head, blocks, batch_of(label, targets)).detach()))
    return np.mean(losses)


@pytest.mark.parametrize("draw", [anything, rare_and_unknown])
@pytest.mark.parametrize("C", [1, 2, 5, 13, 20])
def test_the_loss_is_about_1_at_initialisation(C, draw):
    assert 0.7 <= mean_loss(C, draw, RandomBlocks) <= 1.3


def test_the_loss_is_about_1_at_initialisation_on_a_real_encoder():
    assert 0.7 <= mean_loss(13, anything, small_encoder) <= 1.3


def test_uniform_predictions_cost_exactly_1():
    label = MultiLabel(names(3))
    batch = batch_of(label, [np.array([0, 1, -1]), np.array([1, 1, 0])], torch.rand(2, 3))
    assert float(label.loss(torch.zeros_like, FixedBlocks(), batch)) == pytest.approx(1, abs=1e-6)


def test_unknown_labels_count_nowhere():
    label = MultiLabel(names(3))
    logits_BC = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    batch = batch_of(label, [np.array([1, -1, 0]), np.array([-1, -1, 1])], logits_BC)
    loss = label.loss(torch.nn.Identity(), FixedBlocks(), batch)
    known = torch.stack([logits_BC[0, 0], -logits_BC[0, 2], logits_BC[1, 2]])
    expected = float(-known.detach().sigmoid().log().mean()) / math.log(2)
    assert float(loss.detach()) == pytest.approx(expected)
    loss.backward()
    assert ((logits_BC.grad != 0) == (batch.target != -1)).all()


def test_nothing_known_is_finite_and_teaches_nothing():
    label = MultiLabel(names(3))
    head = label.head(RandomBlocks.dims)
    loss = label.loss(head, RandomBlocks(), batch_of(label, [np.full(3, -1, np.int8)] * 2))
    loss.backward()
    assert float(loss.detach()) == 0
    assert (head.weight.grad == 0).all()


def test_perfect_predictions_cost_nothing():
    label = MultiLabel(names(3))
    batch = batch_of(label, [np.array([1, 0, -1])], torch.tensor([[50.0, -50.0, 3.0]]))
    assert float(label.loss(torch.nn.Identity(), FixedBlocks(), batch)) < 1e-6


@pytest.mark.parametrize("good", [[1, 0, -1], np.array([1.0, 0.0, -1.0]), (True, False, -1)])
def test_targets_that_fit(good):
    target, dropped = MultiLabel(names(3)).check(good, SIZE)
    assert (target.tolist(), target.dtype, dropped) == ([1, 0, -1], np.int8, 0)
    collated = MultiLabel(names(3)).collate([target])
    assert (collated.shape, collated.dtype) == ((1, 3), torch.float32)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([1, 0], "2 labels where there are 3 classes"),
        ([[1, 0, 1]], "labels"),
        (1, "1 labels where there are 3 classes"),
        ([1, 0, 2], r"labels \[1, 0, 2\] hold other values than 1, 0 and -1"),
        ([1, 0, 0.5], "hold other values"),
        ([1, 0, math.nan], "hold other values"),
    ],
)
def test_targets_that_do_not_fit(bad, message):
    with pytest.raises(ValueError, match=message):
        MultiLabel(names(3)).check(bad, SIZE)


def measure(label, p_NC, y_NC):
    """Fed in two batches."""
    metric, p_NC, y_NC = label.metric(), torch.tensor(p_NC), torch.tensor(y_NC)
    metric.update(p_NC[:1], y_NC[:1])
    metric.update(p_NC[1:], y_NC[1:])
    return metric.compute()


def test_metrics_by_hand():
    p_NC = [[0.1, 0.9, 0.5], [0.6, 0.2, 0.5], [0.4, 0.8, 0.5], [0.7, 0.99, 0.5]]
    y_NC = [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, -1.0, 0.0]]
    values = measure(MultiLabel(["first", "second", "never"]), p_NC, y_NC)
    # The entropy of the prevalences 1/2, 2/3 and 0, over the 4 + 3 + 4 known labels, in bits.
    entropy = 4 * 1 + 3 * -(math.log2(2 / 3) * 2 / 3 + math.log2(1 / 3) / 3)
    assert values == pytest.approx(
        {
            "auc/first": 3 / 4,
            "auc/second": 1,
            "auc": 7 / 8,
            "auc_baseline": 1 / 2,
            "f1": (1 / 2 + 1) / 2,
            "loss_baseline": entropy / 11,
        },
        abs=1e-4,
    )


def test_metrics_where_no_label_varies():
    values = measure(MultiLabel(names(1)), [[0.3], [0.6]], [[1.0], [-1.0]])
    assert values == pytest.approx({"loss_baseline": 0}, abs=1e-4)


def test_predictions_are_probabilities_and_can_be_drawn():
    label, image = MultiLabel(names(5)), np.full((48, 64, 3), 200, np.uint8)
    p_BC = label.predict(label.head(RandomBlocks.dims), RandomBlocks(), torch.rand(3, 3, *SIZE))
    assert p_BC.shape == (3, 5)
    assert ((p_BC > 0) & (p_BC < 1)).all()
    target, _ = label.check([1, 0, -1, 1, 0], SIZE)
    for item in [target, 0 * target, *label.unbatch(p_BC.detach())]:
        drawn = label.draw(image, item)
        assert (drawn.shape, drawn.dtype) == (image.shape, np.uint8)
        assert (drawn != image).any()
    assert (image == 200).all()


def test_a_prediction_becomes_a_row_and_a_target_its_labels():
    label = MultiLabel(["cyst", "stone", "scar"])
    (item,) = label.unbatch(torch.tensor([[0.25, 0.5, 1.0]]))
    assert label.row(item) == {"p_cyst": 0.25, "p_stone": 0.5, "p_scar": 1.0}
    assert label.classes_in(label.check([1, -1, 0], SIZE)[0]) == {0}
    assert label.classes_in(label.check([1, 0, 1], SIZE)[0]) == {0, 2}


def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)
    label, rng = MultiLabel(names(5)), np.random.default_rng(0)
    batch = batch_of(label, [anything(label, rng) for _ in range(10)], torch.randn(10, 32))
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
    label = pickle.loads(pickle.dumps(MultiLabel(names(3))))  # noqa: S301
    assert label.classes == tuple(names(3))
    assert label.check([1, 0, -1], SIZE)[0].tolist() == [1, 0, -1]


class TestConformance(Conformance):
    distribution = "umedpt-label-multilabel"
