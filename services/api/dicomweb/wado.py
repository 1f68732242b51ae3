"""WADO-RS: studies, series and instances as DICOM files (PS3.18 10.4)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from services.api.addresses import base_url
from services.api.dependencies import Archive, Here
from services.api.dicomweb import multipart
from services.api.dicomweb.accept import MediaRange, accepted, choose, pick
from services.api.dicomweb.files import DICOM, OutgoingFile, single_file
from services.api.dicomweb.resources import instance_url, locate
from services.api.dicomweb.streaming import Streamed
from services.common import logs
from services.common.errors import BlobMissing, NotAcceptable, Unavailable
from services.common.model import Location
from services.common.retrieval import (
    ANY,
    EXPLICIT_VR_LITTLE_ENDIAN,
    Outgoing,
    ReadAhead,
    best_form,
    open_instances,
)

_log = logs.get(__name__)
router = APIRouter(prefix="/dicom-web", tags=["WADO-RS"])


@router.get("/studies/{study}")
def retrieve_study(study: str, request: Request, archive: Here) -> Response:
    """All instances of a study."""
    return _files(request, archive, locate(archive, study=study, headers=False))


@router.get("/studies/{study}/series/{series}")
def retrieve_series(study: str, series: str, request: Request, archive: Here) -> Response:
    """All instances of a series."""
    return _files(request, archive, locate(archive, study=study, series=series, headers=False))


@router.get("/studies/{study}/series/{series}/instances/{instance}")
def retrieve_instance(study: str, series: str, instance: str, request: Request, archive: Here) -> Response:
    """One instance, as a multipart body of one part or, where the client prefers it, as a plain file."""
    found = locate(archive, study=study, series=series, instance=instance)
    taken = accepted(request)
    if not pick(taken, [DICOM])[0].is_multipart:
        return single_file(archive, found[0], accepted_syntaxes(taken))
    return _files(request, archive, found)


def accepted_syntaxes(taken: Sequence[MediaRange]) -> Sequence[str]:
    """The transfer syntaxes in which files are taken; ``*`` is whatever they are stored in.

    A client that names none gets Explicit VR Little Endian (PS3.18 8.7.3.5.2).
    """
    asked = [one.transfer_syntax or EXPLICIT_VR_LITTLE_ENDIAN for one in taken if one.takes(DICOM)]
    return ANY if ANY[0] in asked else tuple(dict.fromkeys(asked))


def _files(request: Request, archive: Archive, found: Sequence[Location]) -> Response:
    taken = accepted(request)
    choose(taken, [DICOM])
    syntaxes = accepted_syntaxes(taken)
    given = [location for location in found if _is_acceptable(location, syntaxes)]
    if not given:
        raise NotAcceptable("none of the instances can be given in a transfer syntax that is accepted")
    boundary = multipart.new_boundary()
    return Streamed(
        multipart.encode(_parts(archive, given, syntaxes, base_url(request)), boundary),
        status_code=HTTPStatus.OK if len(given) == len(found) else HTTPStatus.PARTIAL_CONTENT,
        media_type=multipart.media_type(DICOM, boundary),
    )


def _is_acceptable(location: Location, syntaxes: Sequence[str]) -> bool:
    try:
        best_form(location, syntaxes)
    except NotAcceptable:
        return False
    return True


def _parts(
    archive: Archive, locations: Sequence[Location], syntaxes: Sequence[str], base: str
) -> Generator[multipart.Part, None, None]:
    """A part for each instance; one that cannot be converted goes as it is stored, and says so.

    Raises:
        BlobMissing: the store lacks one, so that the body ends without its last boundary.
        Unavailable: the store does not answer; the same follows.
    """
    with ReadAhead(locations, lambda _: syntaxes, archive.store, archive.converter, reuse=True) as opened:
        for outgoing in opened:
            if outgoing.error is None or isinstance(outgoing.error, BlobMissing | Unavailable):
                yield _part(outgoing, base)
                continue
            _log.warning("instance_sent_as_stored", reason=str(outgoing.error))
            stored = open_instances([outgoing.location], lambda _: ANY, archive.store, archive.converter)
            with closing(stored):
                yield _part(next(stored), base)


def _part(outgoing: Outgoing, base: str) -> multipart.Part:
    file = OutgoingFile.of(outgoing)
    return multipart.Part(
        content_type=file.content_type,
        chunks=file.chunks,
        location=instance_url(base, outgoing.location.key),
    )
