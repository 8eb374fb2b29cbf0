"""Volumes: NIfTI, MetaImage and DICOM, always in one orientation (paper: Data loading)."""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .cases import Labelled
from .dicom import Stored, damage_named, library, open_series

AXES = ("I", "P", "L")
"""Where the array axes point to: inferior, posterior, left."""

_WORKING_BYTES = 26  # a voxel at the peak of loading with a mask and augmentation, as measured
_OFF = 0.02  # voxels, at any corner: what rounded headers of the same grid differ by


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels and their place in the patient.

    The axes always run 0: superior to inferior, 1: anterior to posterior, 2: the patient's right
    to left (of an oblique volume, the closest), so ``voxels[i]`` is an axial, ``voxels[:, j]`` a
    coronal and ``voxels[:, :, k]`` a sagittal slice, each upright as radiologists look at it.

    Attributes:
        voxels: D x H x W, or D x H x W x C for C sequences; the file's own integer type, else
            float32; finite.
        affine: 4 x 4 float64, from array indices (i, j, k) to RAS coordinates in mm.
    """

    voxels: NDArray[Any]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """The distances of neighbouring voxels along the three axes, in mm."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)


@dataclass(frozen=True, slots=True)
class VolumeCase(Labelled):
    """A case whose image is a volume; see :class:`umedpt_core.Case`.

    Attributes:
        id, patient: See :class:`umedpt_core.Case`.
        paths: What :func:`read_volume` takes: one path, or one for each sequence.
        label: The raw target, or a function without arguments that loads it; it must pickle. For a
            mask, ``functools.partial(read_volume, path)``.
        intensity: The case's own intensity rule, where CT and MRI lie in one set; None: the task's.
    """

    id: str
    patient: str
    paths: tuple[Path, ...]
    label: Any | Callable[[], Any]
    intensity: str | None = field(default=None, kw_only=True)

    @property
    def image(self) -> Volume:
        """The volume."""
        return read_volume(*self.paths)


def read_volume(*paths: Path | str) -> Volume:
    """Read a volume, or the sequences of one case as the channels of one.

    Args:
        paths: Each a NIfTI (.nii, .nii.gz), a MetaImage (.mha, .mhd) or a folder with one DICOM
            series. A 4D file gives several channels, a 2D one a depth of 1. The header's scale and
            offset apply; a NIfTI without orientation is placed as nibabel does.

    Returns:
        The volume; channels are in the order of `paths`.

    Raises:
        DataError: A file is missing, damaged or of another kind, not finite, without a place, on
            another grid than the first, or too large for the memory (found before it is read).
        ConfigError: A library is not installed.
    """
    stored = [open_stored(Path(path)) for path in paths]
    needed, there = sum(math.prod(s.shape) for s in stored) * _WORKING_BYTES, physical_memory()
    if needed > there:
        raise DataError(
            f"{paths[0]}: reading and working on it takes {needed / 1e9:.1f} GB, this machine has"
            f" {there / 1e9:.1f} GB of memory; crop or resample it, or use a larger machine"
        )
    volumes = [_load(Path(path), each) for path, each in zip(paths, stored, strict=True)]
    if len(volumes) == 1:
        return volumes[0]
    for path, volume in zip(paths[1:], volumes[1:], strict=True):
        if reason := same_grid(volumes[0], volume):
            raise DataError(
                f"{path}: not on the grid of {paths[0]}: {reason}; resample it onto that grid"
            )
    channels = [v.voxels if v.voxels.ndim == 4 else v.voxels[..., None] for v in volumes]
    dtype = _plain(np.result_type(*channels))
    return Volume(np.concatenate(channels, -1, dtype=dtype), volumes[0].affine)


def write_volume(path: Path | str, array: NDArray[Any], like: Volume) -> None:
    """Write an array on the grid of a volume as NIfTI.

    Args:
        path: Ends in ``.nii.gz`` or ``.nii``.
        array: D x H x W of uint8, int16 or float32.
        like: The volume that the array belongs to.

    Raises:
        DataError: Another type, or another shape than the volume.
    """
    shape = like.voxels.shape[:3]
    if array.dtype not in (np.uint8, np.int16, np.float32) or array.shape != shape:
        given, wanted = f"{array.dtype} {_by(array.shape)}", f"uint8, int16 or float32 {_by(shape)}"
        raise DataError(f"{path}: cannot write {given}; give {wanted}")
    nibabel = library("nibabel")
    nibabel.save(nibabel.Nifti1Image(array, like.affine), path)


def same_grid(a: Volume, b: Volume) -> str:
    """Compare the geometry of two volumes, such as an image and its mask.

    Returns:
        '' where voxels lie in the same places (within 2 % of a voxel); else why not.
    """
    shape, other = a.voxels.shape[:3], b.voxels.shape[:3]
    if shape != other:
        return f"the shapes are {_by(shape)} and {_by(other)}"
    corners = np.array([*np.ndindex(2, 2, 2)]).T * (np.array(shape)[:, None] - 1)
    indices = np.vstack([corners, np.ones((1, 8))])
    apart = np.abs(np.linalg.solve(a.affine, b.affine @ indices) - indices).max()
    return f"the affines place voxels up to {apart:.3g} voxels apart" if apart > _OFF else ""


def physical_memory() -> int:
    """This machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def open_stored(path: Path) -> Stored:
    """Read and check a header; the shape has at least three dimensions.

    Raises:
        DataError: See :func:`read_volume`.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; check that the dataset is complete")
    name = path.name.lower()
    with damage_named(path):
        if path.is_dir():
            stored = open_series(path)
        elif name.endswith((".nii", ".nii.gz")):
            stored = _open_nifti(path)
        elif name.endswith((".mha", ".mhd")):
            stored = _open_meta(path)
        else:
            known = ".nii, .nii.gz, .mha, .mhd or the folder of a DICOM series"
            raise DataError(f"{path}: such files are not read as volumes; give a {known}")
    shape = stored.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    shape += (1,) * (3 - len(shape))
    if len(shape) > 4 or min(shape) < 1:
        wanted = "3 dimensions, or 4 with sequences, none empty; convert it"
        raise DataError(f"{path}: the shape is {_by(stored.shape)}; a volume needs {wanted}")
    axes = stored.affine[:3, :3]
    edges = np.linalg.norm(axes, axis=0)
    if not np.isfinite(stored.affine).all() or abs(np.linalg.det(axes)) <= 1e-3 * edges.prod():
        fault = f"zero, not finite or singular (spacing {edges.round(4)} mm)"
        raise DataError(f"{path}: the header's affine is {fault}; correct the header")
    return stored._replace(shape=shape)


def _open_nifti(path: Path) -> Stored:
    nibabel = library("nibabel")
    opened = partial(gzip.open if path.name.lower().endswith(".gz") else open, path, "rb")
    with opened() as stream:
        start = stream.read(540)
    one, two = nibabel.Nifti1Header, nibabel.Nifti2Header
    kind = two if two.may_contain_header(start) else one
    if not kind.may_contain_header(start):
        raise ValueError("no NIfTI header")
    raw = kind(start[: kind.sizeof_hdr], check=False)  # checking replaces zero spacing by 1
    extents = zip(raw["dim"][1:4], raw["pixdim"][1:4], range(raw["dim"][0]), strict=False)
    if any(extent > 1 and not abs(edge) > 0 for extent, edge, _ in extents):
        raise ValueError(f"the header's spacing is {raw['pixdim'][1:4]} mm")
    header = kind(start[: kind.sizeof_hdr])
    if header.get_data_dtype().kind not in "iuf":
        raise ValueError(f"voxels are {header.get_data_dtype()}, each must be one real number")

    def read() -> NDArray[Any]:
        with opened() as stream:
            proxy = nibabel.arrayproxy.ArrayProxy(stream, header, mmap=False)
            scaled = (proxy.slope, proxy.inter) != (1, 0)
            voxels = np.asarray(proxy, dtype=np.float32 if scaled else None)
            while stream.read(1 << 20):  # to the end, where gzip has its checksum
                pass
        return voxels

    shape = tuple(int(extent) for extent in header.get_data_shape())
    return Stored(shape, np.array(header.get_best_affine(), np.float64), read)


def _open_meta(path: Path) -> Stored:
    sitk = library("SimpleITK")
    reader = sitk.ImageFileReader()
    reader.SetImageIO("MetaImageIO")
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())
    if "vector" in kind or "complex" in kind:
        raise ValueError(f"voxels are {kind}, each must be one real number")
    shape, size = reader.GetSize(), reader.GetDimension()
    lps, n = np.eye(4), min(size, 3)
    directions = np.reshape(reader.GetDirection(), (size, size))[:n, :n]
    lps[:n, :n] = directions * reader.GetSpacing()[:n]
    lps[:n, 3] = reader.GetOrigin()[:n]
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    return Stored(shape, ras, lambda: sitk.GetArrayFromImage(reader.Execute()).T)


def _load(path: Path, stored: Stored) -> Volume:
    """Read the voxels and reorient them."""
    turn = library("nibabel.orientations")
    turns = turn.ornt_transform(turn.io_orientation(stored.affine), turn.axcodes2ornt(AXES))
    with damage_named(path):
        turned = turn.apply_orientation(stored.read().reshape(stored.shape), turns)
        voxels = np.ascontiguousarray(turned, _plain(turned.dtype))
    if voxels.dtype.kind == "f" and (bad := voxels.size - np.count_nonzero(np.isfinite(voxels))):
        raise DataError(f"{path}: {bad} of {voxels.size} voxels are NaN or infinite; repair it")
    return Volume(voxels, stored.affine @ turn.inv_ornt_aff(turns, stored.shape[:3]))


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type in native byte order, floating-point numbers as float32."""
    return np.dtype(np.float32) if dtype.kind == "f" else dtype.newbyteorder("=")


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
