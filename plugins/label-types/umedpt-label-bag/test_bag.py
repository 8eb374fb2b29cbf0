import pickle

import numpy as np
import pytest
import torch
import umedpt_label_bag.head as module
from timm.layers import DropPath
from torch.autograd.graph import saved_tensors_hooks
from umedpt_label_bag.head import Bag
from umedpt_norm_layernorm.swap import without_parameters

from umedpt_core.blocks.shared import SharedBlocks
from umedpt_core.data.batch import Batch, Ticket
from umedpt_core.testing import Conformance

SIZE = (32, 32)


class RandomBlocks:
    """Stands in for the shared blocks: standard normal embeddings."""

    dims = {"embedding": 32}  # noqa: RUF012

    def embedding(self, x_BCHW):
        return torch.randn(len(x_BCHW), 32)


class FixedBlocks(RandomBlocks):
    """The images are their own embeddings."""

    def embedding(self, x_BCHW):
        return x_BCHW.flatten(1)


def make(C=3, encoder="mobilenetv3_small_050"):
    """A label type, and blocks and a head whose weights differ between instances."""
    torch.manual_seed(0)
    label = Bag(names(C))
    blocks = SharedBlocks(encoder, needs=["embedding"], swap=without_parameters)
    return label, sharpen(label.head(blocks.dims)), blocks


def sharpen(head):
    with torch.no_grad():
        head.score.weight.mul_(20)
    return head


def names(C):
    return [f"class {c}" for c in range(C)]


def images(number, seed=0):
    return torch.rand(number, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def batch_of(label, targets, bags, x_BCHW=None):
    x_BCHW = images(sum(bags)) if x_BCHW is None else x_BCHW
    ids = tuple(map(str, range(len(targets))))
    return Batch(Ticket("train", "t", 0), x_BCHW, label.collate(targets), ids, bags=bags)


def gradients(label, head, blocks, batch, dtype=torch.float32):
    """The loss, and one vector of all gradients."""
    parameters = [*blocks.to(dtype).parameters(), *head.to(dtype).parameters()]
    x_BCHW = batch.x_BCHW.to(dtype)
    batch = Batch(batch.ticket, x_BCHW, batch.target, batch.ids, bags=batch.bags)
    torch.manual_seed(1)
    loss = label.loss(head, blocks, batch)
    for parameter in parameters:
        parameter.grad = None
    loss.backward()
    return loss.detach(), torch.cat([parameter.grad.flatten() for parameter in parameters])


def saved_bytes(forward):
    """What a forward pass keeps for the backward one, without parameters, views counted once."""
    storages = {}

    def keep(tensor):
        if not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        result = forward()
    assert result.requires_grad
    return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize("C", [2, 5, 13, 20])
def test_the_loss_is_about_1_at_initialisation(C):
    label, losses = Bag(names(C)), []
    for seed in range(10):
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        targets = [label.random_target(SIZE, rng) for _ in range(8)]
        bags = tuple(rng.integers(1, 6, 8).tolist())
        head = label.head(RandomBlocks.dims)
        loss = label.loss(head, RandomBlocks(), batch_of(label, targets, bags))
        losses.append(float(loss.detach()))
    assert 0.7 <= np.mean(losses) <= 1.3


def test_the_weights_of_a_bag_sum_to_1_and_differ():
    label, head, blocks = make()
    prediction = label.predict(head, blocks, images(14).unflatten(0, (2, 7)))
    assert prediction["weights"].shape == (2, 7)
    torch.testing.assert_close(prediction["weights"].sum(1), torch.ones(2))
    torch.testing.assert_close(prediction["probabilities"].sum(1), torch.ones(2))
    assert prediction["weights"].std(1).min() > 0.01


def test_the_order_of_instances_has_no_meaning():
    label, head, blocks = make()
    x_NCHW, order = images(7), torch.randperm(7, generator=torch.Generator().manual_seed(0))
    one = label.predict(head, blocks, x_NCHW[None])
    other = label.predict(head, blocks, x_NCHW[order][None])
    torch.testing.assert_close(other["probabilities"], one["probabilities"])
    torch.testing.assert_close(other["weights"], one["weights"][:, order])


def test_an_image_is_a_bag_of_one():
    label, head, blocks = make()
    x_BCHW = images(3)
    flat, deep = (label.predict(head, blocks, x) for x in (x_BCHW, x_BCHW[:, None]))
    assert (flat["weights"] == torch.ones(3, 1)).all()
    torch.testing.assert_close(flat, deep)
    losses = [
        label.loss(head, blocks, batch_of(label, [0, 1, 2], bags, x_BCHW))
        for bags in ((), (1, 1, 1))
    ]
    assert losses[0] == losses[1]


def test_bags_in_a_batch_are_as_if_alone():
    label, head, blocks = make()
    bags, targets, x_BCHW = (3, 1, 7), [2, 0, 1], images(11)
    together, together_grads = gradients(label, head, blocks, batch_of(label, targets, bags))
    alone = [
        gradients(label, head, blocks, batch_of(label, [target], (len(x),), x))
        for target, x in zip(targets, x_BCHW.split(bags), strict=True)
    ]
    torch.testing.assert_close(together, torch.stack([loss for loss, _ in alone]).mean())
    mean = torch.stack([grads for _, grads in alone]).mean(0)
    assert (together_grads - mean).norm() / mean.norm() < 1e-5


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("bags", "chunk"), [((1,), 32), ((7,), 3), ((300,), 32), ((1, 7, 60), 32)])
def test_two_passes_give_the_gradients_of_one(monkeypatch, bags, chunk, dtype, most):
    label, head, blocks = make()
    batch = batch_of(label, [1] * len(bags), bags)
    monkeypatch.setattr(module, "CHUNK", 1000)
    loss, one = gradients(label, head, blocks, batch, dtype)
    monkeypatch.setattr(module, "CHUNK", chunk)
    same_loss, two = gradients(label, head, blocks, batch, dtype)
    assert float(same_loss) == pytest.approx(float(loss), rel=most)
    assert (two - one).norm() / one.norm() <= most


def test_the_second_pass_drops_the_same_paths(monkeypatch):
    label, head, blocks = make(encoder="swin_tiny_patch4_window7_224")
    rates = [m.drop_prob for m in blocks.train().modules() if isinstance(m, DropPath)]
    assert max(rates) > 0
    batch = batch_of(label, [1, 2], (2, 5))
    monkeypatch.setattr(module, "CHUNK", 3)
    loss, recomputed = gradients(label, head, blocks, batch)
    monkeypatch.setattr(module, "checkpoint", lambda function, *x, use_reentrant: function(*x))
    same_loss, kept = gradients(label, head, blocks, batch)
    assert loss == same_loss
    assert (recomputed == kept).all()
    monkeypatch.undo()
    without, _ = gradients(label, head, blocks.eval(), batch)
    assert loss != without


def test_two_passes_keep_little_in_memory(monkeypatch):
    label, head, blocks = make()
    batch = batch_of(label, [1], (300,))
    two = saved_bytes(lambda: label.loss(head, blocks, batch))
    # What the second pass holds at a time comes on top.
    chunk = saved_bytes(lambda: blocks.embedding(batch.x_BCHW[:32]))
    monkeypatch.setattr(module, "CHUNK", 1000)
    one = saved_bytes(lambda: label.loss(head, blocks, batch))
    embeddings = 300 * blocks.dims["embedding"] * 4
    assert two < batch.x_BCHW.nbytes + 2 * embeddings
    assert two + chunk < one / 4


def test_evaluation_keeps_the_features_of_one_chunk_at_most():
    label, head, blocks = make()
    batch = batch_of(label, [1], (70,))
    with torch.no_grad():
        expected = label.loss(head, blocks, batch)
        with blocks.keeping_features():
            loss = label.loss(head, blocks, batch)
            prediction = label.predict(head, blocks, batch.x_BCHW[None])
            assert len(blocks._kept[0]) <= 32
    assert loss == expected
    assert prediction["weights"].shape == (1, 70)


def toy_bags(number, rng):
    """One marked instance decides the class, the others' answers are noise; and its place."""
    bags, targets, places = [], [], []
    for _ in range(number):
        e_ND = rng.normal(0, 0.3, (rng.integers(3, 12), 8))
        e_ND[:, 1] = rng.choice([-1, 1], len(e_ND))
        place = rng.integers(len(e_ND))
        e_ND[place, 0] = 2
        bags.append(torch.tensor(e_ND, dtype=torch.float32))
        targets.append(int(e_ND[place, 1] > 0))
        places.append(place)
    return bags, targets, places


def test_it_learns_which_instance_decides():
    torch.manual_seed(0)
    label, blocks, rng = Bag(names(2)), FixedBlocks(), np.random.default_rng(0)
    bags, targets, _ = toy_bags(200, rng)
    batch = batch_of(label, targets, tuple(map(len, bags)), torch.cat(bags))
    head = label.head({"embedding": 8})
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(80):
        optimizer.zero_grad()
        label.loss(head, blocks, batch).backward()
        optimizer.step()
    bags, targets, places = toy_bags(100, rng)
    with torch.no_grad():
        outputs = [label.predict(head, blocks, e_ND[None, ..., None, None]) for e_ND in bags]
    classes = [int(output["probabilities"].argmax()) for output in outputs]
    heaviest = [int(output["weights"].argmax()) for output in outputs]
    assert np.mean(np.equal(classes, targets)) > 0.95
    assert np.mean(np.equal(heaviest, places)) > 0.95


def test_metrics_are_over_bags():
    label = Bag(names(2))
    metric = label.metric()
    for p, target in ((0.9, 0), (0.2, 1), (0.4, 0)):
        prediction = {"probabilities": torch.tensor([[p, 1 - p]]), "weights": torch.ones(1, 4) / 4}
        metric.update(prediction, torch.tensor([target]))
    values = metric.compute()
    assert (values["accuracy"], values["auc"]) == pytest.approx((2 / 3, 1))


def test_predictions_name_the_class_and_the_heaviest_slice(monkeypatch):
    label, captions = Bag(names(3)), []
    monkeypatch.setattr(module, "caption", lambda image, lines: captions.append(lines))
    p_BC, w_BN = torch.tensor([[0.1, 0.7, 0.2]]), torch.tensor([[0.25, 0.25, 0.5, 0]])
    (item,) = label.unbatch({"probabilities": p_BC, "weights": w_BN})
    label.draw(np.zeros((48, 64, 3), np.uint8), item)
    assert captions == [["class 1 0.70", "slice 3/4: 0.50"]]
    row = {"class": "class 1", "p_class 0": 0.1, "p_class 1": 0.7, "p_class 2": 0.2}
    assert label.row(item) == pytest.approx(row)
    assert label.classes_in(2) == {2}


def test_it_pickles_for_the_workers():
    label = pickle.loads(pickle.dumps(Bag(names(3))))  # noqa: S301
    assert label.classes == tuple(names(3))
    assert label.check(2, SIZE) == (2, 0)


class TestConformance(Conformance):
    distribution = "umedpt-label-bag"
