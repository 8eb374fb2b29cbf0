"""DICOM series: one folder is one volume. Headers by pydicom, pixels by GDCM (SimpleITK)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, DataError, UmedptError

_SHARED = (  # what all slices of a volume have in common
    "Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "PhotometricInterpretation"
)  # fmt: skip
_OTHERS = (
    "SeriesInstanceUID", "SeriesDescription", "ImagePositionPatient", "NumberOfFrames",
    "SliceThickness", "RescaleSlope", "RescaleIntercept", "BitsStored", "PixelRepresentation",
    "ModalityLUTSequence",
)  # fmt: skip
_INTEGERS = (np.uint8, np.int16, np.uint16, np.int32)
_UNEVEN = 0.05  # of the distance between slices; positions are rounded decimals


class Stored(NamedTuple):
    """What a header says; indices are x, y, z and perhaps sequences, as NIfTI has them."""

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    read: Callable[[], NDArray[Any]]


def library(name: str) -> Any:
    """Import one of the libraries that volumes need.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{name} is needed for volumes and not installed; pip install 'umedpt-core[volumes]'"
        ) from error


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn what libraries raise on a damaged file, which is of many kinds, into a DataError."""
    try:
        yield
    except (UmedptError, MemoryError):
        raise
    except Exception as error:
        # ITK adds where in its sources, addresses, and an errno that says "Success"
        noise = r".*ERROR: (\w+\(0x\w+\): )?| Reason: .*"
        reason = re.sub(noise, "", " ".join(str(error).split())) or type(error).__name__
        raise DataError(f"{path}: cannot be read ({reason}); replace the file") from error


def open_series(folder: Path) -> Stored:
    """Read the headers of a series and check that its slices are one volume.

    Slices are sorted by position along the normal of their plane, not by name or number. A slice
    that is missing at either end cannot be noticed. A tilted gantry gives a sheared affine.

    Args:
        folder: Holds the files of one series. Files that are no DICOM image are ignored.

    Returns:
        The shape (columns, rows, slices); the affine from such indices to RAS, in mm; and a
        function that reads the voxels: rescaled by the slope and intercept of each slice, as
        integers where these are integers, else float32; MONOCHROME1 inverted over the volume's
        range, so that larger is brighter.

    Raises:
        DataError: There is no series, or several, or slices are missing, double or do not fit.
    """
    headers = _headers(folder)
    _check_alike(folder, headers)
    names, positions = _sorted_by_position(folder, headers)
    first = headers[names[0]]
    row_mm, column_mm = map(float, first.PixelSpacing)
    directions = np.reshape(np.array(first.ImageOrientationPatient, float), (2, 3))
    if len(names) > 1:
        step = (positions[-1] - positions[0]) / (len(names) - 1)
    else:
        step = np.cross(*directions) * (float(first.get("SliceThickness") or 0) or 1.0)
    lps = np.eye(4)
    lps[:3] = np.stack(
        [directions[0] * column_mm, directions[1] * row_mm, step, positions[0]], axis=1
    )
    shape = (int(first.Columns), int(first.Rows), len(names))
    read = partial(
        read_values,
        [folder / name for name in names],
        value_type(headers.values()),
        first.PhotometricInterpretation == "MONOCHROME1",
    )
    return Stored(shape, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps, read)


def _headers(folder: Path) -> dict[str, Any]:
    """The headers of the one series, by file name."""
    pydicom = library("pydicom")
    series: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.iterdir()):
        if not path.is_file():
            continue
        with damage_named(path), suppress(pydicom.errors.InvalidDicomError):
            tags = [*_SHARED, *_OTHERS]
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
            if "Rows" in header:  # else a DICOMDIR, a report, a structure set
                series.setdefault(str(header.SeriesInstanceUID), {})[path.name] = header
    if not series:
        raise DataError(f"{folder}: holds no DICOM images; name the folder with the slices")
    if len(series) > 1:
        found = "; ".join(
            f"{next(iter(each.values())).get('SeriesDescription') or 'no description'}"
            f" ({uid}, files: {len(each)})"
            for uid, each in series.items()
        )
        raise DataError(f"{folder}: holds {len(series)} series: {found}; keep one a folder")
    return next(iter(series.values()))


def _check_alike(folder: Path, headers: dict[str, Any]) -> None:
    first = next(iter(headers))
    for name, header in headers.items():
        if int(header.get("NumberOfFrames") or 1) > 1:
            raise DataError(
                f"{folder / name}: a multi-frame file, which is not understood;"
                " convert it to NIfTI, for example with dcm2niix"
            )
        lacking = [
            tag for tag in (*_SHARED, "ImagePositionPatient") if header.get(tag) in (None, "")
        ]
        if lacking:
            raise DataError(
                f"{folder / name}: lacks {', '.join(lacking)}, so it has no place in a volume;"
                " remove it from the folder"
            )
        if header.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
            raise DataError(
                f"{folder / name}: pixels are {header.PhotometricInterpretation}, a volume needs"
                " MONOCHROME1 or MONOCHROME2; read colour as 2D images"
            )
        if "ModalityLUTSequence" in header:
            raise DataError(
                f"{folder / name}: values need a modality LUT, which is not understood;"
                " convert the series to NIfTI"
            )
        for tag in _SHARED:
            if not _alike(header[tag].value, headers[first][tag].value):
                raise DataError(
                    f"{folder}: {first} and {name} differ in {tag} ({headers[first][tag].value}"
                    f" and {header[tag].value}), so they are no volume; keep one kind of slice"
                )


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, (str, int)):
        return bool(one == other)
    return len(one) == len(other) and np.allclose(
        np.array(one, float), np.array(other, float), rtol=1e-3, atol=1e-3
    )


def _sorted_by_position(
    folder: Path, headers: dict[str, Any]
) -> tuple[list[str], NDArray[np.float64]]:
    """Names and positions (N x 3, mm, LPS) from the first slice to the last."""
    first = next(iter(headers.values()))
    normal = np.cross(*np.reshape(np.array(first.ImageOrientationPatient, float), (2, 3)))
    places = {name: np.array(each.ImagePositionPatient, float) for name, each in headers.items()}
    names = sorted(places, key=lambda name: (float(places[name] @ normal), name))
    positions = np.stack([places[name] for name in names])
    gaps = np.diff(positions @ normal)
    if len(gaps):
        same = int(gaps.argmin())
        if gaps[same] < 0.01 * float(min(first.PixelSpacing)):
            raise DataError(
                f"{folder}: {names[same]} and {names[same + 1]} lie at the same position (a"
                " duplicate, or several time points or contrasts); keep one volume a folder"
            )
        usual = float(np.quantile(gaps, 0.5, method="lower"))
        wide = int(np.abs(gaps - usual).argmax())
        if abs(gaps[wide] - usual) > _UNEVEN * usual:
            raise DataError(
                f"{folder}: {names[wide]} and {names[wide + 1]} are {gaps[wide]:.4g} mm apart,"
                f" other slices {usual:.4g} mm; a slice is missing or does not belong here"
            )
        even = np.linspace(positions[0], positions[-1], len(names))
        astray = np.linalg.norm(positions - even, axis=1)
        if astray.max() > usual:
            raise DataError(
                f"{folder}: {names[int(astray.argmax())]} is shifted by {astray.max():.4g} mm"
                " within its plane; remove it or convert the series to NIfTI"
            )
    return names, positions


def value_type(headers: Iterable[Any]) -> type[np.generic]:
    """The smallest integer type that holds all values that the headers allow, else float32."""
    low, high = 0.0, 0.0
    for header in headers:
        slope = float(header.get("RescaleSlope") or 1)
        intercept = float(header.get("RescaleIntercept") or 0)
        if not (slope.is_integer() and intercept.is_integer()):
            return np.float32
        bits, signed = int(header.get("BitsStored", 16)), int(header.get("PixelRepresentation", 0))
        stored = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        ends = [slope * end + intercept for end in stored]
        low, high = min(low, *ends), max(high, *ends)
    fitting = [t for t in _INTEGERS if np.iinfo(t).min <= low and high <= np.iinfo(t).max]
    return fitting[0] if fitting else np.float32


def read_values(paths: Sequence[Path], dtype: type[np.generic], inverted: bool) -> NDArray[Any]:
    """Columns x rows x files of rescaled values, inverted over their range if asked to."""
    # One by one, as slope and intercept may differ.
    voxels = np.stack([read_pixels(path, dtype, inverted) for path in paths]).transpose(2, 1, 0)
    return invert(voxels) if inverted else voxels


def read_pixels(path: Path, dtype: type[np.generic], inverted: bool) -> NDArray[Any]:
    """H x W of rescaled values; where they are inverted ones, still as they are stored."""
    sitk = library("SimpleITK")
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    with damage_named(path), _not_inverted(path) if inverted else nullcontext(path) as source:
        reader.SetFileName(str(source))
        pixels: NDArray[Any] = sitk.GetArrayFromImage(reader.Execute())
    return pixels.reshape(pixels.shape[-2:]).astype(dtype, copy=False)


@contextmanager
def _not_inverted(path: Path) -> Iterator[Path]:
    """A copy of which every version of GDCM reads the stored values.

    Some invert MONOCHROME1, over the range of the stored bits and not all of them; others do not.
    """
    image = library("pydicom").dcmread(path)
    image.PhotometricInterpretation = "MONOCHROME2"
    with TemporaryDirectory() as folder:
        image.save_as(copy := Path(folder) / "slice.dcm")
        yield copy


def invert(values: NDArray[Any]) -> NDArray[Any]:
    """The largest value becomes the smallest and so on."""
    # Modular arithmetic, so integers need no wider type.
    inverted: NDArray[Any] = values.min() + (values.max() - values)
    return inverted
