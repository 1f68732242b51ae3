"""In which form the frames go out for what viewers and archives really send as Accept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydicom.dataset import Dataset

from services.api.dicomweb.accept import ranges
from services.api.dicomweb.frame_forms import frame_form
from services.common.errors import NotAcceptable
from services.common.model import Location
from services.common.part10 import HeaderScanner
from tests.fakes.memory_store import MemoryStore
from tests.fakes.scripted_catalog import located
from tests.unit.common.pixels.images import data_set_bytes

EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
J2K, J2K_LOSSY = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
JPEG, JPEG_LOSSLESS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"
JLS, RLE, HTJ2K, MPEG4 = (
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.102",
)
OCTETS = "application/octet-stream"

OHIF = "multipart/related; type=application/octet-stream; transfer-syntax=*"
WEASIS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
CORNERSTONE = "multipart/related; type=application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
DICOMWEB_CLIENT = 'multipart/related; type="application/octet-stream"; transfer-syntax="*"'
DICOMWEB_CLIENT_J2K = (
    'multipart/related; type="image/jp2"; transfer-syntax="1.2.840.10008.1.2.4.90", '
    'multipart/related; type="application/octet-stream"; transfer-syntax="1.2.840.10008.1.2.1"'
)
DCM4CHE = "multipart/related;type=image/jpeg,multipart/related;type=application/octet-stream;q=0.5"


def instance(transfer_syntax_uid: str, *, with_rendition: bool = False, **colours: object) -> Location:
    jpeg2000 = b"code stream" if with_rendition else None
    location = located(MemoryStore(), 1, transfer_syntax_uid=transfer_syntax_uid, jpeg2000=jpeg2000)
    data_set = Dataset()
    data_set.SOPClassUID, data_set.SOPInstanceUID = location.sop_class_uid, location.key.sop_instance_uid
    data_set.Rows = data_set.Columns = 64
    data_set.BitsAllocated = data_set.BitsStored = 8
    data_set.SamplesPerPixel = 3 if colours else 1
    for keyword, value in colours.items():
        setattr(data_set, keyword, value)
    scanner = HeaderScanner(transfer_syntax_uid)
    scanner.feed(data_set_bytes(data_set, transfer_syntax_uid))
    return replace(location, header=scanner.finish())


@pytest.mark.parametrize(
    ("stored", "accept", "media_type", "syntax", "is_decoded"),
    [
        # What is stored, whatever it is.
        (JPEG_LOSSLESS, OHIF, OCTETS, JPEG_LOSSLESS, False),
        (JLS, WEASIS, OCTETS, JLS, False),
        (HTJ2K, DICOMWEB_CLIENT, OCTETS, HTJ2K, False),
        (MPEG4, OHIF, OCTETS, MPEG4, False),
        (EXPLICIT, OHIF, OCTETS, EXPLICIT, True),
        (IMPLICIT, WEASIS, OCTETS, EXPLICIT, True),
        (BIG, OHIF, OCTETS, EXPLICIT, True),
        (JPEG, 'multipart/related; type="image/jpeg"; transfer-syntax=*', "image/jpeg", JPEG, False),
        (J2K, "*/*; transfer-syntax=*", "image/jp2", J2K, False),
        # Pixels, where nothing else is named.
        (EXPLICIT, "", OCTETS, EXPLICIT, True),
        (J2K, "", OCTETS, EXPLICIT, True),
        (J2K, "*/*", OCTETS, EXPLICIT, True),
        (J2K, OCTETS, OCTETS, EXPLICIT, True),
        (JPEG, CORNERSTONE, OCTETS, EXPLICIT, True),
        (RLE, 'multipart/related; type="application/octet-stream"', OCTETS, EXPLICIT, True),
        (
            JPEG,
            f"multipart/related; type=application/octet-stream; transfer-syntax={IMPLICIT}",
            OCTETS,
            EXPLICIT,
            True,
        ),
        # Compressed as it lies there, by media type or by transfer syntax.
        (J2K, 'multipart/related; type="image/jp2"', "image/jp2", J2K, False),
        (J2K_LOSSY, "multipart/related; type=image/jp2", "image/jp2", J2K_LOSSY, False),
        (J2K, f"application/octet-stream; transfer-syntax={J2K}", OCTETS, J2K, False),
        (RLE, "multipart/related; type=image/dicom-rle", "image/dicom-rle", RLE, False),
        (JLS, f'multipart/related; type="image/jls"; transfer-syntax={JLS}', "image/jls", JLS, False),
        (JPEG, "multipart/related; type=image/*", "image/jpeg", JPEG, False),
        (JPEG, DCM4CHE, "image/jpeg", JPEG, False),
        (EXPLICIT, DCM4CHE, OCTETS, EXPLICIT, True),
        (J2K, DICOMWEB_CLIENT_J2K, "image/jp2", J2K, False),
        (JPEG, DICOMWEB_CLIENT_J2K, OCTETS, EXPLICIT, True),
        # The client's weights decide.
        (J2K, f"image/jp2;q=0.2, {OCTETS};q=0.9", OCTETS, EXPLICIT, True),
        (J2K, f"image/jp2;q=0.9, {OCTETS};q=0.2", "image/jp2", J2K, False),
    ],
)
def test_form_of_frames(stored: str, accept: str, media_type: str, syntax: str, is_decoded: bool) -> None:
    form = frame_form(instance(stored), ranges(accept))
    assert (form.media_type, form.transfer_syntax_uid, form.is_decoded) == (media_type, syntax, is_decoded)
    assert form.content_type == f"{media_type}; transfer-syntax={syntax}"


@pytest.mark.parametrize(
    "accept",
    [
        'multipart/related; type="image/jp2"',
        f'multipart/related; type="image/jp2"; transfer-syntax={J2K}',
        f"application/octet-stream; transfer-syntax={J2K}",
        "image/*",
    ],
)
def test_rendition_goes_untouched_where_it_is_asked_for(accept: str) -> None:
    location = instance(EXPLICIT, with_rendition=True)
    form = frame_form(location, ranges(accept))
    assert (form.transfer_syntax_uid, form.stored_syntax_uid, form.is_decoded) == (J2K, J2K, False)
    assert form.data_set != location.data_set


@pytest.mark.parametrize(
    ("colours", "is_given"),
    [
        ({"PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}, True),
        ({"PhotometricInterpretation": "YBR_FULL", "PlanarConfiguration": 0}, True),
        ({"PhotometricInterpretation": "RGB", "PlanarConfiguration": 1}, False),
        ({"PhotometricInterpretation": "YBR_FULL_422", "PlanarConfiguration": 0}, False),
    ],
)
def test_a_rendition_of_which_the_metadata_do_not_hold_gives_no_frames(
    colours: dict[str, object], is_given: bool
) -> None:
    location = instance(EXPLICIT, with_rendition=True, **colours)
    accept = f"application/octet-stream; transfer-syntax={J2K}, application/octet-stream; q=0.5"
    assert frame_form(location, ranges(accept)).is_decoded is not is_given


def test_the_original_goes_before_the_rendition() -> None:
    location = instance(JPEG_LOSSLESS, with_rendition=True)
    assert frame_form(location, ranges(OHIF)).data_set == location.data_set


@pytest.mark.parametrize(
    ("stored", "accept"),
    [
        (EXPLICIT, "multipart/related; type=image/jp2"),
        (J2K, "multipart/related; type=image/jpeg"),
        (EXPLICIT, f"multipart/related; type=application/octet-stream; transfer-syntax={JPEG}"),
        (JPEG, f"application/octet-stream; transfer-syntax={BIG}"),
        (J2K, "text/html"),
        (J2K, 'multipart/related; type="application/dicom"'),
    ],
)
def test_what_cannot_be_made_is_not_acceptable(stored: str, accept: str) -> None:
    with pytest.raises(NotAcceptable):
        frame_form(instance(stored), ranges(accept))


@pytest.mark.parametrize(
    ("accept", "is_multipart"),
    [("", True), ("*/*", True), (OHIF, True), (OCTETS, False), (f"image/jls, {OCTETS}, {OHIF}", False)],
)
def test_one_part_or_several(accept: str, is_multipart: bool) -> None:
    assert frame_form(instance(EXPLICIT), ranges(accept)).is_multipart is is_multipart
