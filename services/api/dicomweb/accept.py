"""Content negotiation: what a client takes, best first (RFC 9110 12.5.1, PS3.18 8.3.3 and 8.7)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from starlette.requests import Request

from services.common.errors import NotAcceptable

# A quoted string that never ends reaches to the end of the header, so that reading stays linear.
_QUOTED = r'"(?:[^"\\]|\\.)*\\?(?:"|$)'
_ELEMENT = re.compile(rf'(?:[^,"]|{_QUOTED})+')
_PARAMETER = re.compile(rf";\s*([\w!#$%&'*+.^`|~-]+)\s*=\s*({_QUOTED}|[^;,\"\s]*)")
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaRange:
    """One element of an Accept header, or a Content-Type: names in lower case, parameters unquoted."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    quality: float = 1.0

    @property
    def content(self) -> str:
        """The media type of the content: that of the parts, where it is multipart/related."""
        if self.name == "multipart/related":
            return self.parameters.get("type", "*/*").strip().lower()
        return self.name

    @property
    def is_multipart(self) -> bool:
        """Whether several parts are taken, which is also what a client gets that does not care."""
        return self.name in ("multipart/related", "multipart/*", "*/*")

    @property
    def transfer_syntax(self) -> str:
        """The transfer syntax asked for: a UID, ``*``, or nothing."""
        return self.parameters.get("transfer-syntax", "").strip()

    def takes(self, media_type: str) -> bool:
        """Whether content of `media_type` satisfies the range."""
        if self.content in ("*/*", "multipart/*", media_type):
            return True
        return self.content.endswith("/*") and media_type.startswith(self.content[:-1])


def accepted(request: Request) -> Sequence[MediaRange]:
    """What the client of a request takes, best first.

    The query parameter ``accept`` (PS3.18 8.3.3.1) goes before the header, which some cannot set.
    """
    # In a query string "+" is a space, which no media type holds.
    asked = [value.replace("dicom json", "dicom+json") for value in request.query_params.getlist("accept")]
    return ranges(asked or request.headers.getlist("accept"))


def ranges(header: str | Iterable[str]) -> Sequence[MediaRange]:
    """What an Accept header takes, best first; a header that is missing or empty takes anything."""
    headers = [header] if isinstance(header, str) else header
    found = [_range(part) for value in headers for part in _ELEMENT.findall(value) if part.strip()]
    taken = [one for one in found if one.quality > 0] if found else [MediaRange(name="*/*")]
    return sorted(taken, key=lambda one: -one.quality)


def content_type(header: str) -> MediaRange:
    """A Content-Type."""
    return _range(header)


def pick(accepted: Sequence[MediaRange], offered: Sequence[str]) -> tuple[MediaRange, str]:
    """The best range that takes something, and the first of `offered` that it takes.

    Raises:
        NotAcceptable: none of them is taken.
    """
    for one in accepted:
        for media_type in offered:
            if one.takes(media_type):
                return one, media_type
    raise NotAcceptable(f"what can be had here is {', '.join(offered)}")


def choose(accepted: Sequence[MediaRange], offered: Sequence[str]) -> str:
    """The first of `offered` that the best possible range takes.

    Raises:
        NotAcceptable: none of them is taken.
    """
    return pick(accepted, offered)[1]


def _range(text: str) -> MediaRange:
    name, _, _ = text.partition(";")
    parameters = {key.lower(): _unquoted(value) for key, value in _PARAMETER.findall(text)}
    return MediaRange(
        name=name.strip().lower(), parameters=parameters, quality=_quality(parameters.get("q", "1"))
    )


def _unquoted(text: str) -> str:
    return _ESCAPED.sub(r"\1", text[1:].removesuffix('"')) if text.startswith('"') else text


def _quality(text: str) -> float:
    """A weight from 0 to 1; what is none takes nothing."""
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return min(1.0, max(0.0, weight)) if weight == weight else 0.0
