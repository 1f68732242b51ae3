"""In which form an instance goes to a receiver: as stored, as its rendition, or converted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from services.common.errors import NotAcceptable
from services.common.model import BlobRef, Location, RenditionKind

ANY = ("*",)
"""Accepts whatever an instance is stored in: the original always."""

EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
UNCOMPRESSED = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
"""What an instance can be converted to."""

_JPEG2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
_JPEG2000 = "1.2.840.10008.1.2.4.91"
RENDERED_IN = (_JPEG2000_LOSSLESS, _JPEG2000)
"""The transfer syntaxes that a rendition can be sent in."""

_ALSO = {_JPEG2000_LOSSLESS: _JPEG2000}
"""Transfer syntaxes whose data sets are valid, as they are, in another (PS3.5 A.4.4)."""

Accepted = Callable[[str], Sequence[str]]
"""The transfer syntaxes that the receiver takes for a SOP class, best first; none where it takes none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What is to be sent: the bytes of `data_set`, or a conversion of the original where it is None."""

    transfer_syntax_uid: str
    data_set: BlobRef | None


def best_form(location: Location, accepted: Sequence[str]) -> Form:
    """The form of an instance for a receiver that takes `accepted`, best first.

    Of the original and its JPEG 2000 rendition the one whose transfer syntax the receiver names first
    goes, untouched; the original where it takes anything, and where both are JPEG 2000.  Where it takes
    neither, the original is converted to the first uncompressed transfer syntax that it takes.

    Raises:
        NotAcceptable: the receiver takes nothing that the instance can be given in.
    """
    is_jpeg2000 = location.transfer_syntax_uid in RENDERED_IN
    if tuple(accepted) == ANY or (is_jpeg2000 and location.transfer_syntax_uid in accepted):
        return Form(transfer_syntax_uid=location.transfer_syntax_uid, data_set=location.data_set)
    stored = _stored_forms(location)
    for uid in accepted:
        form = stored.get(uid)
        if form is not None:
            return form
    for uid in accepted:
        if uid in UNCOMPRESSED:
            return Form(transfer_syntax_uid=uid, data_set=None)
    raise NotAcceptable(f"it is stored in {location.transfer_syntax_uid}, which is not accepted")


def form_without_rendition(location: Location, accepted: Sequence[str]) -> Form | None:
    """The best form that needs no rendition, if there is one."""
    try:
        return best_form(replace(location, renditions=()), accepted)
    except NotAcceptable:
        return None


def _stored_forms(location: Location) -> dict[str, Form]:
    """What lies in the store, by every transfer syntax that it may be sent in; the original comes first."""
    rendition = location.rendition(RenditionKind.JPEG2000)
    stored = [(location.transfer_syntax_uid, location.data_set)]
    if rendition is not None and rendition.blob is not None:
        start = rendition.data_set_offset
        stored.append(
            (rendition.transfer_syntax_uid, rendition.blob.part(start, rendition.file_length - start))
        )
    forms: dict[str, Form] = {}
    for names in (lambda uid: uid, _ALSO.get):
        for uid, data_set in stored:
            name = names(uid)
            if name is not None:
                forms.setdefault(name, Form(transfer_syntax_uid=name, data_set=data_set))
    return forms
