"""From files to batches: readers, intensities, splits, and the loader's promises."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from PIL import Image
from umedpt_label_classification.head import Classification
from umedpt_label_detection.head import Detection
from umedpt_label_segmentation.head import Segmentation

from umedpt_core import DataError, FileCase, read_image, read_mask
from umedpt_core.counters import seed_of
from umedpt_core.data.augment import Augmentation, resize
from umedpt_core.data.batch import Batch, Ticket
from umedpt_core.data.intensity import apply_rule
from umedpt_core.data.loader import Instances, common_size, make_loader
from umedpt_core.data.splits import THREE_WAYS, VAL_FROM_TRAIN, split_by_patient
from umedpt_core.data.tasks import TaskData
from umedpt_core.errors import ConfigError
from umedpt_core.specs import Whole

quick = settings(deadline=None, derandomize=True, max_examples=60)

# Counters


def test_seeds_never_change():
    """A change here changes every run that ever was."""
    assert seed_of(0, "shapes", 3) == 3418223417
    assert seed_of() == 2078750766


@quick
@given(st.lists(st.lists(st.integers() | st.text(), max_size=3).map(tuple), unique=True))
def test_other_counters_give_other_seeds(counters):
    seeds = [seed_of(*each) for each in counters]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)


# Readers

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (36, 48), dtype=np.uint8)
RGB = RNG.integers(0, 256, (36, 48, 3), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (36, 48), dtype=np.uint16)
RGB16 = RNG.integers(0, 65536, (36, 48, 3), dtype=np.uint16)
FLOAT = RNG.random((36, 48), dtype=np.float32)
BITS = GREY > 127
PALETTED = Image.fromarray(RGB).quantize(16)


def pillow(array: np.ndarray, path: Path, **options: Any) -> None:
    Image.fromarray(array).save(path, **options)


def opencv(array: np.ndarray, path: Path) -> None:
    cv2.imwrite(
        str(path), array[..., [2, 1, 0, 3][: array.shape[-1]]] if array.ndim == 3 else array
    )


def with_alpha(array: np.ndarray) -> np.ndarray:
    return np.dstack([array, array[..., :1] // 2])


FILES = {
    # name: (writer, what is read)
    "grey.png": (partial(pillow, GREY), GREY),
    "grey.tif": (partial(pillow, GREY), GREY),
    "rgb.png": (partial(pillow, RGB), RGB),
    "rgb.tif": (partial(pillow, RGB, compression="tiff_deflate"), RGB),
    "rgba.png": (partial(pillow, with_alpha(RGB)), RGB),
    "grey-alpha.png": (lambda path: Image.fromarray(GREY).convert("LA").save(path), GREY),
    "palette.png": (PALETTED.save, np.asarray(PALETTED.convert("RGB"))),
    "bits.png": (partial(pillow, BITS), BITS * np.uint8(255)),
    "grey16.png": (partial(opencv, GREY16), GREY16),
    "grey16.tif": (partial(tifffile.imwrite, data=GREY16), GREY16),
    "grey16-big-endian.tif": (partial(tifffile.imwrite, data=GREY16, byteorder=">"), GREY16),
    "rgb16.png": (partial(opencv, RGB16), RGB16),
    "rgba16.png": (partial(opencv, with_alpha(RGB16)), RGB16),
    "rgb16.tif": (partial(tifffile.imwrite, data=RGB16, photometric="rgb"), RGB16),
    "rgb16-zip.tif": (
        partial(tifffile.imwrite, data=RGB16, photometric="rgb", compression="zlib"),
        RGB16,
    ),
    "planes.tif": (
        partial(
            tifffile.imwrite,
            data=np.moveaxis(RGB, -1, 0),
            photometric="rgb",
            planarconfig="separate",
        ),
        RGB,
    ),
    "float.tif": (partial(tifffile.imwrite, data=FLOAT), FLOAT),
}


@pytest.mark.parametrize("name", FILES)
def test_images_are_read_without_changing_a_value(name, tmp_path):
    write, expected = FILES[name]
    write(tmp_path / name)
    image = read_image(tmp_path / name)
    assert (image.shape, image.dtype) == (expected.shape, expected.dtype)
    assert (image == expected).all()
    assert (read_image(str(tmp_path / name)) == expected).all()


@pytest.mark.parametrize("smooth", [np.full((16, 16), 90, np.uint8), np.full((16, 16, 3), 90)])
def test_jpeg(smooth, tmp_path):
    pillow(smooth.astype(np.uint8), tmp_path / "x.jpg", quality=95)
    image = read_image(tmp_path / "x.jpg")
    assert (image.shape, image.dtype) == (smooth.shape, np.uint8)
    assert abs(image.astype(int) - 90).max() <= 2


def test_an_exif_orientation_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").shape == GREY.shape


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("share", [0.9, 0.5, 0])
@pytest.mark.parametrize("read", [read_image, read_mask])
@pytest.mark.parametrize("name", ["grey.png", "rgb.tif", "grey16.tif", "rgb16.png", "rgb16.tif"])
def test_a_truncated_file_is_named(name, read, share, tmp_path):
    FILES[name][0](tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=rf"{name}: cannot be read as (an image|a mask) .*replace"):
        read(tmp_path / name)


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_what_is_no_image_is_named(read, tmp_path):
    (tmp_path / "notes.png").write_text("not an image")
    with pytest.raises(DataError, match=r"notes\.png: cannot be read as"):
        read(tmp_path / "notes.png")
    with pytest.raises(DataError, match=r"gone\.png: no such file; check that the dataset is com"):
        read(tmp_path / "gone.png")
    with pytest.raises(DataError, match=f"{tmp_path.name}: cannot be read as"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (np.full((4, 4), 65536, np.int32), {}, r"integers outside 0\.\.65535"),
        (np.full((4, 4), -1, np.int32), {}, r"integers outside 0\.\.65535"),
        (
            np.moveaxis(RGB16, -1, 0),
            {"photometric": "rgb", "planarconfig": "separate"},
            "16-bit colour in separate planes",
        ),
        (
            np.moveaxis(RGB16, -1, 0),
            {"photometric": "rgb", "planarconfig": "separate", "compression": "zlib"},
            "16-bit colour in separate planes",
        ),
    ],
)
def test_values_that_would_be_changed_are_refused(content, options, message, tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", content, **options)
    with pytest.raises(DataError, match=rf"x\.tif: .*{message}"):
        read_image(tmp_path / "x.tif")


def test_masks_hold_indices(tmp_path):
    indices = (GREY % 16).astype(np.uint8)
    paletted = Image.fromarray(indices, mode="P")
    paletted.putpalette(RGB.ravel()[:48].tolist())
    paletted.save(tmp_path / "palette.png")
    pillow(indices, tmp_path / "grey.png")
    pillow(BITS, tmp_path / "bits.png")
    opencv(GREY16, tmp_path / "grey16.png")
    for name, expected in {
        "palette": indices,
        "grey": indices,
        "bits": BITS.astype(np.uint8),
        "grey16": GREY16,
    }.items():
        mask = read_mask(tmp_path / f"{name}.png")
        assert mask.dtype == expected.dtype
        assert (mask == expected).all()


@pytest.mark.parametrize("name", ["rgb.png", "grey-alpha.png"])
def test_a_mask_has_one_channel(name, tmp_path):
    FILES[name][0](tmp_path / name)
    with pytest.raises(DataError, match=rf"{name}: a mask has one channel, .* \(36, 48, \d\)"):
        read_mask(tmp_path / name)


def test_a_file_case_is_small_and_lazy(tmp_path):
    pillow(BITS, tmp_path / "m.png")
    case = FileCase("a", "p", tmp_path / "gone.png", partial(read_mask, tmp_path / "m.png"))
    again = pickle.loads(pickle.dumps(case))  # noqa: S301
    assert (again.id, again.patient, again.path) == (case.id, case.patient, case.path)
    assert len(pickle.dumps(case)) < 1000
    assert (again.target == BITS).all()
    assert FileCase("a", "p", tmp_path, 3).target == 3
    with pytest.raises(DataError, match=r"gone\.png"):
        _ = again.image


# Intensities


images_of = partial(nps.arrays, shape=nps.array_shapes(min_dims=2, max_dims=3, max_side=8))
any_number = (
    nps.integer_dtypes(endianness="=") | nps.unsigned_integer_dtypes(endianness="=")
).flatmap(images_of) | images_of(np.float32, elements=st.floats(-(2.0**60), 2.0**60, width=32))


@quick
@given(image=any_number, rule=st.sampled_from(["ct", "mri"]))
def test_intensities_end_in_0_to_1(image, rule):
    scaled = apply_rule(rule, image)
    assert (scaled.dtype, scaled.shape) == (np.float32, image.shape)
    assert scaled.min() >= 0
    assert scaled.max() <= 1
    if rule == "ct":
        assert scaled.min() == 0
        constant = float(image.max()) - float(image.min()) == 0
        assert scaled.max() == pytest.approx(0 if constant else 1, abs=1e-5)


@quick
@given(
    (nps.integer_dtypes(endianness="=") | nps.unsigned_integer_dtypes(endianness="=")).flatmap(
        images_of
    )
)
def test_the_range_of_an_integer_type_becomes_0_to_1(image):
    limits = np.iinfo(image.dtype)
    scaled = apply_rule("dtype", image)
    assert scaled.dtype == np.float32
    exact = (image.astype(object) - int(limits.min)) / (int(limits.max) - int(limits.min))
    np.testing.assert_allclose(scaled, exact.astype(float), atol=1e-6)


def test_mri_is_clipped_at_its_quantiles():
    image = np.arange(1001, dtype=np.int16).reshape(7, 143)
    scaled = apply_rule("mri", image).ravel()
    assert (scaled[:26] == 0).all()
    assert (scaled[975:] == 1).all()
    assert scaled[500] == pytest.approx(0.5)


def test_uint8_stays_as_it_is():
    assert apply_rule("uint8", GREY) is GREY


def test_a_plugin_s_rule():
    assert apply_rule("numpy:asarray", FLOAT) is FLOAT


@pytest.mark.parametrize(
    ("rule", "image", "message"),
    [
        ("uint8", GREY16, "'uint8' got uint16; 'dtype' may be meant"),
        ("uint8", FLOAT, "'uint8' got float32"),
        ("dtype", FLOAT, "'dtype' got float32, which has no full range"),
        ("numpy:asarray", FLOAT * 2, r"must give float32 values in \[0, 1\]"),
        ("numpy:asarray", FLOAT * np.nan, r"must give float32 values in \[0, 1\]"),
        ("numpy:asarray", GREY, r"must give float32 values in \[0, 1\]"),
    ],
)
def test_a_rule_that_does_not_fit(rule, image, message):
    with pytest.raises(DataError, match=f"intensity rule .*{message}"):
        apply_rule(rule, image)


# Splits


@dataclass(frozen=True)
class Case:
    """All in memory."""

    id: str
    patient: str = ""
    image: Any = None
    target: Any = None


patients = st.lists(st.integers(1, 6), min_size=1, max_size=60)


def cases_of(sizes):
    """So many cases of each patient, taking turns."""
    cases = [Case(f"{p}/{i}", f"patient {p}") for p, n in enumerate(sizes) for i in range(n)]
    return sorted(cases, key=lambda case: case.id.split("/")[::-1])


@quick
@given(sizes=patients, shares=st.sampled_from([THREE_WAYS, VAL_FROM_TRAIN]))
def test_patients_are_dealt_not_cases(sizes, shares):
    cases = cases_of(sizes)
    parts = split_by_patient(cases, shares)
    assert list(parts) == list(shares)
    assert sorted(case.id for part in parts.values() for case in part) == sorted(
        case.id for case in cases
    )
    patients = [{case.patient for case in part} for part in parts.values()]
    assert sum(map(len, patients)) == len(sizes)
    for part in parts.values():
        assert part == [case for case in cases if case in part]  # in the given order
    if len(sizes) >= len(shares):
        assert all(parts.values())
    if len(sizes) >= 20:
        for name, part in parts.items():
            assert abs(len(part) - shares[name] * len(cases)) <= max(sizes)


@quick
@given(sizes=patients, data=st.data())
def test_the_order_of_the_cases_does_not_matter(sizes, data):
    cases = cases_of(sizes)
    shuffled = data.draw(st.permutations(cases))
    one, two = (split_by_patient(each, THREE_WAYS) for each in (cases, shuffled))
    assert {name: set(part) for name, part in one.items()} == {
        name: set(part) for name, part in two.items()
    }


def test_a_split_is_no_run_of_the_names():
    parts = split_by_patient(cases_of([1] * 100), THREE_WAYS)
    assert [len(part) for part in parts.values()] == [70, 10, 20]
    names = sorted(case.patient for part in parts.values() for case in part)
    places = [names.index(case.patient) for case in parts["test"]]
    assert min(places) < 20
    assert max(places) > 80
    assert split_by_patient([], THREE_WAYS) == {"train": [], "val": [], "test": []}


# Sizes

edges = st.integers(1, 3000)


@quick
@given(size=st.integers(32, 1024), shapes=st.lists(st.tuples(edges, edges), min_size=1, max_size=6))
def test_a_batch_keeps_the_mean_aspect_ratio(size, shapes):
    height, width = common_size(size, shapes)
    assert height % 32 == width % 32 == 0
    assert abs(max(height, width) - size) <= 16
    aspect = np.exp(np.mean([np.log(h / w) for h, w in shapes]))
    ideal = (size, size / aspect) if aspect > 1 else (size * aspect, size)
    for edge, wanted in zip((height, width), ideal, strict=True):
        assert abs(edge - wanted) <= 16.001 or (edge == 32 and wanted < 32)


def test_a_fixed_size_is_taken_as_it_is():
    assert common_size((100, 75), [(640, 480)]) == (100, 75)
    assert common_size(512, [(480, 640)]) == (384, 512)
    assert common_size(512, [(480, 640), (640, 480)]) == (512, 512)


@quick
@given(
    size=st.tuples(st.integers(32, 128), st.integers(32, 128)),
    dtype=st.sampled_from([np.uint8, np.float32]),
)
def test_resizing_moves_masks_boxes_and_points_along(size, dtype):
    mask = np.zeros((60, 80), np.uint8)
    mask[15:45, 20:60], mask[:3] = 7, 255
    image = ((mask == 7)[..., None].repeat(3, 2) * 250).astype(dtype)
    moved, moved_mask = resize(image, mask, size, "mask")
    assert (moved.shape, moved.dtype) == ((*size, 3), dtype)
    assert (moved_mask.shape, set(np.unique(moved_mask))) == (size, {0, 7, 255})
    assert ((moved[..., 0] > 125) == (moved_mask == 7)).mean() > 0.93
    boxes = {"boxes": np.array([[20, 15, 60, 45]], np.float32), "labels": np.array([1])}
    scaled = resize(image, boxes, size, "boxes")[1]
    height, width = size
    expected = [[width / 4, height / 4, width * 3 / 4, height * 3 / 4]]
    np.testing.assert_allclose(scaled["boxes"], expected, rtol=1e-5)
    assert scaled["boxes"].dtype == np.float32
    # Points count from pixel centers: the edge at 20 of 80 lies at 19.5.
    points = {"keypoints": np.array([[19.5, 44.5]], np.float32), "labels": np.array([1])}
    scaled = resize(image, points, size, "keypoints")[1]
    expected = [[width / 4 - 0.5, height * 3 / 4 - 0.5]]
    np.testing.assert_allclose(scaled["keypoints"], expected, rtol=1e-5)
    assert resize(image, 3, size, "none")[1] == 3
    assert resize(image, mask, (60, 80), "mask")[0] is image


# Batches


def image_of(number: int, size=(40, 48)) -> np.ndarray:
    """Constant within noise, so that it can be told by its mean: 10 + 8 x its number."""
    noise = np.random.default_rng(number).integers(-5, 6, (*size, 3))
    return (10 + 8 * number + noise).astype(np.uint8)


def make_task(name="a", label=None, geometry="none", cases=None, **fields):
    """Seven small cases, in batches of three."""
    cases = cases or [Case(f"{name}{i}", image=image_of(i), target=i % 2) for i in range(7)]
    facts = {
        "instances": Whole(size=fields.pop("size", (32, 64))),
        "intensity": "uint8",
        "augmentation": None,
        "volume_augmentation": None,
        "batch_size": 3,
    }
    label = label or Classification(["no", "yes"])
    return TaskData(name, {"train": cases, "val": cases}, label, geometry, **(facts | fields))


def mask_task(name="m"):
    cases = [
        Case(f"{name}{i}", image=image_of(i), target=np.eye(40, 48, dtype=np.uint8))
        for i in range(5)
    ]
    return make_task(
        name,
        Segmentation(["lesion"]),
        "mask",
        cases,
        augmentation="umedpt_augment_standard.profile:image_transforms",
    )


def box_task(name="b", boxes=((2, 2, 30, 30), (5, 5, 5, 20), (9, 9, 9, 9))):
    target = {"boxes": np.array(boxes, np.float32), "labels": np.zeros(len(boxes), int)}
    cases = [Case(f"{name}{i}", image=image_of(i), target=target) for i in range(4)]
    profile = "umedpt_augment_weak.profile:image_transforms"
    return make_task(name, Detection(["cell"]), "boxes", cases, augmentation=profile)


def make_instances(*tasks: TaskData, seed=0) -> Instances:
    return Instances({task.name: task for task in tasks}, seed)


def train(instances: Instances, task: str, numbers) -> list[Batch]:
    return [instances[Ticket("train", task, number)] for number in numbers]


def ids(batches: list[Batch]) -> list[str]:
    return [case for batch in batches for case in batch.ids]


def same(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[k], two[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two


def alike(one: Batch, two: Batch) -> bool:
    return all(
        same(getattr(one, field), getattr(two, field))
        for field in ("ticket", "x_BCHW", "target", "ids", "skips")
    )


def test_a_batch_has_one_size():
    sizes = [(40, 80), (80, 160), (100, 190)]
    cases = [Case(str(i), image=image_of(i, size), target=0) for i, size in enumerate(sizes)]
    task = make_task(cases=cases, size=64)
    batch = make_instances(task)[Ticket("val", "a", 0)]
    assert (batch.x_BCHW.shape, batch.x_BCHW.dtype) == ((3, 3, 32, 64), torch.uint8)
    assert (batch.ids, batch.skips, len(batch)) == (("0", "1", "2"), (), 3)
    means = batch.x_BCHW.float().mean((1, 2, 3))
    torch.testing.assert_close(means, torch.tensor([10.0, 18, 26]), rtol=0, atol=1)
    on_device = batch.to("cpu")
    assert on_device.x_BCHW.dtype == torch.float32
    torch.testing.assert_close(on_device.x_BCHW, batch.x_BCHW / 255)


def test_every_case_comes_once_a_pass_each_pass_in_its_own_order():
    found = ids(train(make_instances(make_task()), "a", range(14)))
    passes = [found[start : start + 7] for start in range(0, 42, 7)]
    assert all(sorted(each) == [f"a{i}" for i in range(7)] for each in passes)
    assert len(set(map(tuple, passes))) == 6


def test_a_batch_may_straddle_passes_and_hold_more_than_there_is():
    instances = make_instances(make_task(batch_size=3), make_task("big", batch_size=20))
    third = train(instances, "a", [2])[0]
    assert len(third) == 3
    big = train(instances, "big", [0])[0]
    counts = [big.ids.count(f"big{i}") for i in range(7)]
    assert (len(big), min(counts), max(counts)) == (20, 2, 3)


def test_the_order_depends_on_seed_and_task():
    orders = {
        tuple(ids(train(make_instances(make_task(name), seed=seed), name, range(7))))
        for name in ("a", "b")
        for seed in (0, 1)
    }
    assert len({tuple(case[1:] for case in order) for order in orders}) == 4


def test_a_case_is_augmented_differently_in_every_pass():
    instances = make_instances(mask_task())
    seen = {
        batch.x_BCHW[row].numpy().tobytes()
        for batch in train(instances, "m", range(10))
        for row, case in enumerate(batch.ids)
        if case == "m0"
    }
    assert len(seen) == 6


def test_held_out_cases_come_in_order_and_as_they_are():
    instances = make_instances(mask_task())
    batches = [instances[Ticket("val", "m", number)] for number in range(2)]
    assert ids(batches) == [f"m{i}" for i in range(5)]
    assert [len(batch) for batch in batches] == [3, 2]
    target = resize(image_of(0), np.eye(40, 48, dtype=np.uint8), (32, 64), "mask")[1]
    assert (batches[0].target[0].numpy() == target).all()
    assert alike(batches[0], instances[Ticket("val", "m", 0)])


TICKETS = [
    Ticket("train" if i % 4 else "val", task, i // 4) for i in range(8) for task in ("m", "b")
]


@pytest.fixture(scope="module")
def expected():
    instances = make_instances(mask_task(), box_task())
    return [instances[ticket] for ticket in TICKETS]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_do_not_depend_on_the_workers(workers, expected):
    torch.manual_seed(workers)
    instances = make_instances(mask_task(), box_task())
    loaded = list(make_loader(instances, TICKETS, workers))
    assert all(map(alike, loaded, expected))
    assert len(loaded) == len(expected) == 16
    assert all(batch.seconds > 0 for batch in loaded)


def test_batches_depend_neither_on_the_other_tasks_nor_on_what_was_asked_before(expected):
    alone = make_instances(mask_task())
    for ticket, batch in reversed(list(zip(TICKETS, expected, strict=True))):
        if ticket.task == "m":
            assert alike(alone[ticket], batch)


def test_loading_leaves_the_number_of_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        make_instances(make_task())[Ticket("val", "a", 0)]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_dropped_boxes_are_reported():
    batch = make_instances(box_task())[Ticket("val", "b", 0)]
    assert [(s.case, s.fatal, s.dropped) for s in batch.skips] == [
        (case, False, 2) for case in batch.ids
    ]
    assert batch.skips[0].reason == "2 unusable annotation(s) dropped"
    expected = torch.tensor([[2 * 64 / 48, 2 * 32 / 40, 30 * 64 / 48, 30 * 32 / 40]])
    torch.testing.assert_close(batch.target[0]["boxes"], expected)


class Unreadable:
    """As a plugin's reader may fail."""

    def __init__(self, name: str) -> None:
        self.id = name

    @property
    def image(self):
        raise OSError("disk on fire")


BAD = {
    "raises": (Unreadable("bad"), "OSError: disk on fire"),
    "label": (Case("bad", "", GREY, 2), "label 2 is outside the classes 0..1"),
    "type": (Case("bad", "", GREY16, 0), "intensity rule 'uint8' got uint16"),
    "channels": (Case("bad", "", GREY[..., None].repeat(4, 2), 0), "shape (36, 48, 4), not H x W"),
    "empty": (Case("bad", "", np.zeros((0, 5), np.uint8), 0), "shape (0, 5, 3), not H x W"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_case_is_left_out_and_reported(kind):
    bad, message = BAD[kind]
    good = [Case(f"good{i}", image=GREY, target=i) for i in range(2)]
    batch = make_instances(make_task(cases=[good[0], bad, good[1]]))[Ticket("val", "a", 0)]
    assert batch.ids == ("good0", "good1")
    assert batch.target.tolist() == [0, 1]
    assert len(batch.x_BCHW) == 2
    ((case, reason, fatal, dropped),) = batch.skips
    assert (case, fatal, dropped) == ("bad", True, 0)
    assert message in reason


def test_a_batch_of_bad_cases_only_is_empty():
    task = make_task(cases=[Unreadable(str(number)) for number in range(3)])
    batch = make_instances(task)[Ticket("train", "a", 0, ends_step=True)]
    assert (len(batch), batch.target) == (0, None)
    assert sorted(skip.case for skip in batch.skips) == ["0", "1", "2"]
    assert batch.ticket.ends_step
    assert len(batch.to("cpu")) == 0


def test_a_case_may_name_its_own_intensity_rule():
    @dataclass(frozen=True)
    class CT(Case):
        intensity: str = "ct"

    cases = [CT("ct", image=GREY16, target=0)]
    batch = make_instances(make_task(cases=cases, size=(36, 48)))[Ticket("val", "a", 0)]
    assert batch.x_BCHW.dtype == torch.float32
    assert (batch.x_BCHW.min(), batch.x_BCHW.max()) == (0, 1)
    assert torch.equal(batch.to("cpu").x_BCHW, batch.x_BCHW)


@pytest.mark.filterwarnings("ignore:Argument:UserWarning")
def test_a_profile_that_does_not_compose(monkeypatch):
    import albumentations as A

    def wrong():
        return [A.GaussNoise(var_limit=(1, 2))]

    monkeypatch.setattr("umedpt_core.data.augment.resolve", lambda _: wrong)
    with pytest.raises(ConfigError, match="augmentation 'some:profile' does not compose"):
        Augmentation("some:profile", "none")


def test_without_a_profile_nothing_changes():
    image, target = Augmentation(None, "mask")(RGB, GREY, seed=3)
    assert (image == RGB).all()
    assert (target == GREY).all()


def test_keypoints_are_pixel_centers_that_stay_inside():
    image = np.zeros((64, 64, 3), np.uint8)
    target = {"keypoints": np.array([[0, 0], [63, 20]], np.float32), "labels": np.array([0, 1])}
    _, small = resize(image, target, (32, 32), "keypoints")
    assert small["keypoints"].tolist() == [[0, 0], [31, 9.75]]
    _, large = resize(image, target, (128, 128), "keypoints")
    assert large["keypoints"].tolist() == [[0.5, 0.5], [126.5, 40.5]]
