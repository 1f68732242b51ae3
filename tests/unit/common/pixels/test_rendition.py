"""Lossless JPEG 2000 renditions: the original comes back, and what can be sent is right."""

from __future__ import annotations

import hashlib
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels import pixel_array

from services.common.errors import GantryError, NotAcceptable
from services.common.model import Rendition, RenditionKind
from services.common.pixels import layout
from services.common.pixels.description import ImageDescription
from services.common.pixels.frames import StoredImage
from services.common.pixels.pool import CodecPool
from services.common.pixels.reading import opened
from services.common.pixels.rendition import make_jpeg2000
from services.transcode.policy import refusal
from tests.fakes.memory_store import MemoryStore
from tests.unit.common.pixels.images import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    data_set_bytes,
    data_set_of,
    distinct,
    image_data_set,
    noise,
    restored,
    sendable,
    store_data_set,
    store_file,
)

_PLAIN = ImageDescription(
    rows=40,
    columns=34,
    samples_per_pixel=1,
    bits_allocated=16,
    bits_stored=12,
    high_bit=11,
    pixel_representation=0,
    photometric_interpretation="MONOCHROME2",
)
_COLOUR = replace(
    _PLAIN,
    samples_per_pixel=3,
    bits_allocated=8,
    bits_stored=8,
    high_bit=7,
    photometric_interpretation="RGB",
)
_LAYOUTS = {
    "12 in 16": _PLAIN,
    "signed 12 in 16": replace(_PLAIN, pixel_representation=1),
    "signed 16": replace(_PLAIN, pixel_representation=1, bits_stored=16, high_bit=15),
    "8": replace(_PLAIN, bits_allocated=8, bits_stored=8, high_bit=7),
    "8, odd length": replace(_PLAIN, rows=33, columns=33, bits_allocated=8, bits_stored=8, high_bit=7),
    "inverted": replace(_PLAIN, photometric_interpretation="MONOCHROME1"),
    "palette": replace(
        _PLAIN, photometric_interpretation="PALETTE COLOR", bits_allocated=8, bits_stored=8, high_bit=7
    ),
    "rgb": _COLOUR,
    "rgb, planes": replace(_COLOUR, planar_configuration=1),
    "rgb, 16 bits": replace(_COLOUR, bits_allocated=16, bits_stored=16, high_bit=15),
    "ybr": replace(_COLOUR, photometric_interpretation="YBR_FULL"),
    "ybr 4:2:2": replace(_COLOUR, photometric_interpretation="YBR_FULL_422"),
    "frames": replace(_PLAIN, number_of_frames=5),
}


def _value(image: ImageDescription, order: layout.ByteOrder = "<") -> bytes:
    frames = []
    for index in range(image.number_of_frames):
        pixels = noise(image, index)
        if image.is_subsampled:
            pixels[:, 1::2, 1:] = pixels[:, ::2, 1:]
        frames.append(layout.pack(pixels, image, byte_order=order))
    return b"".join(frames)


def _made(store: MemoryStore, content: bytes, syntax: str, pool: CodecPool) -> Rendition:
    instance = store_data_set(store, content, syntax)
    with opened(store, data_set_of(instance), syntax) as (reader, header):
        return make_jpeg2000(store, StoredImage(reader, header, syntax), instance, pool, "renditions/a.dcm")


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("image", _LAYOUTS.values(), ids=_LAYOUTS.keys())
def test_the_original_comes_back_to_the_byte(
    image: ImageDescription, syntax: str, codec_pool: CodecPool
) -> None:
    # pydicom writes words of a big-endian data set as they are given.
    order: layout.ByteOrder = ">" if syntax == BIG_ENDIAN and image.bits_allocated > 8 else "<"
    content = data_set_bytes(image_data_set(_value(image, order), image), syntax)
    store = MemoryStore()
    rendition = _made(store, content, syntax, codec_pool)
    assert restored(store, rendition, image) == content
    assert rendition.source_digest == hashlib.sha256(content).hexdigest()
    sent = sendable(store, rendition)
    assert sent.PatientName == "Mustermann^Erika"
    assert sent[0xFFFCFFFC].value == b"trailing"
    assert sent.SOPInstanceUID == sent.file_meta.MediaStorageSOPInstanceUID == "1.2.3.4.5"
    assert sent.get("PlanarConfiguration", 0) == 0
    expected = image.photometric_interpretation.removesuffix("_422")
    assert sent.PhotometricInterpretation == expected
    raw = pixel_array(sent, raw=True)
    plain = replace(image, photometric_interpretation=expected, planar_configuration=0)
    frames = raw if image.number_of_frames > 1 else raw[np.newaxis]
    for index in range(image.number_of_frames):
        pixels = noise(image, index)
        if image.is_subsampled:
            pixels[:, 1::2, 1:] = pixels[:, ::2, 1:]
        assert np.array_equal(
            frames[index], layout.stored_values(pixels, plain) if image.high_bit == 11 else pixels
        )


@pytest.mark.parametrize(
    ("bits", "image"),
    [(0x3000, _PLAIN), (0, replace(_PLAIN, high_bit=15))],
    ids=["an overlay above them", "stored in the upper bits"],
)
def test_pixels_that_lie_elsewhere_than_in_the_low_bits_get_no_rendition(
    codec_pool: CodecPool, bits: int, image: ImageDescription
) -> None:
    pixels = noise(image) | np.uint16(bits)
    content = data_set_bytes(image_data_set(pixels.tobytes(), image), EXPLICIT)
    with pytest.raises(NotAcceptable, match="Bits Stored"):
        _made(MemoryStore(), content, EXPLICIT, codec_pool)


def test_padding_after_the_last_frame_comes_back(codec_pool: CodecPool) -> None:
    content = data_set_bytes(image_data_set(_value(_PLAIN) + b"\x07\x09\x00\x01", _PLAIN), EXPLICIT)
    store = MemoryStore()
    rendition = _made(store, content, EXPLICIT, codec_pool)
    assert rendition.recipe is not None
    assert rendition.recipe.padding == b"\x07\x09\x00\x01"
    assert restored(store, rendition, _PLAIN) == content


def test_explicit_elements_are_sent_verbatim(codec_pool: CodecPool) -> None:
    content = data_set_bytes(image_data_set(_value(_PLAIN), _PLAIN), EXPLICIT)
    store = MemoryStore()
    rendition = _made(store, content, EXPLICIT, codec_pool)
    assert rendition.blob is not None
    blob, _ = store.objects[rendition.blob.key]
    before = content[: content.index(b"\xe0\x7f\x10\x00OW")]
    assert blob[rendition.data_set_offset :].startswith(before)
    assert blob[: rendition.file_length].endswith(content[content.index(b"\xfc\xff\xfc\xff") :])


def test_what_does_not_have_the_original_s_digest_is_refused_and_not_stored(codec_pool: CodecPool) -> None:
    content = data_set_bytes(image_data_set(_value(_PLAIN), _PLAIN), EXPLICIT)
    store = MemoryStore()
    instance = replace(store_data_set(store, content, EXPLICIT), data_set_digest="0" * 64)
    with opened(store, data_set_of(instance), EXPLICIT) as (reader, header):
        stored = StoredImage(reader, header, EXPLICIT)
        with pytest.raises(NotAcceptable, match="digest"):
            make_jpeg2000(store, stored, instance, codec_pool, "renditions/a.dcm")
    assert list(store.objects) == [instance.blob.key]


def test_every_corpus_image_that_may_have_a_rendition_comes_back(
    corpus_files: list[Path], codec_pool: CodecPool
) -> None:
    proven = compared = 0
    wrong = []
    for path in distinct(corpus_files):
        store = MemoryStore()
        instance = store_file(store, path)
        if instance is None:
            continue
        syntax = instance.transfer_syntax_uid
        try:
            with opened(store, data_set_of(instance), syntax) as (reader, header):
                stored = StoredImage(reader, header, syntax)
                if refusal(instance.sop_class_uid, syntax, stored.image):
                    continue
                rendition = make_jpeg2000(store, stored, instance, codec_pool, "renditions/a.dcm")
                image = stored.image
        except GantryError:
            continue
        if rendition.recipe is not None:
            proven += 1
            if (
                restored(store, rendition, image)
                != store.objects[instance.blob.key][0][instance.data_set_offset :]
            ):
                wrong.append(path.name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not _is_readable(path):
                continue
            raw = pixel_array(sendable(store, rendition), index=0, raw=True, decoding_plugin="pylibjpeg")
        compared += 1
        if raw.shape[:2] != (image.rows, image.columns):
            wrong.append(path.name)
    assert not wrong
    assert proven > 30
    assert compared > 20


def _is_readable(path: Path) -> bool:
    """Whether pydicom can be asked about it: it reads the header, and was not made to break readers."""
    try:
        return "pwnlab-fuzz" not in path.parts and bool(list(pydicom.dcmread(path).iterall()))
    except Exception:  # noqa: BLE001  broken headers break pydicom in many ways
        return False


def test_dciodvfy_finds_nothing_new_in_what_is_sent(
    corpus: Path, codec_pool: CodecPool, tool: Callable[[str], Path], tmp_path: Path
) -> None:
    paths = [p for p in sorted(corpus.rglob("*")) if p.name.endswith(("CT_small.dcm", "MR_small.dcm"))]
    assert paths
    for path in paths:
        store = MemoryStore()
        instance = store_file(store, path)
        assert instance is not None
        with opened(store, data_set_of(instance), instance.transfer_syntax_uid) as (reader, header):
            stored = StoredImage(reader, header, instance.transfer_syntax_uid)
            rendition = make_jpeg2000(store, stored, instance, codec_pool, "renditions/a.dcm")
        assert rendition.blob is not None and rendition.kind is RenditionKind.JPEG2000
        sent = tmp_path / "sent.dcm"
        sent.write_bytes(store.objects[rendition.blob.key][0][: rendition.file_length])
        assert _complaints(tool, sent) <= _complaints(tool, path)


def _complaints(tool: Callable[[str], Path], path: Path) -> set[str]:
    run = subprocess.run([str(tool("dciodvfy")), str(path)], capture_output=True, text=True, check=False)
    return {line for line in run.stderr.splitlines() if line.startswith("Error")}
