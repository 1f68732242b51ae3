"""A blob on its way into an S3 object store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from services.common import logs
from services.common.adapters.s3_client import Clients, s3_errors
from services.common.adapters.spool import MemoryBudget, Spool
from services.common.errors import BlobMissing, Unavailable
from services.common.keys import Area, checked
from services.common.model import BlobRef
from services.common.ports import Buffer

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

_log = logs.get(__name__)

MARK = "notes"
"""Object metadata of a multipart upload: its own metadata is in the object that `beside` names."""


def beside(key: str) -> str:
    """Where the metadata of a large object lies, for they are not known when its upload begins."""
    return f"{Area.METADATA}/{key}.json"


class S3Writer:
    """One PUT at the end for a small blob; parts of `part_bytes` while they arrive for a larger one."""

    def __init__(
        self, clients: Clients, bucket: str, key: str, *, part_bytes: int, budget: MemoryBudget
    ) -> None:
        self._client = clients.client
        self._direct = clients.direct
        self._bucket = bucket
        self._key = key
        self._part_bytes = part_bytes
        self._spool = Spool(budget)
        self._upload_id: str | None = None
        self._parts: list[CompletedPartTypeDef] = []
        self._uploaded = 0

    def write(self, data: Buffer) -> None:
        """Append `data`; waits for an upload whenever a part is full.

        Raises:
            Unavailable: the store does not serve.
        """
        view = memoryview(data).cast("B")
        with s3_errors():
            while view:
                if self._spool.size == self._part_bytes:
                    self._upload_part()
                room = self._part_bytes - self._spool.size
                self._spool.append(view[:room])
                view = view[room:]

    def commit(
        self, metadata: Mapping[str, str], *, key: str | None = None, sha256: str | None = None
    ) -> BlobRef:
        """Make the blob visible, under `key` instead of the one it was begun for if given.

        `sha256` of all its bytes, in hex, saves reading them once more where the caller has it.

        Raises:
            Unavailable: the store has not confirmed it.
        """
        key = checked(key or self._key)
        size = self._uploaded + self._spool.size
        with s3_errors():
            if self._upload_id is None:
                self._put(key, metadata, sha256)
            else:
                self._upload_part()
                self._put_beside(key, metadata)
                self._complete(self._upload_id, size)
                if key != self._key:
                    self._move(key)
        self._spool.clear()
        return BlobRef(bucket=self._bucket, key=key, offset=0, length=size)

    def abort(self) -> None:
        """Forget the blob; what a store that is down keeps of it is removed by `S3Store.prepare`."""
        self._spool.clear()
        upload_id, self._upload_id = self._upload_id, None
        if upload_id is not None:
            try:
                with s3_errors():
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=self._key, UploadId=upload_id
                    )
                    self._client.delete_object(Bucket=self._bucket, Key=beside(self._key))
            except Unavailable as exc:
                _log.warning("upload_not_aborted", key=self._key, reason=str(exc))

    def _put(self, key: str, metadata: Mapping[str, str], sha256: str | None) -> None:
        """All of it in one request; a second and third are for what went wrong with the first."""
        body = self._spool.body()
        if isinstance(body, bytearray):
            digest = sha256 or hashlib.sha256(body).hexdigest()
            if self._direct.put(key, body, metadata, sha256=digest):
                return
        self._client.put_object(Bucket=self._bucket, Key=key, Body=cast(bytes, body), Metadata=dict(metadata))

    def _upload_part(self) -> None:
        if self._upload_id is None:
            self._upload_id = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=self._key, Metadata={MARK: "beside"}
            )["UploadId"]
        number = len(self._parts) + 1
        answer = self._client.upload_part(
            Bucket=self._bucket,
            Key=self._key,
            UploadId=self._upload_id,
            PartNumber=number,
            Body=cast(bytes, self._spool.body()),  # it takes what its stubs do not know
        )
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        self._uploaded += self._spool.size
        self._spool.clear()

    def _put_beside(self, key: str, metadata: Mapping[str, str]) -> None:
        if metadata:
            body = json.dumps(dict(metadata)).encode("ascii")
            self._client.put_object(Bucket=self._bucket, Key=beside(key), Body=body)

    def _complete(self, upload_id: str, size: int) -> None:
        """Join the parts.  An answer that got lost is no failure where the object is there."""
        try:
            with s3_errors():
                self._client.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=self._key,
                    UploadId=upload_id,
                    MultipartUpload={"Parts": self._parts},
                )
            self._confirm(size)
        except Unavailable:
            self._confirm(size)
        self._upload_id = None

    def _confirm(self, size: int) -> None:
        try:
            with s3_errors(self._key):
                found = self._client.head_object(Bucket=self._bucket, Key=self._key)["ContentLength"]
        except BlobMissing as exc:
            raise Unavailable(f"the object store has not kept {self._key}") from exc
        if found != size:
            raise Unavailable(f"the object store has kept {found} of {size} bytes of {self._key}")

    def _move(self, key: str) -> None:
        """Take the finished object to another key; S3 has no rename."""
        try:
            self._client.copy_object(
                Bucket=self._bucket, Key=key, CopySource={"Bucket": self._bucket, "Key": self._key}
            )
        finally:
            self._client.delete_object(Bucket=self._bucket, Key=self._key)
