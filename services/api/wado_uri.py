"""WADO-URI: one instance by query parameters (PS3.18 9), as Horos and OsiriX ask for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastapi import APIRouter, Request, Response

from services.api.dependencies import Archive, Here
from services.api.dicomweb.files import DICOM, single_file
from services.api.dicomweb.parameters import uid, whole_number
from services.api.dicomweb.render_options import LARGEST_VIEWPORT, options_of
from services.api.dicomweb.rendered import CACHE, render
from services.api.dicomweb.resources import locate_one
from services.common.errors import InvalidQuery, NotAcceptable
from services.common.model import Location
from services.common.pixels.options import MEDIA_TYPES, RenderOptions
from services.common.retrieval import ANY, EXPLICIT_VR_LITTLE_ENDIAN

router = APIRouter(tags=["WADO-URI"])


@router.get("/wado")
def retrieve(request: Request, archive: Here) -> Response:
    """The instance that the parameters name, as a file or a picture; others are ignored."""
    parameters = request.query_params
    if parameters.get("requestType") != "WADO":
        raise InvalidQuery("requestType is WADO")
    study, series, instance = (_uid(parameters, name) for name in ("studyUID", "seriesUID", "objectUID"))
    location = locate_one(archive, study, series, instance)
    wanted = [one.strip().split(";")[0] for one in parameters.get("contentType", "").split(",")]
    media_type = next((one for one in wanted if one in (DICOM, "*/*", "", *MEDIA_TYPES)), None)
    if media_type is None:
        raise NotAcceptable(f"contentType is {DICOM} or one of {', '.join(MEDIA_TYPES)}")
    if media_type == DICOM:
        return single_file(archive, location, _syntaxes(parameters))
    return _picture(archive, location, parameters, media_type if media_type in MEDIA_TYPES else "image/jpeg")


def _uid(parameters: Mapping[str, str], name: str) -> str:
    value = parameters.get(name, "").strip()
    if not value:
        raise InvalidQuery(f"{name} is missing")
    return uid(name, value)


def _syntaxes(parameters: Mapping[str, str]) -> Sequence[str]:
    """What the client takes: what is stored (``useOrig``), else the transfer syntax that it names.

    Where that cannot be had, it is Explicit VR Little Endian (PS3.18 9.1.2.2.8).
    """
    if parameters.get("useOrig", "").lower() in ("true", "yes", "1"):
        return ANY
    asked = parameters.get("transferSyntax", "").strip()
    return ANY if asked == ANY[0] else tuple(dict.fromkeys((asked, EXPLICIT_VR_LITTLE_ENDIAN)))


def _picture(
    archive: Archive, location: Location, parameters: Mapping[str, str], media_type: str
) -> Response:
    asked = parameters.get("frameNumber")
    frame = whole_number("frameNumber", asked, least=1) if asked else None
    picture = render(archive, location, _options(parameters, media_type), frame)
    return Response(picture, media_type=media_type, headers=CACHE)


def _options(parameters: Mapping[str, str], media_type: str) -> RenderOptions:
    """The parameters of PS3.18 9.1.2.2, which say the same as those of WADO-RS in other words."""
    named = {}
    if quality := parameters.get("imageQuality"):
        named["quality"] = quality
    centre, width = parameters.get("windowCenter"), parameters.get("windowWidth")
    if centre and width:
        named["window"] = f"{centre},{width}"
    sides = [parameters.get(name, "") for name in ("columns", "rows")]
    if any(sides):
        # One side alone bounds the picture by itself.
        named["viewport"] = ",".join(side or str(LARGEST_VIEWPORT) for side in sides)
    return options_of(named, media_type)
