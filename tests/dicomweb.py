"""A plain DICOMweb client for the tests: what goes over the wire, without a library's own ideas."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from tests.archive import Archive
from tests.waiting import PATIENCE_SECONDS, wait_until

ROOT = "/dicom-web"
AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Status, headers by lower-case name, and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")

    def parts(self) -> Sequence[Part]:
        """The parts of a multipart body, which has to be whole."""
        boundary = message_of(self.content_type).get_boundary()
        assert boundary is not None, self.content_type
        mark = f"--{boundary}".encode()
        assert self.body.endswith(mark + b"--\r\n"), "the body has no end"
        pieces = self.body.split(mark + b"\r\n")[1:]
        found = []
        for piece in pieces:
            head, _, content = piece.removesuffix(mark + b"--\r\n").partition(b"\r\n\r\n")
            message = message_from_bytes(head)
            found.append(Part(head=message, content=content.removesuffix(b"\r\n")))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a multipart body."""

    head: Message
    content: bytes = field(repr=False)

    @property
    def transfer_syntax(self) -> str:
        return str(self.head.get_param("transfer-syntax"))


def message_of(content_type: str) -> Message:
    """A Content-Type, to be asked for its parameters."""
    message = Message()
    message["Content-Type"] = content_type
    return message


def ask(
    archive: Archive, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> Answer:
    """One request; header names with underscores for hyphens."""
    where = urlsplit(archive.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE_SECONDS)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return Answer(
            status=answer.status,
            headers={name.lower(): value for name, value in answer.getheaders()},
            body=answer.read(),
        )
    finally:
        connection.close()


def stow(archive: Archive, files: Iterable[bytes], study: str = "", **headers: str) -> Answer:
    """Store files as one multipart body."""
    body = b"".join(b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in files)
    said = {"Content_Type": 'multipart/related; type="application/dicom"; boundary=cut', **headers}
    path = f"{ROOT}/studies/{study}" if study else f"{ROOT}/studies"
    return ask(archive, path, "POST", body + b"--cut--\r\n", **said)


def instance_path(data_set: Any) -> str:
    """Where an instance is, by the UIDs of a pydicom data set."""
    return (
        f"{ROOT}/studies/{data_set.StudyInstanceUID}/series/{data_set.SeriesInstanceUID}"
        f"/instances/{data_set.SOPInstanceUID}"
    )


def wait_for_instances(archive: Archive, paths: Sequence[str], seconds: float = PATIENCE_SECONDS) -> None:
    """Until every instance can be asked for."""
    wait_until(
        lambda: all(ask(archive, f"{path}/metadata", "HEAD").status == 200 for path in paths),
        seconds,
        lambda: (
            f"{sum(ask(archive, path + '/metadata', 'HEAD').status == 200 for path in paths)} of "
            f"{len(paths)} are indexed"
        ),
    )
