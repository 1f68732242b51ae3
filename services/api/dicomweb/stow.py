"""STOW-RS: store instances (PS3.18 10.5)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from http import HTTPStatus
from typing import BinaryIO

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from services.api.addresses import base_url
from services.api.dependencies import Archive, Here
from services.api.dicomweb.accept import MediaRange, accepted, choose, content_type
from services.api.dicomweb.files import DICOM
from services.api.dicomweb.metadata import JSON_TYPES
from services.api.dicomweb.parameters import uid
from services.api.dicomweb.parts import PartReader, spool
from services.api.dicomweb.store_answer import Refused, Said, store_answer
from services.api.problems import problem
from services.common.errors import InvalidInstance
from services.common.model import Route, Source, StoredInstance
from services.common.part10 import HeaderScanner, read_file_meta

CANNOT_UNDERSTAND = 0xC000
DOES_NOT_MATCH = 0xA900
"""Failure Reason (0008,1197): PS3.18 table I.2-2, as the statuses of C-STORE: the second where one
element is to blame."""

_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00080016, 0x00080018
_CHUNK_BYTES = 256 * 1024

router = APIRouter(prefix="/dicom-web", tags=["STOW-RS"])


@router.post("/studies")
async def store_instances(request: Request, archive: Here) -> JSONResponse:
    """Store the instances in the body, whatever their studies."""
    return await _store(request, archive, "")


@router.post("/studies/{study}")
async def store_study_instances(study: str, request: Request, archive: Here) -> JSONResponse:
    """Store the instances in the body; those of another study are refused."""
    return await _store(request, archive, uid("StudyInstanceUID", study))


async def _store(request: Request, archive: Archive, study: str) -> JSONResponse:
    media_type = choose(accepted(request), JSON_TYPES)
    content = content_type(request.headers.get("content-type", ""))
    if content.name not in (DICOM, "multipart/related") or not content.takes(DICOM):
        return problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"instances are sent as {DICOM}, one or multipart/related"
        )
    source = Source(route=Route.STOW, calling_aet="", called_aet=archive.settings.dicom.ae_title)
    outcomes: list[StoredInstance | Refused] = []
    async with aclosing(_files(request, content)) as files:
        async for file in files:
            with closing(file):
                outcomes.append(await run_in_threadpool(_accept, archive, file, source, study))
    if not outcomes:
        return problem(HTTPStatus.BAD_REQUEST, "the body holds no instance")
    return store_answer(outcomes, base_url(request), media_type)


async def _files(request: Request, content: MediaRange) -> AsyncGenerator[BinaryIO, None]:
    """The files in the body, as they become whole; whoever takes one closes it."""
    if content.name == DICOM:
        with closing(spool()) as file:
            async for chunk in request.stream():
                await run_in_threadpool(file.write, chunk)
            if file.tell():
                file.seek(0)
                yield file
        return
    with closing(PartReader(content.parameters.get("boundary", ""))) as reader:
        async for chunk in request.stream():
            await run_in_threadpool(reader.feed, chunk)
            for part in reader.take():
                yield part
        reader.finish()


def _accept(archive: Archive, file: BinaryIO, source: Source, study: str) -> StoredInstance | Refused:
    """Store one file; `study`, where it is not empty, is the only one that it may belong to."""
    try:
        return archive.intake.accept_file(file, source, study_instance_uid=study)
    except InvalidInstance as refusal:
        file.seek(0)
        reason = CANNOT_UNDERSTAND if refusal.tag is None else DOES_NOT_MATCH
        return Refused(said=_said(file), reason=reason, detail=str(refusal))


def _said(file: BinaryIO) -> Said:
    """What a file says of itself, as far as it can be read."""
    try:
        meta = read_file_meta(file)
    except InvalidInstance:
        return Said()
    file.seek(meta.data_set_offset)
    scanner = HeaderScanner(meta.transfer_syntax_uid)
    # What was read before the fault is all there is to say.
    with contextlib.suppress(InvalidInstance):
        while scanner.text(_SOP_INSTANCE_UID) is None and (chunk := file.read(_CHUNK_BYTES)):
            scanner.feed(chunk)
    return Said(
        sop_class_uid=scanner.text(_SOP_CLASS_UID) or meta.sop_class_uid,
        sop_instance_uid=scanner.text(_SOP_INSTANCE_UID) or meta.sop_instance_uid,
    )
