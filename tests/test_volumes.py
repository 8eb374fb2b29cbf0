"""Volumes: every format and orientation gives the same voxels in the same place, or an error."""

from __future__ import annotations

import gzip
import itertools
import os
import pickle
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from pydicom import uid

from umedpt_core import write_dicom
from umedpt_core.data import volumes
from umedpt_core.data.resample import resample_onto
from umedpt_core.data.volumes import Volume, VolumeCase, read_volume, same_grid, write_volume
from umedpt_core.errors import ConfigError, DataError

ORIENTATIONS = [
    "".join(letters)
    for axes in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*axes)
]
RNG = np.random.default_rng(5)
VOXELS = RNG.integers(-1000, 3000, (4, 5, 6), dtype=np.int16)
AFFINE = np.array(  # i: 3 mm to inferior, j: 2 mm to posterior, k: 0.5 mm to left
    [[0, 0, -0.5, 80], [0, -2, 0, 12.5], [-3, 0, 0, 40], [0, 0, 0, 1]], float
)
VOLUME = Volume(VOXELS, AFFINE)
C, S = np.cos(0.3), np.sin(0.3)
OBLIQUE = np.array([[C, -S, 0, 0], [S, C, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ AFFINE


def write_as(path: Path, codes: str, volume: Volume = VOLUME, dtype: Any = np.int16) -> Path:
    """The same volume with its axes stored in another order or direction."""
    turns = ornt_transform(io_orientation(volume.affine), axcodes2ornt(codes))
    affine = volume.affine @ inv_ornt_aff(turns, volume.voxels.shape[:3])
    image = nibabel.Nifti1Image(apply_orientation(volume.voxels, turns).astype(dtype), affine)
    nibabel.save(image, path)
    return path


def write_meta(path: Path, volume: Volume = VOLUME, **options: Any) -> Path:
    """As ITK holds it: x, y, z to left, posterior and superior."""
    image = sitk.GetImageFromArray(volume.voxels[::-1])
    last = np.array([volume.voxels.shape[0] - 1, 0, 0, 1])
    lps = np.diag([-1, -1, 1])
    edges = np.linalg.norm(volume.affine[:3, :3], axis=0)
    i, j, k = (lps @ volume.affine[:3, :3] / edges).T
    image.SetSpacing([float(each) for each in edges[::-1]])
    image.SetOrigin((lps @ (volume.affine @ last)[:3]).tolist())
    image.SetDirection(np.stack([k, j, -i], axis=1).ravel().tolist())
    sitk.WriteImage(image, str(path), **options)
    return path


def write_series(
    folder: Path,
    volume: Volume = VOLUME,
    *,
    compression: Any = None,
    change: Callable[[int], dict[str, Any]] = lambda number: {},
    **tags: Any,
) -> Path:
    """A series of axial slices; the files' names say nothing about their order.

    Args:
        folder: Is made.
        volume: `voxels` are what is stored, before slope and intercept.
        compression: As :func:`write_dicom` has it.
        change: Header entries of one slice.
        tags: Header entries of all slices.
    """
    lps = np.diag([-1, -1, 1, 1]) @ volume.affine
    edges = np.linalg.norm(lps[:3, :3], axis=0)
    shared = {
        "SOPClassUID": uid.CTImageStorage,
        "SeriesInstanceUID": uid.generate_uid(entropy_srcs=[str(folder)]),
        "SeriesDescription": "T1 axial",
        "PixelSpacing": edges[1:].tolist(),
        "SliceThickness": float(edges[0]),
        "ImageOrientationPatient": [
            *(lps[:3, 2] / edges[2]).round(9).tolist(),
            *(lps[:3, 1] / edges[1]).round(9).tolist(),
        ],
    }
    for number, pixels in enumerate(volume.voxels):
        position = (lps @ [number, 0, 0, 1])[:3].round(6).tolist()
        header = shared | {"ImagePositionPatient": position} | tags | change(number)
        write_dicom(folder / f"{number * 7 % 11}.dcm", pixels, compression=compression, **header)
    return folder


def assert_same(volume: Volume, expected: Volume = VOLUME) -> None:
    np.testing.assert_array_equal(volume.voxels, expected.voxels)
    np.testing.assert_allclose(volume.affine, expected.affine, atol=1e-4)
    assert volume.voxels.flags.c_contiguous
    assert volume.voxels.dtype.isnative
    assert volume.affine.dtype == np.float64


# Orientation


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("affine", [AFFINE, OBLIQUE], ids=["straight", "oblique"])
def test_every_stored_orientation_reads_back_the_same(codes, affine, tmp_path):
    volume = Volume(VOXELS, affine)
    assert_same(read_volume(write_as(tmp_path / "v.nii", codes, volume)), volume)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    st.sampled_from(ORIENTATIONS),
    st.tuples(*[st.integers(1, 5)] * 3),
    st.tuples(*[st.floats(0.1, 9)] * 3),
    st.tuples(*[st.floats(-0.6, 0.6)] * 3),
    st.integers(0, 10**6),
)
def test_a_marked_voxel_stays_where_it_is_in_the_patient(
    tmp_path_factory, codes, shape, edges, angles, mark
):
    place = np.unravel_index(mark % np.prod(shape), shape)
    voxels = np.zeros(shape, np.uint8)
    voxels[place] = 1
    affine = np.eye(4)
    for (a, b), angle in zip([(0, 1), (0, 2), (1, 2)], angles, strict=True):
        turn = np.eye(4)
        turn[[a, a, b, b], [a, b, a, b]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        affine = affine @ turn
    affine = affine @ inv_ornt_aff(axcodes2ornt(codes), shape)
    affine[:3, :3] *= edges
    affine[:3, 3] = 7, -8, 9
    path = tmp_path_factory.mktemp("mark") / "v.nii.gz"
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    volume = read_volume(path)
    assert nibabel.aff2axcodes(volume.affine) == volumes.AXES
    (found,) = np.argwhere(volume.voxels)
    np.testing.assert_allclose(
        volume.affine @ [*found, 1], affine @ [*place, 1], rtol=1e-4, atol=1e-4
    )
    assert sorted(volume.spacing) == pytest.approx(sorted(edges), rel=1e-4)


# Formats


@pytest.mark.parametrize("affine", [AFFINE, OBLIQUE], ids=["straight", "oblique"])
def test_formats_agree(affine, tmp_path):
    voxels = np.tile(VOXELS, (1, 8, 8))  # GDCM reads no run lengths of very small images
    volume = Volume(voxels, affine)
    folder = tmp_path / "mit Umlauten äöü ß"
    folder.mkdir()
    write_volume(folder / "Schädel 1.nii.gz", voxels, volume)
    write_meta(folder / "Schädel 1.mha", volume)
    write_meta(folder / "Schädel 2.mha", volume, useCompression=True)
    write_meta(folder / "Schädel 3.mhd", volume)
    write_series(folder / "Schädel 1", volume)
    write_series(folder / "Schädel 2", volume, compression="rle")
    found = [path for path in sorted(folder.iterdir()) if path.suffix != ".raw"]
    assert len(found) == 6
    for path in found:
        assert_same(read_volume(path), volume)
        assert read_volume(path).voxels.dtype == np.int16


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, ">i2", np.float32, np.float64])
def test_values_keep_their_integer_type_and_floats_become_float32(dtype, tmp_path):
    volume = Volume(abs(VOXELS) % 200, AFFINE)
    path = write_as(tmp_path / "v.nii.gz", "RAS", volume, dtype)
    kept = np.float32 if np.dtype(dtype).kind == "f" else np.dtype(dtype).newbyteorder("=")
    assert_same(read_volume(path), volume)
    assert read_volume(path).voxels.dtype == kept


def test_slope_and_intercept_of_a_nifti_apply(tmp_path):
    image = nibabel.Nifti1Image(VOXELS, AFFINE)
    image.header.set_slope_inter(0.25, -3)
    image.to_filename(tmp_path / "v.nii.gz")
    raw = nibabel.load(tmp_path / "v.nii.gz").dataobj.get_unscaled()
    volume = read_volume(tmp_path / "v.nii.gz")
    assert volume.voxels.dtype == np.float32
    np.testing.assert_allclose(volume.voxels, raw * 0.25 - 3)


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 1, 1)])
def test_a_2d_image_has_depth_1(shape, tmp_path):
    voxels = np.arange(30, dtype=np.int16).reshape(shape)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-1, -1, 1, 1])), tmp_path / "v.nii")
    assert_same(
        read_volume(tmp_path / "v.nii"),
        Volume(
            voxels.reshape(5, 6).T[None],
            np.array([[0, 0, -1, 0], [0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]]),
        ),
    )


# Sequences


def test_files_and_a_fourth_dimension_become_channels(tmp_path):
    second = Volume(VOXELS.astype(np.float32) / 2, AFFINE)
    paths = [
        write_as(tmp_path / "1.nii.gz", "RAS"),
        write_meta(tmp_path / "2.mha", second),
        write_series(tmp_path / "3"),
    ]
    expected = np.stack([VOXELS, second.voxels, VOXELS], axis=-1)
    volume = read_volume(*paths)
    assert_same(volume, Volume(expected, AFFINE))
    assert volume.voxels.dtype == np.float32
    four = write_as(tmp_path / "4.nii.gz", "RPS", Volume(expected, AFFINE), np.float32)
    assert_same(read_volume(four), Volume(expected, AFFINE))
    assert read_volume(four, paths[0]).voxels.shape == (4, 5, 6, 4)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (Volume(VOXELS[:, :-1], AFFINE), "the shapes are 4 x 5 x 6 and 4 x 4 x 6"),
        (VOLUME, ""),
        (Volume(VOXELS, AFFINE @ np.diag([1, 1, 1.1, 1])), "up to 0.5 voxels apart"),
        (Volume(VOXELS, OBLIQUE), "voxels apart"),
    ],
)
def test_sequences_lie_on_one_grid(other, reason, tmp_path):
    first, second = write_as(tmp_path / "a.nii", "RAS"), write_as(tmp_path / "b.nii", "IPL", other)
    assert reason in same_grid(VOLUME, other)
    if not reason:
        assert read_volume(first, second).voxels.shape == (4, 5, 6, 2)
        return
    with pytest.raises(DataError, match=rf"b\.nii: .* grid of .*a\.nii.*{reason}"):
        read_volume(first, second)


def test_rounded_headers_are_still_one_grid():
    """0.7031 for 0.703125 is common, and no half voxel off."""
    large = Volume(np.zeros((2, 512, 512), np.uint8), np.diag([3, 0.703125, 0.703125, 1]))
    rounded = Volume(large.voxels, np.diag([3, 0.7031, 0.7031, 1]))
    assert same_grid(large, rounded) == ""
    assert same_grid(large, Volume(large.voxels, np.diag([3, 0.7, 0.7, 1]))) != ""


@pytest.mark.parametrize("nearest", [False, True])
def test_a_sequence_on_another_grid_comes_to_lie_as_itk_lays_it(nearest, tmp_path):
    """Oblique, coarser in the plane, of other slices, and smaller than the target on one side."""
    about = AFFINE @ [1.5, 2, 2.5, 1]
    affine = OBLIQUE @ np.diag([0.5, 0.6, 0.5, 1])
    affine[:3, 3] = about[:3] - affine[:3, :3] @ [4.1, 5.2, 7.3]
    like = Volume(np.zeros((9, 10, 13), np.int16), affine)
    path = write_meta(tmp_path / "coarse.mha")
    method = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
    target = sitk.ReadImage(str(write_meta(tmp_path / "fine.mha", like)))
    itk = sitk.Resample(
        sitk.ReadImage(str(path), sitk.sitkFloat32), target, sitk.Transform(), method, 0.0
    )
    sitk.WriteImage(itk, str(tmp_path / "itk.mha"))
    expected = read_volume(tmp_path / "itk.mha")
    moved = resample_onto(read_volume(path), like, nearest=nearest)
    assert same_grid(moved, expected) == ""
    assert moved.voxels.dtype == (np.int16 if nearest else np.float32)
    places = np.stack([*np.indices(like.voxels.shape), np.ones(like.voxels.shape)], axis=-1)
    inside = (places @ np.linalg.solve(AFFINE, like.affine).T)[..., :3]
    sure = (np.abs(inside % 1 - 0.5) > 1e-3).all(-1)  # halves may go either way
    assert sure.mean() > 0.9
    np.testing.assert_allclose(moved.voxels[sure], expected.voxels[sure], atol=0.5)
    assert 100 < np.count_nonzero(moved.voxels) < 0.9 * moved.voxels.size


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32])
def test_on_its_own_grid_a_volume_stays_as_it_is(dtype):
    voxels = (np.abs(np.stack([VOXELS, VOXELS // 2], axis=-1)) % 250).astype(dtype)
    voxels.flags.writeable = False
    moved = resample_onto(Volume(voxels, AFFINE), VOLUME)
    assert_same(moved, Volume(voxels, AFFINE))
    assert moved.voxels.dtype == np.float32
    shifted = Volume(VOXELS, AFFINE @ np.array(np.diag([1.0, 1, 1, 1]) + np.eye(4, k=3) * 0.4))
    masked = resample_onto(Volume(voxels[..., 0], AFFINE), shifted, nearest=True)
    assert_same(masked, Volume(voxels[..., 0], shifted.affine))
    assert masked.voxels.dtype == dtype


def test_volumes_apart_are_an_error():
    far = AFFINE.copy()
    far[0, 3] += 100
    with pytest.raises(DataError, match="do not overlap"):
        resample_onto(VOLUME, Volume(VOXELS, far))


# DICOM


@pytest.mark.parametrize(
    "sop_class",
    [
        "CTImageStorage",
        "MRImageStorage",
        "PositronEmissionTomographyImageStorage",
        "SecondaryCaptureImageStorage",
    ],
)
@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"),
    [(1, 0, np.int16), (2, -1024, np.int32), (0.5, 10, np.float32)],
)
def test_rescale_applies_to_every_kind_of_image(sop_class, slope, intercept, dtype, tmp_path):
    volume = read_volume(
        write_series(
            tmp_path / "s",
            SOPClassUID=getattr(uid, sop_class),
            RescaleSlope=slope,
            RescaleIntercept=intercept,
        )
    )
    assert_same(volume, Volume(VOXELS * np.float64(slope) + intercept, AFFINE))
    assert volume.voxels.dtype == dtype


def test_rescale_may_differ_between_slices(tmp_path):
    """As in PET."""

    slopes = [1, 0.5, 3, 0.125]
    folder = write_series(tmp_path / "s", change=lambda number: {"RescaleSlope": slopes[number]})
    assert_same(read_volume(folder), Volume(VOXELS * np.reshape(slopes, (4, 1, 1)), AFFINE))


def test_ct_in_12_bits_is_read_as_int16(tmp_path):
    stored = Volume((VOXELS + 1000).astype(np.uint16), AFFINE)
    path = write_series(tmp_path / "s", stored, RescaleIntercept=-1024, BitsStored=12)
    volume = read_volume(path)
    assert volume.voxels.dtype == np.int16
    assert_same(volume, Volume(VOXELS - 24, AFFINE))


@pytest.mark.parametrize("slope", [1, 0.5])
def test_monochrome1_is_inverted_over_the_volume(slope, tmp_path):
    wide = VOXELS.copy()
    wide.flat[:2] = -32768, 32767  # the span overflows the type
    path = write_series(
        tmp_path / "s",
        Volume(wide, AFFINE),
        RescaleSlope=slope,
        PhotometricInterpretation="MONOCHROME1",
    )
    assert_same(read_volume(path), Volume((-1 - wide.astype(float)) * slope, AFFINE))


@pytest.mark.parametrize(("thickness", "edge"), [(5, 5), (None, 1)])
def test_a_single_slice_is_as_thick_as_it_says(thickness, edge, tmp_path):
    path = write_series(tmp_path / "s", Volume(VOXELS[:1], AFFINE), SliceThickness=thickness)
    volume = read_volume(path)
    assert volume.voxels.shape == (1, 5, 6)
    assert volume.spacing == pytest.approx((edge, 2, 0.5))


def test_files_that_are_no_dicom_image_are_ignored(tmp_path):
    folder = write_series(tmp_path / "s")
    (folder / "LIESMICH.txt").write_text("nothing")
    (folder / "empty").touch()
    (folder / "more").mkdir()
    report = write_series(tmp_path / "r", Volume(VOXELS[:1], AFFINE)) / "0.dcm"
    header = pydicom.dcmread(report)
    for tag in ("Rows", "Columns", "PixelData"):
        delattr(header, tag)
    header.SeriesInstanceUID = "1.2.9"
    header.save_as(folder / "report.dcm")
    assert_same(read_volume(folder))


def test_a_tilted_gantry_shears_the_affine(tmp_path):
    sheared = AFFINE.copy()
    sheared[1, 0] = 0.8
    assert_same(
        read_volume(write_series(tmp_path / "s", Volume(VOXELS, sheared))), Volume(VOXELS, sheared)
    )


def set_tag(tag: str, value: Any, number: int = 2) -> Callable[[int], dict[str, Any]]:
    return lambda slice_number: {tag: value} if slice_number == number else {}


LPS = np.diag([-1, -1, 1, 1]) @ AFFINE
POSITION = (LPS @ [1, 0, 0, 1])[:3].tolist()
SHIFTED = (LPS @ [2, 5, 0, 1])[:3].tolist()
TURNED = [1, 0, 0, 0, 0, -1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_tag("ImagePositionPatient", POSITION), r"7\.dcm and 3\.dcm|3\.dcm and 7\.dcm"),
        (set_tag("SeriesInstanceUID", "1.2.77"), r"2 series: T1 axial \(.*files: 3\).*1\.2\.77"),
        (set_tag("ImageOrientationPatient", TURNED), "differ in ImageOrientationPatient"),
        (set_tag("PixelSpacing", [2, 0.6]), "differ in PixelSpacing"),
        (set_tag("PhotometricInterpretation", "MONOCHROME1"), "differ in Photometric"),
        (set_tag("ImagePositionPatient", None), "lacks ImagePositionPatient"),
        (set_tag("PhotometricInterpretation", "RGB", 0), "pixels are RGB"),
        (set_tag("ImagePositionPatient", SHIFTED), r"3\.dcm is shifted by 10 mm"),
        (set_tag("ModalityLUTSequence", [pydicom.Dataset()]), "modality LUT"),
        (set_tag("NumberOfFrames", 4), "multi-frame.*dcm2niix"),
    ],
)
def test_slices_that_are_no_volume_are_named(change, message, tmp_path):
    folder = write_series(tmp_path / "s", change=change)
    with pytest.raises(DataError, match=message) as raised:
        read_volume(folder)
    assert str(folder) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_slice_is_noticed(tmp_path):
    folder = write_series(tmp_path / "s")
    (folder / "3.dcm").unlink()  # slice 2
    with pytest.raises(DataError, match=r"10\.dcm and 7\.dcm are 6 mm apart, other slices 3"):
        read_volume(folder)


def test_a_truncated_slice_is_named(tmp_path):
    path = write_series(tmp_path / "s") / "3.dcm"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=f"{path}: cannot be read"):
        read_volume(tmp_path / "s")


# Bad files


def nifti(**fields: Any) -> bytes:
    """A file whose header was damaged after it was written."""
    image = nibabel.Nifti1Image(VOXELS, AFFINE)
    content = bytearray(image.to_bytes())
    header = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    for field, value in fields.items():
        header[field] = value
    return header.binaryblock + bytes(content[348:])


def array_file(array: np.ndarray, affine: np.ndarray = AFFINE) -> bytes:
    return bytes(nibabel.Nifti1Image(array, affine).to_bytes())


def with_nans() -> np.ndarray:
    array = VOXELS.astype(np.float32)
    array.flat[:3] = np.nan, np.inf, -np.inf
    return array


GOOD = nifti()
ZIPPED = gzip.compress(GOOD)
FLIPPED = ZIPPED[:-8] + bytes([ZIPPED[-8] ^ 1]) + ZIPPED[-7:]
NO_SFORM = {"sform_code": 0, "qform_code": 0}
BAD = {
    "missing": ("v.nii", None, "no such file"),
    "empty": ("v.nii", b"", "no NIfTI header"),
    "garbage": ("v.nii", b"garbage" * 200, "no NIfTI header"),
    "garbage zipped": ("v.nii.gz", gzip.compress(b"garbage" * 200), "no NIfTI header"),
    "not zipped": ("v.nii.gz", GOOD, "[Nn]ot a gzipped file"),
    "truncated": ("v.nii", GOOD[:-50], "cannot be read"),
    "truncated gzip": ("v.nii.gz", ZIPPED[:-60], "end-of-stream"),
    "truncated in the header": ("v.nii.gz", ZIPPED[:30], "cannot be read"),
    "wrong checksum": ("v.nii.gz", FLIPPED, "CRC"),
    "another kind": ("v.png", b"", r"give a \.nii, .*DICOM"),
    "negative extent": ("v.nii", nifti(dim=[3, -4, 5, 6, 1, 1, 1, 1]), "none empty"),
    "no extent": ("v.nii", nifti(dim=[3, 4, 0, 6, 1, 1, 1, 1]), "none empty"),
    "no spacing": ("v.nii", nifti(pixdim=[1, 0, 1, 1, 0, 0, 0, 0], **NO_SFORM), "spacing"),
    "spacing NaN": ("v.nii", nifti(pixdim=[1, 1, np.nan, 1, 0, 0, 0, 0]), "spacing"),
    "affine zero": ("v.nii", nifti(srow_x=0, srow_y=0, srow_z=0, sform_code=1), "affine is zero"),
    "affine NaN": ("v.nii", nifti(srow_x=np.nan, sform_code=1), "not finite"),
    "affine singular": ("v.nii", nifti(srow_x=[0, -2, 0, 1], sform_code=1), "singular"),
    "unknown type": ("v.nii", nifti(datatype=77), "data code 77"),
    "complex": ("v.nii", array_file(VOXELS.astype(np.complex64)), "one real number"),
    "5D": ("v.nii", array_file(np.zeros((2, 3, 4, 1, 3), np.uint8)), "2 x 3 x 4 x 1 x 3"),
    "not finite": ("v.nii.gz", gzip.compress(array_file(with_nans())), "3 of 120 voxels are NaN"),
    "meta garbage": ("v.mha", b"garbage" * 200, "cannot be read"),
    "meta without data": ("v.mhd", b"ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\n"
                          b"ElementType = MET_SHORT\nElementDataFile = no.raw\n", "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_ends_in_one_line_that_names_it(case, tmp_path):
    name, content, message = BAD[case]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        read_volume(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (b"ElementSpacing = 0.5", b"ElementSpacing = 0.0", "affine is zero"),
        (b"TransformMatrix = 1", b"TransformMatrix = 0", "affine is zero"),
        (b"DimSize = 6 5 4", b"DimSize = 6 5 5", "cannot be read"),
        (b"NDims = 3\n", b"NDims = 3\nElementNumberOfChannels = 3\n", "vector of 16"),
    ],
)
def test_a_bad_metaimage_ends_in_one_line_that_names_it(before, after, message, tmp_path):
    path = write_meta(tmp_path / "v.mha")
    content = path.read_bytes()
    assert before in content
    path.write_bytes(content.replace(before, after))
    with pytest.raises(DataError, match=message) as raised:
        read_volume(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert not re.search(r"0x|\n|Success", str(raised.value))


def test_a_folder_without_dicom_is_an_error(tmp_path):
    with pytest.raises(DataError, match="holds no DICOM images"):
        read_volume(tmp_path)


def test_a_volume_larger_than_memory_fails_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "v.nii.gz"
    path.write_bytes(gzip.compress(nifti(dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])))
    with pytest.raises(DataError, match=r"takes 914709\.\d GB, this machine has \d+\.\d GB"):
        read_volume(path)
    good = [write_as(tmp_path / f"{n}.nii", "RAS") for n in range(2)]
    monkeypatch.setattr(volumes, "physical_memory", lambda: VOXELS.size * 26)
    read_volume(good[0])
    with pytest.raises(DataError, match="of memory"):
        read_volume(*good)


def test_a_missing_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    (tmp_path / "v.nii").touch()
    with pytest.raises(ConfigError, match=re.escape("pip install 'umedpt-core[volumes]'")):
        read_volume(tmp_path / "v.nii")


# Writing and cases


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_what_is_written_lies_on_the_grid_of_its_volume(dtype, tmp_path):
    like = Volume(np.zeros((4, 5, 6, 2), np.int16), OBLIQUE)
    array = (abs(VOXELS) % 250).astype(dtype)
    write_volume(tmp_path / "v.nii.gz", array, like)
    volume = read_volume(tmp_path / "v.nii.gz")
    assert_same(volume, Volume(array, OBLIQUE))
    assert volume.voxels.dtype == dtype
    assert same_grid(like, volume) == ""


@pytest.mark.parametrize("array", [VOXELS.astype(np.int64), VOXELS[1:]])
def test_an_array_that_does_not_fit_is_not_written(array, tmp_path):
    with pytest.raises(DataError, match=r"v\.nii\.gz"):
        write_volume(tmp_path / "v.nii.gz", array, VOLUME)
    assert not any(tmp_path.iterdir())


def test_a_float64_that_float32_cannot_hold_is_not_finite(tmp_path):
    path = write_as(tmp_path / "v.nii", "RAS", Volume(np.full((2, 2, 2), 1e300), AFFINE), float)
    with pytest.warns(RuntimeWarning), pytest.raises(DataError, match="8 of 8 voxels"):
        read_volume(path)


def test_a_case_pickles_small_and_loads_when_asked(tmp_path):
    image, mask = tmp_path / "v.nii", tmp_path / "m.nii"
    case = VolumeCase("1", "p", (image,), partial(read_volume, mask))
    assert len(pickle.dumps(case)) < 1000
    write_as(image, "RAS")
    write_as(mask, "LPI", Volume(VOXELS > 0, AFFINE), np.uint8)
    case = pickle.loads(pickle.dumps(case))  # noqa: S301
    assert_same(case.image)
    assert_same(case.target, Volume(VOXELS > 0, AFFINE))
    assert VolumeCase("1", "p", (image,), 3).target == 3


@pytest.mark.skipif("UMEDPT_TEST_DATA" not in os.environ, reason="UMEDPT_TEST_DATA is not set")
def test_real_hippocampus_volumes_read_with_their_masks():
    root = Path(os.environ["UMEDPT_TEST_DATA"]) / "msd" / "Task04_Hippocampus"
    paths = sorted((root / "imagesTr").glob("hippocampus_*.nii.gz"))[:8]
    assert paths
    for path in paths:
        image, mask = read_volume(path), read_volume(root / "labelsTr" / path.name)
        assert same_grid(image, mask) == ""
        assert image.spacing == (1, 1, 1)
        assert set(np.unique(mask.voxels)) == {0, 1, 2}
        anterior, posterior = (np.argwhere(mask.voxels == each)[:, 1].mean() for each in (1, 2))
        assert anterior < posterior  # axis 1 runs to posterior
