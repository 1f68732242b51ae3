"""Every file of the corpus that Gantry decodes, pixel by pixel against DCMTK and GDCM."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from services.common.errors import GantryError
from services.common.pixels.decompression import decompressed
from services.common.pixels.frames import NATIVE
from services.common.pixels.pool import CodecPool, Limits
from tests.fakes.memory_store import MemoryStore
from tests.other_decoders import FindTool, decoded_by_others, samples
from tests.unit.common.pixels.images import EXPLICIT, data_set_of, distinct, store_file

BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
NATIVE_OF_A_KIND = 3
"""What is not compressed only has its bytes ordered: some of each kind tell as much as all."""


def test_pixels_are_those_that_others_decode(corpus_files: list[Path], tool: FindTool) -> None:
    """Lossy JPEG too, to the last bit: all decoders here take the same inverse transform."""
    pool = CodecPool(Limits(processes=1))
    compared: Counter[str] = Counter()
    taken: Counter[tuple[object, ...]] = Counter()
    wrong = []
    for path in distinct(corpus_files):
        store = MemoryStore()
        instance = store_file(store, path)
        if instance is None:
            continue
        syntax = instance.transfer_syntax_uid
        try:
            with decompressed(store, data_set_of(instance), syntax, EXPLICIT, pool) as uncompressed:
                content = b"".join(uncompressed.buffers)
        except GantryError:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, of what is odd in the files
            ours = _read(content)
            if ours is None or taken[_kind(ours, syntax)] == NATIVE_OF_A_KIND:
                continue
            theirs = decoded_by_others(path, syntax, tool)
            if theirs is None:
                continue
            difference = _difference(ours, theirs, syntax)
        compared[syntax] += 1
        if syntax in NATIVE:
            taken[_kind(ours, syntax)] += 1
        if difference:
            wrong.append((path.name, syntax, difference))
    pool.close()
    assert wrong == []
    assert len(compared) >= 5, compared


def _read(content: bytes) -> Dataset | None:
    """What has an image that can be laid out; what was made to break readers may have none."""
    try:
        data_set = read_dataset(io.BytesIO(content), is_implicit_VR=False, is_little_endian=True)
        samples(data_set, data_set.PixelData)
    except Exception:  # noqa: BLE001  broken headers break pydicom in many ways
        return None
    return data_set


def _kind(data_set: Dataset, syntax: str) -> tuple[object, ...]:
    said = ("PhotometricInterpretation", "BitsAllocated", "BitsStored", "PlanarConfiguration")
    return (syntax, *(str(data_set.get(keyword)) for keyword in said), "NumberOfFrames" in data_set)


def _difference(ours: Dataset, theirs: Dataset, syntax: str) -> str:
    if ours.PhotometricInterpretation != theirs.PhotometricInterpretation:
        return f"{ours.PhotometricInterpretation} is {theirs.PhotometricInterpretation}"
    mine, others = samples(ours, ours.PixelData), samples(theirs, theirs.PixelData)
    if syntax == BIG_ENDIAN and ours.BitsAllocated == 32:
        # DCMTK takes an OW value for words of 16 bits whatever Bits Allocated says (PS3.5 A.3 does not).
        others = others.view("<u4") << 16 | others.view("<u4") >> 16
        mine = mine.view("<u4")
    if mine.size != others.size:
        return f"{mine.size} samples are {others.size}"
    if syntax in JPEG_2000:
        # GDCM leaves the sign to the code stream, where the data set may say otherwise.
        mask = (1 << int(ours.BitsStored)) - 1
        mine, others = mine.astype(np.int64) & mask, others.astype(np.int64) & mask
    worst = np.abs(mine.astype(np.int64) - others.astype(np.int64)).max(initial=0)
    return f"by up to {worst}" if worst else ""
