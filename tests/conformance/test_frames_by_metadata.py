"""A client that reads frames by the metadata, and whole instances by themselves, sees the right colours."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openjpeg
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset

from services.common.errors import InvalidInstance
from services.common.part10 import read_file_meta
from services.common.pixels.description import LOSSY_JPEG
from services.common.pixels.frames import NATIVE
from tests.archive import Archive, end, start_archive
from tests.dicomweb import ask, instance_path, stow, wait_for_instances
from tests.other_decoders import FindTool, decoded_by_others, rgb

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
"""pydicom's, about what is odd in the files."""

LARGEST_BYTES = 2**22
JPEG_2000 = "1.2.840.10008.1.2.4.90"
PIXELS = 'multipart/related; type="application/octet-stream"'
CODE_STREAM = f'multipart/related; type="image/jp2"; transfer-syntax={JPEG_2000}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Coloured:
    """A file in the archive; `colours` are those that another decoder finds: (pixels, 3)."""

    path: Path
    transfer_syntax_uid: str
    url: str
    colours: NDArray[np.float64]


@pytest.fixture(scope="module")
def colour_archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    running = start_archive(tmp_path_factory.mktemp("colours"))
    yield running
    end(running)


@pytest.fixture(scope="module")
def coloured(colour_archive: Archive, corpus_files: list[Path], tool: FindTool) -> list[Coloured]:
    """Every file of the corpus that has colours and can be decoded elsewhere."""
    found: dict[str, Coloured] = {}
    for path in corpus_files:
        data_set = _in_colour(path)
        if data_set is None or instance_path(data_set) in found:
            continue
        syntax = str(data_set.file_meta.TransferSyntaxUID)
        theirs = decoded_by_others(path, syntax, tool)
        if theirs is None:
            continue
        answer = stow(colour_archive, [path.read_bytes()])
        if answer.status == 200:
            url = instance_path(data_set)
            colours = rgb(theirs, theirs.PixelData)
            found[url] = Coloured(path=path, transfer_syntax_uid=syntax, url=url, colours=colours)
    wait_for_instances(colour_archive, list(found))
    return list(found.values())


def _in_colour(path: Path) -> FileDataset | None:
    if path.stat().st_size > LARGEST_BYTES:
        return None
    try:
        read_file_meta(io.BytesIO(path.read_bytes()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data_set = pydicom.dcmread(path)
            uids = [data_set.StudyInstanceUID, data_set.SeriesInstanceUID, data_set.SOPInstanceUID]
            space = str(data_set.PhotometricInterpretation)
            is_coloured = "PixelData" in data_set and space.startswith(("RGB", "YBR_"))
    except (InvalidInstance, Exception):  # noqa: BLE001  whatever hostile bytes do to pydicom
        return None
    return data_set if is_coloured and all(uids) else None


def _metadata(archive: Archive, one: Coloured) -> Dataset:
    (model,) = json.loads(ask(archive, f"{one.url}/metadata", Accept="application/dicom+json").body)
    expected = "1.2.840.10008.1.2.1" if one.transfer_syntax_uid in NATIVE else one.transfer_syntax_uid
    assert model["00083002"] == {"vr": "UI", "Value": [expected]}
    return Dataset.from_json(model, bulk_data_uri_handler=lambda uri: b"")


def _numbers(metadata: Dataset) -> str:
    return ",".join(str(n + 1) for n in range(int(metadata.get("NumberOfFrames") or 1)))


def _differs(one: Coloured, found: NDArray[np.float64], *, shared: bool) -> str:
    """How colours differ; rounding of lossy JPEG's colour transform, and chrominance that two pixels share
    where the data set says so, count for nothing."""
    if found.shape != one.colours.shape:
        return f"{one.path.name}: {found.shape}, not {one.colours.shape}"
    difference = np.abs(found - one.colours)
    lossy = one.transfer_syntax_uid in LOSSY_JPEG
    worst, mean = (48, 2.5) if lossy and shared else (3, 0.5) if lossy else (0, 0.0)
    if difference.max() <= worst and difference.mean() <= mean:
        return ""
    return f"{one.path.name} {one.transfer_syntax_uid}: up to {difference.max()}, {difference.mean():.2f}"


def test_uncompressed_frames_are_what_the_metadata_say(
    colour_archive: Archive, coloured: list[Coloured]
) -> None:
    wrong, seen = [], set()
    for one in coloured:
        metadata = _metadata(colour_archive, one)
        answer = ask(colour_archive, f"{one.url}/frames/{_numbers(metadata)}", Accept=PIXELS)
        shared = str(metadata.PhotometricInterpretation).endswith("_422")
        if answer.status == 406 and shared and metadata.Columns % 2:
            continue  # no uncompressed frame can be that
        assert answer.status == 200, (one.path, answer)
        value = b"".join(part.content for part in answer.parts())
        wrong.append(_differs(one, rgb(metadata, value), shared=shared))
        seen.add(
            (one.transfer_syntax_uid, metadata.PhotometricInterpretation, metadata.get("PlanarConfiguration"))
        )
    assert "\n".join(filter(None, wrong)) == ""
    assert len(seen) >= 8, seen


def test_frames_of_a_rendition_are_what_the_metadata_say(
    colour_archive: Archive, coloured: list[Coloured]
) -> None:
    wrong = []
    for one in coloured:
        metadata = _metadata(colour_archive, one)
        answer = ask(colour_archive, f"{one.url}/frames/{_numbers(metadata)}", Accept=CODE_STREAM)
        if answer.status != 200 or one.transfer_syntax_uid == JPEG_2000:
            continue
        # A decoder of JPEG 2000 gives colour by pixel, and a client goes on with what the metadata say.
        value = b"".join(bytes(openjpeg.decode_pixel_data(part.content)) for part in answer.parts())
        wrong.append(_differs(one, rgb(metadata, value), shared=False))
    assert "\n".join(filter(None, wrong)) == ""


@pytest.mark.parametrize("accept", ["", "; transfer-syntax=1.2.840.10008.1.2.1"])
def test_uncompressed_instances_describe_their_own_pixels(
    colour_archive: Archive, coloured: list[Coloured], accept: str
) -> None:
    wrong = []
    for one in coloured:
        answer = ask(colour_archive, one.url, Accept=f'multipart/related; type="application/dicom"{accept}')
        (part,) = answer.parts()
        given = pydicom.dcmread(io.BytesIO(part.content))
        assert given.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        wrong.append(_differs(one, rgb(given, given.PixelData), shared=False))
    assert "\n".join(filter(None, wrong)) == ""
    assert len(wrong) >= 8
