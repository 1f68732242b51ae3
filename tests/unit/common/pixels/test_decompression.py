"""Stored data sets for receivers that take only uncompressed ones, compared with pydicom's own reading."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.pixels import pixel_array
from pydicom.sequence import Sequence

from services.common.errors import GantryError, NotAcceptable
from services.common.model import IndexedInstance
from services.common.pixels.decompression import decompressed, native_frame
from services.common.pixels.description import ImageDescription
from services.common.pixels.frames import StoredImage
from services.common.pixels.pool import CodecPool
from services.common.pixels.reading import opened
from tests.fakes.memory_store import MemoryStore
from tests.unit.common.pixels.images import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    data_set_bytes,
    data_set_of,
    distinct,
    image_data_set,
    store_data_set,
    store_file,
)

_WORD_VRS = ("OW", "US", "SS", "US or OW", "US or SS or OW")
_CHANGED = {
    0x00280004,  # Photometric Interpretation
    0x00280006,  # Planar Configuration
    0x7FE00001,
    0x7FE00002,
    0x7FE00003,
    0x7FE00010,
}


def _given(store: MemoryStore, instance: IndexedInstance, target: str, pool: CodecPool) -> bytes:
    with decompressed(
        store, data_set_of(instance), instance.transfer_syntax_uid, target, pool
    ) as uncompressed:
        content = b"".join(uncompressed.buffers)
        assert len(content) == uncompressed.length
    return content


def _read(content: bytes, syntax: str) -> Dataset:
    data_set = read_dataset(
        io.BytesIO(content), is_implicit_VR=syntax == IMPLICIT, is_little_endian=syntax != BIG_ENDIAN
    )
    data_set.file_meta = pydicom.dataset.FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    return data_set


def _words(value: object, big_endian: bool) -> object:
    """Values of tables, which are words of VR US or OW, as pydicom reads the one or the other."""
    if isinstance(value, bytes):
        return np.frombuffer(value[: len(value) // 2 * 2], dtype=">u2" if big_endian else "<u2").tolist()
    several = value if isinstance(value, list | pydicom.multival.MultiValue) else [value]
    return [int(n) & 0xFFFF for n in several if isinstance(n, int)]


def _elements(data_set: Dataset, *, path: str = "", big_endian: bool = False) -> dict[str, object]:
    """Every value by path; private and unknown ones as they lie, for a receiver without VR sees no more."""
    found: dict[str, object] = {}
    for element in data_set:
        if element.tag.element == 0 or (not path and int(element.tag) in _CHANGED):
            continue
        name = f"{path}/{element.tag}"
        if isinstance(element.value, Sequence):
            for number, item in enumerate(element.value):
                found |= _elements(item, path=f"{name}[{number}]", big_endian=big_endian)
        elif element.VR != "UN" and not element.tag.is_private:
            found[name] = _words(element.value, big_endian) if element.VR in _WORD_VRS else element.value
    return found


def _original(path: Path) -> tuple[dict[str, object], np.ndarray | None] | None:
    """What pydicom reads of a file; None where it cannot, or the file was made to break readers."""
    if "pwnlab-fuzz" in path.parts:
        return None
    try:
        data_set = pydicom.dcmread(path)
        syntax = data_set.file_meta.TransferSyntaxUID
        data_set.filename = None
        elements = _elements(data_set, big_endian=str(syntax) == BIG_ENDIAN)
    except Exception:  # noqa: BLE001  broken headers break pydicom in many ways
        return None
    try:
        lossy_colour = str(syntax).endswith((".4.50", ".4.51")) and data_set.SamplesPerPixel == 3
        return elements, pixel_array(data_set, raw=not lossy_colour)
    except Exception:  # noqa: BLE001  no pixels, or none that pydicom decodes
        return elements, None


@pytest.mark.parametrize(("target", "half"), [(EXPLICIT, 0), (IMPLICIT, 1)])
def test_corpus_files_come_uncompressed_with_all_its_elements(
    corpus_files: list[Path], codec_pool: CodecPool, target: str, half: int
) -> None:
    compared: Counter[str] = Counter()
    wrong = []
    for path in distinct(corpus_files)[half::2]:
        store = MemoryStore()
        instance = store_file(store, path)
        if instance is None:
            continue
        try:
            content = _given(store, instance, target, codec_pool)
        except GantryError:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            original = _original(path)
            if original is None:
                continue
            elements, pixels = original
            given = _read(content, target)
            found = _elements(given)
            differing = [name for name, value in elements.items() if found.get(name) != value]
            if differing:
                wrong.append((path.name, differing[:3]))
            elif pixels is not None:
                raw = pixel_array(given, raw=True)
                tolerance = 2 if instance.transfer_syntax_uid.endswith(".4.50") else 0
                if raw.shape != pixels.shape or not np.allclose(raw, pixels, 0, tolerance, equal_nan=True):
                    wrong.append((path.name, ["pixels"]))
        compared[instance.transfer_syntax_uid] += 1
    assert not wrong
    assert len(compared) >= 5


def test_an_explicit_little_endian_data_set_stays_as_it_is(
    corpus_files: list[Path], codec_pool: CodecPool
) -> None:
    compared = 0
    for path in distinct(corpus_files):
        store = MemoryStore()
        instance = store_file(store, path)
        if instance is None or instance.transfer_syntax_uid != EXPLICIT or "pwnlab-fuzz" in path.parts:
            continue
        original = store.objects[instance.blob.key][0][instance.data_set_offset :]
        # A group length of the pixels is left out, and an odd length of theirs becomes even.
        if b"\xe0\x7f\x00\x00" in original or len(original) % 2:
            continue
        try:
            content = _given(store, instance, EXPLICIT, codec_pool)
        except GantryError:
            continue
        if content == original:
            compared += 1
        else:
            assert original.startswith(content.rstrip(b"\0")), path.name
    assert compared > 20


@pytest.mark.parametrize("source", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("target", [EXPLICIT, IMPLICIT])
def test_sequences_private_elements_and_long_values_survive(
    source: str, target: str, codec_pool: CodecPool
) -> None:
    inner = Dataset()
    inner.PixelRepresentation = 1
    inner.SmallestImagePixelValue = -5
    inner.ReferencedFrameNumber = [1, 2, 3]
    inner.ContentSequence = [Dataset(), Dataset()]
    inner.ContentSequence[1].FloatingPointValue = 3.5
    data_set = Dataset()
    data_set.PixelRepresentation = 0
    data_set.SmallestImagePixelValue = 65000
    data_set.ReferencedImageSequence = [inner]
    data_set.RetrieveURL = "http://example.org/" + "x" * 70000
    data_set.FrameIncrementPointer = [0x00181063, 0x00181065]
    data_set.RedPaletteColorLookupTableData = b"\x01\x02" * 300
    data_set.add_new(0x00090010, "LO", "MAKER")
    data_set.add_new(0x00091001, "OB", b"\x01\x02\x03\x04")
    store = MemoryStore()
    instance = store_data_set(store, data_set_bytes(data_set, source), source)
    given = _read(_given(store, instance, target, codec_pool), target)
    # pydicom writes words of a big-endian data set as they are given.
    assert _elements(given) == _elements(data_set, big_endian=source == BIG_ENDIAN)
    assert given[0x00091001].value == b"\x01\x02\x03\x04"


def test_nothing_is_decompressed_to_a_compressed_syntax(codec_pool: CodecPool) -> None:
    store = MemoryStore()
    instance = store_data_set(store, b"", EXPLICIT)
    with pytest.raises(NotAcceptable, match=r"4\.90"):
        _given(store, instance, "1.2.840.10008.1.2.4.90", codec_pool)


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("bits", [1, 8, 16])
def test_single_frames_come_as_little_endian_bytes(syntax: str, bits: int, codec_pool: CodecPool) -> None:
    image = ImageDescription(
        rows=3,
        columns=3 if bits == 1 else 4,
        samples_per_pixel=1,
        bits_allocated=bits,
        bits_stored=bits,
        high_bit=bits - 1,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
        number_of_frames=3,
    )
    pixels = np.random.default_rng(bits).integers(0, 2**bits, (3, image.rows, image.columns))
    if bits == 1:
        value = np.packbits(pixels.reshape(-1), bitorder="little").tobytes()
        expected = [np.packbits(frame.reshape(-1), bitorder="little").tobytes() for frame in pixels]
    else:
        # Samples of 8 bits are VR OB here, and have no byte order.
        value = pixels.astype(f"{'>' if syntax == BIG_ENDIAN else '<'}u{bits // 8}").tobytes()
        expected = [frame.astype(f"<u{bits // 8}").tobytes() for frame in pixels]
    store = MemoryStore()
    instance = store_data_set(store, data_set_bytes(image_data_set(value, image), syntax), syntax)
    with opened(store, data_set_of(instance), syntax) as (reader, header):
        stored = StoredImage(reader, header, syntax)
        for index in (1, 0, 2):
            assert b"".join(native_frame(stored, index, codec_pool)) == expected[index]


def test_a_compressed_frame_comes_decoded(corpus: Path, codec_pool: CodecPool) -> None:
    (path,) = (p for p in corpus.rglob("*MR_small_RLE.dcm"))
    store = MemoryStore()
    instance = store_file(store, path)
    assert instance is not None
    syntax = instance.transfer_syntax_uid
    with opened(store, data_set_of(instance), syntax) as (reader, header):
        content = b"".join(native_frame(StoredImage(reader, header, syntax), 0, codec_pool))
    assert content == pydicom.dcmread(path.with_name(path.name.replace("_RLE", ""))).PixelData
