import math
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from umedpt_label_detection.fcos import Points, assign, centerness, decode, fcos_losses, grid
from umedpt_label_detection.head import Detection
from umedpt_norm_layernorm.swap import without_parameters

from umedpt_core.blocks.decoders import Pyramid
from umedpt_core.blocks.shared import SharedBlocks
from umedpt_core.data.batch import Batch, Ticket
from umedpt_core.testing import Conformance

SIZE = (128, 160)
STRIDES = (8, 16, 32, 64, 128)


def maps(channels, size=SIZE, batch=1):
    return [
        torch.randn(batch, channels, math.ceil(size[0] / s), math.ceil(size[1] / s))
        for s in STRIDES
    ]


class RandomBlocks:
    """Stands in for the shared blocks: standard normal features, centerness at its small start."""

    dims = {"pyramid": 32}  # noqa: RUF012

    def pyramid(self, x_BCHW):
        size, batch = tuple(x_BCHW.shape[2:]), len(x_BCHW)
        classes, boxes, center = (maps(channels, size, batch) for channels in (32, 32, 1))
        return Pyramid(classes, boxes, [0.1 * level for level in center], size)


class FixedBlocks:
    def __init__(self, pyramid):
        self.fixed = pyramid

    def pyramid(self, x_BCHW):
        return self.fixed


def small_encoder():
    return SharedBlocks(
        "mobilenetv3_small_050", needs=["pyramid"], pyramid=32, swap=without_parameters
    )


def names(C):
    return [f"class {c}" for c in range(C)]


def batch_of(label, targets):
    ids = tuple(map(str, range(len(targets))))
    x_BCHW = torch.rand(len(targets), 3, *SIZE)
    return Batch(Ticket("train", "t", 0), x_BCHW, label.collate(targets), ids)


def anything(label, rng):
    return label.random_target(SIZE, rng)


def boxes_of(number):
    """So many cells of 12 to 40 pixels, nine in ten of the first class."""

    def draw(label, rng):
        extent = rng.uniform(12, 40, (number, 2))
        corner = rng.uniform(0, 1, (number, 2)) * (np.array(SIZE[::-1]) - extent)
        labels = (rng.random(number) < 0.1) * (len(label.classes) - 1)
        return {"boxes": np.concatenate([corner, corner + extent], 1), "labels": labels}

    return draw


def losses_at_start(C, draw, make_blocks):
    label, losses = Detection(names(C)), []
    for seed in range(10):
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        blocks = make_blocks()
        head = label.head(blocks.dims)
        targets = [label.check(draw(label, rng), SIZE)[0] for _ in range(4)]
        losses.append(float(label.loss(head, blocks, batch_of(label, targets)).detach()))
    return losses


@pytest.mark.parametrize("draw", [anything, boxes_of(1), boxes_of(50)], ids=["any", "1", "50"])
@pytest.mark.parametrize("C", [1, 2, 5, 13, 20])
def test_the_loss_is_about_1_at_initialisation(C, draw):
    assert 0.7 <= np.mean(losses_at_start(C, draw, RandomBlocks)) <= 1.3


def test_the_loss_is_about_1_at_initialisation_on_real_blocks():
    assert 0.7 <= np.mean(losses_at_start(13, anything, small_encoder)) <= 1.3


@pytest.mark.parametrize("C", [1, 13])
def test_a_batch_without_boxes_costs_next_to_nothing(C):
    losses = losses_at_start(C, boxes_of(0), RandomBlocks)
    assert 0 <= min(losses) <= max(losses) < 0.1


def test_the_class_loss_as_the_paper_scales_it():
    target = anything(Detection(names(5)), np.random.default_rng(0))
    losses = []
    for scale in ("prior", "classes"):
        torch.manual_seed(0)
        label = Detection(names(5), class_scale=scale)
        batch = batch_of(label, [label.check(target, SIZE)[0]])
        loss = label.loss(label.head(RandomBlocks.dims), RandomBlocks(), batch)
        losses.append(float(loss.detach()))
    # The class loss starts near 1.128, which the one divides by 1.128, the other by 5.
    assert losses[0] - losses[1] == pytest.approx((1 - 1.128 / 5) / 3, rel=0.1)
    with pytest.raises(ValueError, match="class_scale is 'prior' or 'classes', not 'none'"):
        Detection(names(5), class_scale="none")


def levels_of(size):
    return grid(SimpleNamespace(size=size, centerness=maps(1, size)))


def positives(size, boxes):
    """{(level, x, y): box} of the locations that are responsible for a box."""
    levels = levels_of(size)
    places = [(level, *xy) for level, p in enumerate(levels) for xy in p.centers.tolist()]
    assigned = assign(levels, torch.tensor(boxes).reshape(-1, 4)).tolist()
    return {place: box for place, box in zip(places, assigned, strict=True) if box >= 0}


def test_locations_lie_at_the_middle_of_their_cells():
    first, *_, last = levels_of((128, 256))
    assert first.centers[[0, 1, 32]].tolist() == [[4, 4], [12, 4], [4, 12]]
    assert len(first.centers) == 16 * 32
    assert last.centers.tolist() == [[64, 64], [192, 64]]
    assert last.stride.tolist() == [128, 128]


def test_the_smallest_box_wins_and_only_near_its_center():
    # Stride 8: of the box of 40 pixels only 20 and 28 are less than 12 from its center 24.
    assert positives((64, 64), [[4.0, 4.0, 44.0, 44.0], [16.0, 16.0, 24.0, 24.0]]) == {
        (0, 20, 20): 1,
        (0, 28, 20): 0,
        (0, 20, 28): 0,
        (0, 28, 28): 0,
    }


@pytest.mark.parametrize(
    ("half", "levels"),
    [
        (20, {0}),
        (59, {0, 1}),
        (60, {1}),
        (119, {1, 2}),
        (120, {2}),
        (239, {2, 3}),
        (240, {3}),
        (448, {3, 4}),
        (480, {4}),
    ],
)
def test_a_level_takes_the_boxes_of_its_range(half, levels):
    # Around the center, 512, a level has four locations near, half a stride off: the farthest edge
    # is half + stride / 2 away, which decides the level: from 0, 64, 128, 256, 512 on.
    low, high = 512.0 - half, 512.0 + half
    found = positives((1024, 1024), [[low, low, high, high]])
    assert found.keys() == {
        (level, 512 + x, 512 + y)
        for level in levels
        for x in (-STRIDES[level] / 2, STRIDES[level] / 2)
        for y in (-STRIDES[level] / 2, STRIDES[level] / 2)
    }


def test_no_box_is_no_positive_location():
    assert positives((64, 64), []) == {}


@given(
    x=st.floats(0, 100),
    y=st.floats(0, 100),
    left=st.floats(0.5, 200),
    top=st.floats(0.5, 200),
    right=st.floats(0.5, 200),
    bottom=st.floats(0.5, 200),
)
@settings(deadline=None, derandomize=True)
def test_decoding_inverts_the_distances(x, y, left, top, right, bottom):
    points = Points(torch.tensor([[x, y]]), torch.tensor([8.0, 16.0]))
    raw_4 = (torch.tensor([left, top, right, bottom]) / torch.tensor([8, 16, 8, 16])).log()
    expected = torch.tensor([[[x - left, y - top, x + right, y + bottom]]])
    torch.testing.assert_close(decode(points, raw_4[None, None]), expected, rtol=1e-4, atol=1e-3)


def test_centerness_is_1_in_the_middle_and_0_at_an_edge():
    centers = torch.tensor([[5.0, 5.0], [0.0, 5.0], [2.0, 5.0], [2.0, 8.0]])
    values = centerness(centers, torch.tensor([[0.0, 0.0, 10.0, 10.0]]).expand(4, 4))
    torch.testing.assert_close(values, torch.tensor([1, 0, 0.5, 0.25]))


TRUTH = {
    "boxes": np.array([[10, 12, 50, 40], [60, 30, 150, 120], [100, 8, 128, 30]], np.float32),
    "labels": np.array([0, 2, 1]),
}


def perfect(label, target):
    """What a perfect head would give for one image, and the pyramid to go with it."""
    levels = levels_of(SIZE)
    target = label.collate([target])
    assigned = assign(levels, target[0]["boxes"]).split([len(p.centers) for p in levels])
    classes, distances, center = [], [], []
    for points, box in zip(levels, assigned, strict=True):
        goal = target[0]["boxes"][box.clamp(min=0)]
        hot = F.one_hot(target[0]["labels"][box.clamp(min=0)], len(label.classes)).bool()
        classes.append(torch.where(hot & (box >= 0)[:, None], 20.0, -20.0)[None])
        edges = torch.cat([points.centers - goal[:, :2], goal[:, 2:] - points.centers], 1)
        distances.append((edges.clamp(min=1e-3) / points.stride.repeat(2)).log()[None])
        center.append(torch.where(box >= 0, centerness(points.centers, goal), 0.5).logit(1e-6))
    center = [
        level.view(1, 1, *like.shape[2:]) for level, like in zip(center, maps(1), strict=True)
    ]
    pyramid = Pyramid(maps(1), maps(1), center, SIZE)
    return (classes, distances), pyramid, target


def test_perfect_predictions_cost_nothing_but_the_entropy_of_the_centerness():
    label = Detection(names(3))
    (classes, distances), pyramid, target = perfect(label, TRUTH)
    class_loss, box_loss, center_loss = fcos_losses(classes, distances, pyramid, target)
    assert float(class_loss) < 1e-6
    assert float(box_loss) < 1e-5
    p = torch.cat([level.flatten() for level in pyramid.centerness]).sigmoid()
    p = p[assign(levels_of(SIZE), target[0]["boxes"]) >= 0].double()
    entropy = -(p * p.log() + (1 - p).clamp(min=1e-9) * (1 - p).clamp(min=1e-9).log()).mean()
    assert float(center_loss) == pytest.approx(float(entropy), abs=1e-4)


def test_perfect_predictions_are_the_true_boxes():
    label = Detection(names(3))
    outputs, pyramid, _ = perfect(label, TRUTH)
    x_BCHW = torch.rand(1, 3, *SIZE)
    prediction = label.predict(lambda _: outputs, FixedBlocks(pyramid), x_BCHW)[0]
    order = prediction["labels"].argsort()
    assert prediction["labels"][order].tolist() == [0, 1, 2]
    expected = torch.from_numpy(TRUTH["boxes"][[0, 2, 1]])
    torch.testing.assert_close(prediction["boxes"][order], expected, rtol=0, atol=0.01)
    assert (prediction["scores"].diff() <= 0).all()
    assert prediction["scores"].min() > 0.3


def test_targets_are_brought_into_form():
    target, dropped = Detection(names(3)).check(
        {
            "boxes": [[-0.5, 0, 10, 12], [5, 5, 5, 20], [8, 8, 4, 20], [150, 8, 161, 128.5]],
            "labels": [0, 1, 1, 2],
        },
        SIZE,
    )
    assert dropped == 2  # no width, and less than none
    assert target["boxes"].tolist() == [[0, 0, 10, 12], [150, 8, 160, 128]]
    assert target["labels"].tolist() == [0, 2]
    assert (target["boxes"].dtype, target["labels"].dtype) == (np.float32, np.int64)


def test_an_image_without_boxes():
    target, dropped = Detection(names(3)).check({"boxes": [], "labels": []}, SIZE)
    assert (target["boxes"].shape, target["labels"].shape, dropped) == ((0, 4), (0,), 0)
    assert target["labels"].dtype == np.int64


@pytest.mark.parametrize(
    ("boxes", "labels", "message"),
    [
        ([[0, 0, 9, 9]], [0, 1], "1 boxes but 2 labels"),
        ([[0, 0, 9, 9]], [3], r"box labels \[3\] are outside the classes 0\.\.2"),
        ([[0, 0, 9, 9]], [-1], r"box labels \[-1\]"),
        ([[0, 0, 9, 9]], [0.5], r"box labels \[0\.5\]"),
        ([[0, 0, 162, 9]], [0], r"box \[0\.0, 0\.0, 162\.0, 9\.0\] is outside .* of 160 x 128"),
        ([[0, 0, 9, 130]], [0], "is outside the image"),
        ([[-2, 0, 9, 9]], [0], "is outside the image"),
        ([[0, 0, math.nan, 9]], [0], "is outside the image"),
        ([[0, 0, 9]], [0], "reshape"),
    ],
)
def test_targets_that_do_not_fit(boxes, labels, message):
    with pytest.raises(ValueError, match=message):
        Detection(names(3)).check({"boxes": boxes, "labels": labels}, SIZE)


@pytest.mark.parametrize("target", [{"boxes": [[0, 0, 9, 9]]}, [[0, 0, 9, 9]], None])
def test_targets_that_are_no_boxes_with_labels(target):
    with pytest.raises(ValueError, match="no dict with boxes and labels"):
        Detection(names(3)).check(target, SIZE)


def measure(predicted, true):
    metric = Detection(names(3)).metric()
    for prediction, target in zip(predicted, true, strict=True):
        metric.update([prediction], [target])
    return metric.compute()


def found(boxes, labels, scores=()):
    item = {"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": torch.tensor(labels).long()}
    return item | {"scores": torch.tensor(scores)}


def test_metrics_by_hand():
    first, second = found([[0.0, 0, 20, 20]], [0]), found([[0.0, 0, 30, 30]], [1])
    perfect = [item | {"scores": torch.ones(1)} for item in (first, second)]
    nothing = found([], [])
    assert measure(perfect, [first, second]) == {"map50": 1, "map": 1, "map50_baseline": 0}
    assert measure([nothing] * 2, [first, second]) == {"map50": 0, "map": 0, "map50_baseline": 0}
    half = measure([perfect[0], nothing], [first, second])
    assert half["map50"] == half["map"] == 0.5
    # Two thirds of the box: counted at IoU .5, .55, .6 and .65, four of the ten thresholds.
    rough = measure([found([[0.0, 0, 20, 13.4]], [0], [1.0])], [first])
    assert rough == pytest.approx({"map50": 1, "map": 0.4, "map50_baseline": 0})


def test_metrics_without_a_true_box_are_left_out():
    assert measure([found([[0.0, 0, 20, 20]], [0], [1.0])], [found([], [])]) == {}


def rough_detections(images, rng):
    """Two detections a box, more or less on it, of a class that may be wrong; many equal scores."""
    true, predicted = [], []
    for n in rng.integers(0, 6, images):
        corners, edges = rng.uniform(0, 60, (n, 2)), rng.uniform(20, 60, (n, 2))
        boxes = np.concatenate([corners, corners + edges], 1).astype(np.float32)
        true.append(found(boxes, rng.integers(0, 2, n)))
        moved = np.tile(boxes, (2, 1)) + rng.normal(0, 4, (2 * n, 4)).astype(np.float32)
        scores = (rng.integers(1, 6, 2 * n) / 5).astype(np.float32)
        predicted.append(found(moved, rng.integers(0, 3, 2 * n), scores))
    return predicted, true


@settings(deadline=None, max_examples=15, derandomize=True)
@given(st.integers(0, 10**6))
def test_metrics_over_chosen_images_are_those_of_a_set_of_them(seed):
    """What the library gives for a set in which the image is twice as two images."""
    rng = np.random.default_rng(seed)
    predicted, true = rough_detections(8, rng)
    metric = Detection(names(3)).metric()
    metric.update(predicted[:3], true[:3])
    metric.update(predicted[3:], true[3:])
    chosen = rng.integers(0, 8, 10).tolist()
    wanted = measure([predicted[n] for n in chosen], [true[n] for n in chosen])
    assert metric.compute(chosen) == pytest.approx(wanted, abs=1e-12)
    assert metric.compute(range(8)) == pytest.approx(metric.compute(), abs=1e-12)


def test_the_classes_among_boxes():
    label = Detection(names(3))
    assert label.classes_in(label.check(TRUTH, SIZE)[0]) == set(TRUTH["labels"])
    assert label.row(found([[0.0, 0, 20, 20]], [0], [1.0])) == {}


def test_predictions_can_be_drawn():
    torch.manual_seed(0)
    label, image = Detection(names(3)), np.full((*SIZE, 3), 200, np.uint8)
    image.setflags(write=False)
    with torch.no_grad():
        head = label.head(RandomBlocks.dims)
        untrained = label.predict(head, RandomBlocks(), torch.rand(2, 3, *SIZE))
    sure = found([[70.0, 60, 110, 100]], [1], [0.9])
    items = label.unbatch([*untrained, sure])
    assert len(items) == 3
    for item in [TRUTH, *items]:
        drawn = label.draw(image, item)
        assert (drawn.shape, drawn.dtype) == (image.shape, np.uint8)
    outline = np.zeros(SIZE, bool)
    outline[60:100, 70:110] = True
    outline[61:99, 71:109] = False
    assert ((drawn != 200).any(-1) == outline)[30:].all()
    unsure = label.draw(image, items[2] | {"scores": np.array([0.2])})
    assert (unsure[30:] == 200).all()


def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)
    label = Detection(names(3))
    blocks = FixedBlocks(RandomBlocks().pyramid(torch.rand(1, 3, *SIZE)))
    batch = batch_of(label, [TRUTH])
    head = label.head(RandomBlocks.dims)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    losses = []
    for _ in range(20):
        losses.append(label.loss(head, blocks, batch))
        optimizer.zero_grad()
        losses[-1].backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1)
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]


def test_a_batch_without_boxes_has_finite_gradients():
    torch.manual_seed(0)
    label = Detection(names(3))
    head = label.head(RandomBlocks.dims)
    empty = label.check({"boxes": [], "labels": []}, SIZE)[0]
    label.loss(head, RandomBlocks(), batch_of(label, [empty, empty])).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in head.parameters())
    assert (head.classes.weight.grad != 0).any()


def test_it_pickles_for_the_workers():
    label = pickle.loads(pickle.dumps(Detection(names(3), class_scale="classes")))  # noqa: S301
    assert (label.classes, label.class_scale) == (tuple(names(3)), 3)
    assert label.check(TRUTH, SIZE)[1] == 0


class TestConformance(Conformance):
    distribution = "umedpt-label-detection"
