"""A blob on its way out of an S3 object store."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError
from urllib3.exceptions import HTTPError

from services.common.adapters.s3_client import s3_errors
from services.common.errors import BlobMissing, Unavailable
from services.common.model import BlobRef
from services.common.ports import Buffer

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

_RECONNECTS = 2


class S3Stream(io.RawIOBase):
    """Exactly the bytes of a reference; a connection that breaks is taken up again where it broke."""

    def __init__(self, client: S3Client, ref: BlobRef) -> None:
        """Open the stream.

        Raises:
            BlobMissing: the object is not there, or is shorter than `ref` says.
            Unavailable: the store does not serve.
        """
        self._client = client
        self._ref = ref
        self._left = ref.length
        self._version: str | None = None
        self._body: StreamingBody | None = None
        if ref.length:
            self._body = self._connect()
        else:
            self._check_length()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")[: self._left]
        count = 0
        breaks = 0
        while view and not count:
            try:
                self._body = self._body or self._connect()
                count = self._body.readinto(view)  # type: ignore[arg-type]
                broken = "its bytes ended early"
            except (BotoCoreError, HTTPError, OSError) as exc:
                broken = type(exc).__name__
            if not count:
                self._disconnect()
                breaks += 1
                if breaks > _RECONNECTS:
                    raise Unavailable(f"the object store broke off {self._ref.key}: {broken}")
        self._left -= count
        return count

    def close(self) -> None:
        self._disconnect()
        super().close()

    def _connect(self) -> StreamingBody:
        """Ask for the bytes that are left, of the same version of the object as before."""
        ref = self._ref
        first = ref.offset + ref.length - self._left
        wanted = f"bytes={first}-{ref.offset + ref.length - 1}"
        with s3_errors(ref.key):
            if self._version is None:
                answer = self._client.get_object(Bucket=ref.bucket, Key=ref.key, Range=wanted)
            else:
                answer = self._client.get_object(
                    Bucket=ref.bucket, Key=ref.key, Range=wanted, IfMatch=self._version
                )
        body = answer["Body"]
        if answer["ContentLength"] != self._left:
            body.close()
            raise BlobMissing(f"{ref.key} has no {ref.length} bytes at {ref.offset}")
        self._version = answer["ETag"]
        return body

    def _disconnect(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()

    def _check_length(self) -> None:
        ref = self._ref
        with s3_errors(ref.key):
            size = self._client.head_object(Bucket=ref.bucket, Key=ref.key)["ContentLength"]
        if size < ref.offset:
            raise BlobMissing(f"{ref.key} has no byte {ref.offset}")
