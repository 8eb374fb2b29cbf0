import math
import pickle

import numpy as np
import pytest
import torch
from umedpt_label_regression.head import Regression
from umedpt_norm_layernorm.swap import without_parameters

from umedpt_core.blocks.shared import SharedBlocks
from umedpt_core.data.batch import Batch, Ticket
from umedpt_core.testing import Conformance

SIZE = (64, 64)
OPTIONS = [{"range": (20, 90)}, {"mean": -1e3, "std": 0.01}]


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
    return [f"quantity {c}" for c in range(C)]


def batch_of(label, targets, x_BCHW=None):
    x_BCHW = torch.rand(len(targets), 3, *SIZE) if x_BCHW is None else x_BCHW
    ids = tuple(map(str, range(len(targets))))
    checked = [label.check(target, SIZE)[0] for target in targets]
    return Batch(Ticket("train", "t", 0), x_BCHW, label.collate(checked), ids)


def mean_loss(label, make_blocks, number=8):
    losses = []
    for seed in range(10):
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        blocks = make_blocks()
        head = label.head(blocks.dims)
        batch = batch_of(label, [label.random_target(SIZE, rng) for _ in range(number)])
        losses.append(float(label.loss(head, blocks, batch).detach()))
    return np.mean(losses)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("C", [1, 2, 13])
def test_the_loss_is_about_1_at_initialisation(C, options):
    assert 0.7 <= mean_loss(Regression(names(C), **options), RandomBlocks) <= 1.3


def test_the_loss_is_about_1_at_initialisation_on_a_real_encoder():
    assert 0.7 <= mean_loss(Regression(names(3), range=(0, 1)), small_encoder) <= 1.3


def test_the_middle_costs_the_variance_of_an_even_spread():
    label = Regression(names(1), range=(10, 30))
    targets = np.linspace(10, 30, 2001)
    batch = batch_of(label, targets, torch.zeros(2001, 1))
    loss = label.loss(torch.nn.Identity(), FixedBlocks(), batch)
    assert float(loss) == pytest.approx(1, abs=2e-3)


def test_each_quantity_has_its_own_scale():
    label = Regression(names(2), mean=(0, 100), std=(1, 10))
    z_BC = torch.tensor([[1.0, -2.0], [0.5, 0.0]])
    y_BC = label.predict(torch.nn.Identity(), FixedBlocks(), z_BC)
    torch.testing.assert_close(y_BC, torch.tensor([[1.0, 80.0], [0.5, 100.0]]))
    loss = label.loss(torch.nn.Identity(), FixedBlocks(), batch_of(label, y_BC.numpy(), z_BC))
    assert float(loss) == pytest.approx(0, abs=1e-6)
    per_pair = Regression(names(2), range=[(0, 1), (100, 300)])
    middle = per_pair.predict(torch.zeros_like, FixedBlocks(), z_BC)
    torch.testing.assert_close(middle, torch.tensor([[0.5, 200.0]] * 2))


def test_unknown_numbers_count_nowhere():
    label = Regression(names(2), mean=0, std=2)
    z_BC = torch.tensor([[1.0, 3.0], [0.0, 0.0]], requires_grad=True)
    batch = batch_of(label, [[4, math.nan], [math.nan, 6]], z_BC)
    loss = label.loss(torch.nn.Identity(), FixedBlocks(), batch)
    assert float(loss.detach()) == pytest.approx(((1 - 2) ** 2 + (0 - 3) ** 2) / 2)
    loss.backward()
    assert ((z_BC.grad != 0) == torch.tensor([[True, False], [False, True]])).all()


def test_nothing_known_is_finite_and_teaches_nothing():
    label = Regression(names(1), range=(0, 1))
    head = label.head(RandomBlocks.dims)
    loss = label.loss(head, RandomBlocks(), batch_of(label, [math.nan] * 2))
    loss.backward()
    assert float(loss.detach()) == 0
    assert (head.weight.grad == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give the label option range"),
        ({"mean": 0}, "give the label option range"),
        ({"std": 1, "range": (0, 1)}, "give the label option range"),
        ({"mean": 0, "std": 1, "range": (0, 1)}, "give the label option range"),
        ({"range": (1, 0)}, "from low to high"),
        ({"range": (0, math.inf)}, "all finite"),
        ({"mean": 0, "std": (1, 0)}, "std be above 0"),
        ({"mean": math.nan, "std": 1}, "all finite"),
        ({"mean": (0, 1, 2), "std": 1}, "not for 2 quantities"),
        ({"range": (0, 1, 2)}, "not for 2 quantities"),
        ({"range": "wide"}, "not for 2 quantities"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        Regression(names(2), **options)


@pytest.mark.parametrize("good", [3, 3.0, [3], np.float64(3), torch.tensor(3.0), np.array([3])])
def test_targets_that_fit(good):
    target, dropped = Regression(names(1), range=(0, 1)).check(good, SIZE)
    assert (target.tolist(), target.dtype, dropped) == ([3], np.float32, 0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([1], "1 numbers where there are 2 quantities"),
        ([[1, 2]], "numbers"),
        (["a", 1], "is no number"),
        (None, "numbers"),
        ([1, math.inf], "not finite"),
    ],
)
def test_targets_that_do_not_fit(bad, message):
    with pytest.raises(ValueError, match=message):
        Regression(names(2), range=(0, 1)).check(bad, SIZE)


def measure(label, p_NC, y_NC):
    """Fed in two batches."""
    metric, p_NC, y_NC = label.metric(), torch.tensor(p_NC), torch.tensor(y_NC)
    metric.update(p_NC[:1], y_NC[:1])
    metric.update(p_NC[1:], y_NC[1:])
    return metric.compute()


def test_metrics_by_hand():
    values = measure(
        Regression(["age"], range=(0, 9)), [[1.0], [2.0], [6.0]], [[0.0], [3.0], [6.0]]
    )
    assert values == pytest.approx(
        {
            "mae": 2 / 3,
            "mae_baseline": 2,
            "rmse": math.sqrt(2 / 3),
            "rmse_baseline": math.sqrt(6),
            "r2": 1 - 2 / 18,
            "r2_baseline": 0,
        }
    )


def test_metrics_of_several_quantities_with_gaps():
    nan = math.nan
    p_NC = [[1.0, 5.0, 0.0], [2.0, 7.0, 0.0]]
    y_NC = [[1.0, nan, nan], [4.0, 4.0, nan]]
    values = measure(Regression(["a", "b", "never"], range=(0, 9)), p_NC, y_NC)
    assert values["mae/a"] == 1
    assert values["mae/b"] == 3
    assert values["mae"] == 2
    assert values["r2"] == values["r2/a"] == pytest.approx(1 - 4 / 4.5)
    assert "r2/b" not in values
    assert not [name for name in values if "never" in name]


def test_the_baselines_are_what_the_mean_reaches():
    values = measure(Regression(["age"], range=(0, 9)), [[3.0]] * 3, [[0.0], [3.0], [6.0]])
    for name in ("mae", "rmse", "r2"):
        assert values[name] == pytest.approx(values[f"{name}_baseline"])


def test_numbers_are_drawn():
    label, image = Regression(names(2), range=(0, 9)), np.full((48, 64, 3), 200, np.uint8)
    p_BC = label.predict(label.head(RandomBlocks.dims), RandomBlocks(), torch.rand(3, 3, *SIZE))
    target, _ = label.check([4, math.nan], SIZE)
    drawn = [
        label.draw(image, item) for item in [target, 2 * target, *label.unbatch(p_BC.detach())]
    ]
    assert all((one != image).any() for one in drawn)
    assert (drawn[0] != drawn[1]).any()
    assert (image == 200).all()


def test_a_prediction_becomes_a_row():
    one, two = Regression(["age"], range=(0, 9)), Regression(["age", "size"], range=(0, 9))
    assert one.row(one.unbatch(torch.tensor([[4.5]]))[0]) == {"value": 4.5}
    row = two.row(two.unbatch(torch.tensor([[4.5, 1.0]]))[0])
    assert row == {"value_age": 4.5, "value_size": 1.0}
    assert two.classes_in(two.check([4, 1], SIZE)[0]) == set()


def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)
    label, rng = Regression(names(2), range=(0, 9)), np.random.default_rng(0)
    targets = [label.random_target(SIZE, rng) for _ in range(10)]
    batch = batch_of(label, targets, torch.randn(10, 32))
    head = label.head(RandomBlocks.dims)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    losses = []
    for _ in range(20):
        losses.append(label.loss(head, FixedBlocks(), batch))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 2


def test_it_pickles_for_the_workers():
    label = pickle.loads(pickle.dumps(Regression(names(1), range=(0, 9))))  # noqa: S301
    assert label.check(2, SIZE)[0].tolist() == [2]


class TestConformance(Conformance):
    distribution = "umedpt-label-regression"
