"""What others make of a file's pixels: DCMTK, and GDCM's gdcmconv for JPEG 2000, as programs of their own."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from services.common.pixels.frames import NATIVE

FindTool = Callable[[str], Path]
_JPEG = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70))
_PROGRAMS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_JPEG, ("dcmdjpeg",)),
    **dict.fromkeys(("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"), ("dcmdjpls",)),
    **dict.fromkeys(("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"), ("gdcmconv", "--raw")),
    "1.2.840.10008.1.2.5": ("dcmdrle",),
    **dict.fromkeys(sorted(NATIVE), ("dcmconv", "+te")),
}


def decoded_by_others(path: Path, transfer_syntax_uid: str, tool: FindTool) -> Dataset | None:
    """The file, uncompressed and little-endian; None where they cannot do it."""
    program = _PROGRAMS.get(transfer_syntax_uid)
    if program is None:
        return None
    name, *options = program
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.dcm"
        done = subprocess.run([tool(name), *options, path, out], capture_output=True, timeout=120)
        if done.returncode or not out.exists():
            return None
        try:
            data_set = pydicom.dcmread(out)
            data_set.PixelData  # noqa: B018  read before the file is gone
            return data_set
        except Exception:  # noqa: BLE001  there are no pixels, or pydicom cannot read what they wrote
            return None


def samples(data_set: Dataset, value: bytes) -> NDArray[Any]:
    """All samples of uncompressed frames, strictly as the attributes say: (samples,) or (pixels, 3)."""
    allocated = int(data_set.BitsAllocated)
    if allocated == 1:
        return np.unpackbits(np.frombuffer(value, "u1"), bitorder="little")[: _pixels(data_set)]
    kind = "i" if int(data_set.PixelRepresentation) else "u"
    flat = np.frombuffer(
        value[: len(value) // (allocated // 8) * (allocated // 8)], f"<{kind}{allocated // 8}"
    )
    if int(data_set.SamplesPerPixel) == 1:
        return flat[: _pixels(data_set)]
    if str(data_set.PhotometricInterpretation).endswith("_422"):
        pairs = flat[: 2 * _pixels(data_set)].reshape(-1, 4)
        return pairs[:, [0, 2, 3, 1, 2, 3]].reshape(-1, 3)
    flat = flat[: 3 * _pixels(data_set)]
    if int(data_set.get("PlanarConfiguration") or 0) == 1:
        return flat.reshape(_frames(data_set), 3, -1).transpose(0, 2, 1).reshape(-1, 3)
    return flat.reshape(-1, 3)


def rgb(data_set: Dataset, value: bytes) -> NDArray[np.float64]:
    """The colours of uncompressed frames, strictly as the attributes say (PS3.3 C.7.6.3.1.2)."""
    values = samples(data_set, value).astype(np.float64)
    space = str(data_set.PhotometricInterpretation).removesuffix("_422")
    if space in ("RGB", "YBR_RCT", "YBR_ICT"):
        return values
    assert space == "YBR_FULL", space
    y, cb, cr = values[:, 0], values[:, 1] - 128, values[:, 2] - 128
    colours = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=1)
    return np.clip(np.rint(colours), 0, 255)


def _frames(data_set: Dataset) -> int:
    return int(data_set.get("NumberOfFrames") or 1)


def _pixels(data_set: Dataset) -> int:
    return _frames(data_set) * int(data_set.Rows) * int(data_set.Columns)
