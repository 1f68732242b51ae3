"""The address under which a client reached the archive, for every URL that an answer holds.

A proxy in front tells by Forwarded (RFC 7239) or X-Forwarded-Proto, -Host, -Port and -Prefix.  The guard
has let the host pass before it is used here.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import Request

_PARAMETER = re.compile(r'(\w+)=(?:"([^"]*)"|([^;,\s]*))')
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_SCHEMES = ("http", "https")
_PATH = "/%:@!$&'()*+,;=~"


def base_url(request: Request) -> str:
    """Scheme, host and path prefix, without a slash at the end; of characters that URLs may hold."""
    headers = request.headers
    said = (_forwarded(headers, "proto"), _first(headers, "x-forwarded-proto"))
    scheme = next((one.lower() for one in said if one.lower() in _SCHEMES), request.url.scheme)
    prefix = _first(headers, "x-forwarded-prefix").strip("/") or request.scope.get("root_path", "").strip("/")
    return f"{scheme}://{public_host(headers)}/{quote(prefix, safe=_PATH)}".rstrip("/")


def public_host(headers: Headers) -> str:
    """The host, with its port where that is not the scheme's own, that the client asked for."""
    host = _forwarded(headers, "host")
    if host:
        return host
    host = _first(headers, "x-forwarded-host")
    port = _first(headers, "x-forwarded-port")
    default = {"http": "80", "https": "443"}.get(_first(headers, "x-forwarded-proto"))
    if host and port and port != default and ":" not in host.rpartition("]")[2]:
        return f"{host}:{port}"
    return host or headers.get("host", "")


def host_name(host: str) -> str:
    """The name or address of a host, in lower case and without its port; empty where it is no host."""
    match = _HOST.fullmatch(host)
    return match[1].strip("[]").lower() if match else ""


def _forwarded(headers: Headers, name: str) -> str:
    """A parameter of the first element of Forwarded: the proxy nearest to the client."""
    first = headers.get("forwarded", "").split(",")[0]
    found: dict[str, str] = {key.lower(): quoted or plain for key, quoted, plain in _PARAMETER.findall(first)}
    return found.get(name, "")


def _first(headers: Headers, name: str) -> str:
    return headers.get(name, "").split(",")[0].strip()
