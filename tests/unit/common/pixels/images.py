"""Images for tests: made of arrays, or files put into a store; originals rebuilt from their renditions."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.filewriter import write_dataset

from services.common.errors import GantryError
from services.common.keys import new_key
from services.common.model import BlobRef, IndexedInstance, InstanceKey, Rendition
from services.common.part10 import file_meta, read_file_meta
from services.common.pixels import codecs, layout
from services.common.pixels.description import ImageDescription
from services.common.pixels.frames import StoredImage
from services.common.pixels.reading import opened
from tests.fakes.memory_store import MemoryStore

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
CT = "1.2.840.10008.5.1.4.1.1.2"


def data_set_bytes(data_set: Dataset, transfer_syntax_uid: str) -> bytes:
    """The data set as it goes over the wire in an uncompressed transfer syntax."""
    out = pydicom.filebase.DicomBytesIO()
    out.is_implicit_VR = transfer_syntax_uid == IMPLICIT
    out.is_little_endian = transfer_syntax_uid != BIG_ENDIAN
    write_dataset(out, data_set)
    return bytes(out.getvalue())


def image_data_set(value: bytes, image: ImageDescription, **more: Any) -> Dataset:
    """The attributes of `image` around a Pixel Data value, with something before and after."""
    data_set = Dataset()
    data_set.SOPClassUID, data_set.SOPInstanceUID = CT, "1.2.3.4.5"
    data_set.PatientName = "Mustermann^Erika"
    data_set.SamplesPerPixel = image.samples_per_pixel
    data_set.PhotometricInterpretation = image.photometric_interpretation
    if image.samples_per_pixel > 1:
        data_set.PlanarConfiguration = image.planar_configuration
    data_set.NumberOfFrames = image.number_of_frames
    data_set.Rows, data_set.Columns = image.rows, image.columns
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = (
        image.bits_allocated,
        image.bits_stored,
        image.high_bit,
    )
    data_set.PixelRepresentation = image.pixel_representation
    for keyword, element in more.items():
        setattr(data_set, keyword, element)
    data_set.add_new(0x7FE00010, "OW" if image.bits_allocated > 8 else "OB", value + bytes(len(value) % 2))
    data_set.add_new(0xFFFCFFFC, "OB", b"trailing")
    return data_set


def store_data_set(
    store: MemoryStore, content: bytes, transfer_syntax_uid: str, sop_class_uid: str = CT
) -> IndexedInstance:
    """Put a data set into the store as an original; what the catalog would say of it."""
    meta = file_meta(
        sop_class_uid=sop_class_uid, sop_instance_uid="1.2.3.4.5", transfer_syntax_uid=transfer_syntax_uid
    )
    return _store(store, meta + content, len(meta), transfer_syntax_uid, sop_class_uid, "1.2.3.4.5")


def store_file(store: MemoryStore, path: Path) -> IndexedInstance | None:
    """Put a file into the store; None where it is no DICOM file or has no UIDs of its own."""
    content = path.read_bytes()
    try:
        meta = read_file_meta(io.BytesIO(content))
    except GantryError:
        return None
    uids = meta.transfer_syntax_uid, meta.sop_class_uid, meta.sop_instance_uid
    return _store(store, content, meta.data_set_offset, *uids)


def _store(
    store: MemoryStore, file: bytes, data_set_offset: int, syntax: str, sop_class: str, sop_instance: str
) -> IndexedInstance:
    writer = store.create(new_key(datetime.now(UTC)))
    writer.write(file)
    return IndexedInstance(
        key=InstanceKey(
            study_instance_uid="1.2.3", series_instance_uid="1.2.3.4", sop_instance_uid=sop_instance
        ),
        sop_class_uid=sop_class,
        transfer_syntax_uid=syntax,
        blob=writer.commit({}),
        data_set_offset=data_set_offset,
        data_set_digest=hashlib.sha256(file[data_set_offset:]).hexdigest(),
    )


def data_set_of(instance: IndexedInstance) -> BlobRef:
    """Where the data set lies."""
    return instance.blob.part(instance.data_set_offset, instance.blob.length - instance.data_set_offset)


def sendable(store: MemoryStore, rendition: Rendition) -> Dataset:
    """The Part 10 file at the beginning of a rendition's blob."""
    assert rendition.blob is not None
    content, _ = store.objects[rendition.blob.key]
    return pydicom.dcmread(io.BytesIO(content[: rendition.file_length]))


def restored(store: MemoryStore, rendition: Rendition, original: ImageDescription) -> bytes:
    """The original data set, from nothing but the rendition's blob, its recipe and what the image was."""
    recipe, blob = rendition.recipe, rendition.blob
    assert recipe is not None and blob is not None
    content, _ = store.objects[blob.key]
    frames = b"".join(_restored_frames(store, rendition, original))
    return b"".join(
        (
            content[recipe.prefix_offset : recipe.prefix_offset + recipe.prefix_length],
            frames,
            recipe.padding,
            content[recipe.suffix_offset : recipe.suffix_offset + recipe.suffix_length],
        )
    )


def _restored_frames(store: MemoryStore, rendition: Rendition, original: ImageDescription) -> Iterator[bytes]:
    assert rendition.recipe is not None and rendition.blob is not None
    file = rendition.blob.part(rendition.data_set_offset, rendition.file_length - rendition.data_set_offset)
    with opened(store, file, rendition.transfer_syntax_uid) as (reader, header):
        stored = StoredImage(reader, header, rendition.transfer_syntax_uid)
        for index in range(stored.image.number_of_frames):
            stream = b"".join(stored.frame(index).content)
            pixels = codecs.decode(stream, rendition.transfer_syntax_uid, stored.image).pixels
            order: Any = rendition.recipe.byte_order
            yield layout.pack(pixels, original, byte_order=order)


def description_of(data_set: Dataset) -> ImageDescription:
    """What pydicom reads of the Image Pixel Module."""
    stored, allocated = data_set.BitsStored, data_set.BitsAllocated
    high = data_set.get("HighBit", stored - 1)
    return ImageDescription(
        rows=data_set.Rows,
        columns=data_set.Columns,
        samples_per_pixel=data_set.get("SamplesPerPixel", 1),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high if stored <= high + 1 <= allocated else stored - 1,
        pixel_representation=data_set.get("PixelRepresentation") or 0,
        photometric_interpretation=data_set.PhotometricInterpretation,
        planar_configuration=data_set.get("PlanarConfiguration") or 0,
        number_of_frames=int(data_set.get("NumberOfFrames") or 1),
    )


def noise(image: ImageDescription, seed: int = 0) -> np.ndarray[Any, Any]:
    """Pixels of every value that `image` can store, for one frame."""
    low = -(1 << image.bits_stored - 1) if image.is_signed else 0
    shape = (image.rows, image.columns) + ((3,) if image.samples_per_pixel == 3 else ())
    values = np.random.default_rng(seed).integers(low, low + (1 << image.bits_stored), shape)
    return values.astype(layout.container(image))


def distinct(files: list[Path]) -> list[Path]:
    """The files of the corpus; of its long series a few only, and none that takes seconds."""
    return [
        path
        for path in files
        if ("ct-phantom" not in path.parent.name or path.stem.endswith("5")) and path.stat().st_size < 2**22
    ]
