"""The object store as an S3 bucket: only plain S3 calls, so that every S3 server serves."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from services.common import logs
from services.common.adapters.s3_client import ClientsPerProcess, s3_errors
from services.common.adapters.s3_reader import S3Stream
from services.common.adapters.s3_writer import MARK, S3Writer, beside
from services.common.adapters.spool import MemoryBudget
from services.common.errors import BlobMissing
from services.common.keys import Area, checked, is_key
from services.common.model import BlobRef
from services.common.ports import BlobStat
from services.common.settings import S3Settings

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectTypeDef

_log = logs.get(__name__)

_PAGE = 1000
_SPOOL_BYTES = 64 * 2**20
_AFTER_METADATA = f"{Area.METADATA}0"  # "0" is the character after "/"


class S3Store:
    """Objects in one bucket of an S3 server.

    Nothing is connected before the first call, and a forked child connects anew.  Metadata are the object's
    own, or an object of `Area.METADATA` where the blob came in parts.
    """

    def __init__(self, settings: S3Settings) -> None:
        self.bucket = settings.bucket
        self._region = settings.region
        self._part_bytes = settings.part_bytes
        self._clients = ClientsPerProcess(settings)
        self._budget = MemoryBudget(_SPOOL_BYTES)

    def prepare(self, longest_put_seconds: float) -> None:
        """Make the bucket if it is missing, and forget uploads that nobody can still be writing to.

        Raises:
            Unavailable: the store does not serve, or does not let the bucket be made.
        """
        with s3_errors():
            if not self._has_bucket():
                self._create_bucket()
            self._abort_uploads(datetime.now(UTC) - timedelta(seconds=longest_put_seconds))

    def create(self, key: str) -> S3Writer:
        """Begin a blob; a commit replaces an object of the same key whole."""
        return S3Writer(
            self._clients.both(), self.bucket, checked(key), part_bytes=self._part_bytes, budget=self._budget
        )

    def open(self, ref: BlobRef) -> io.RawIOBase:
        """Read exactly the bytes of `ref`, from whichever bucket it names.

        Raises:
            BlobMissing: the object is not there, or is shorter than `ref` says.
        """
        checked(ref.key)
        return S3Stream(self._clients.get(), ref)

    def stat(self, key: str) -> BlobStat:
        """Size and metadata of one object.

        Raises:
            BlobMissing: the object is not there.
        """
        with s3_errors(checked(key)):
            found = self._clients.get().head_object(Bucket=self.bucket, Key=key)
        metadata: Mapping[str, str] = found["Metadata"]
        return BlobStat(
            key=key,
            size=found["ContentLength"],
            modified=found["LastModified"],
            metadata=self._read_beside(key) if MARK in metadata else metadata,
        )

    def list(self, prefix: str, *, after: str = "", limit: int = _PAGE) -> Sequence[BlobStat]:
        """At most `limit` objects that begin with `prefix` and are greater than `after`, in key order.

        What others may have put into the bucket under names that are no keys is passed over.
        """
        found: list[BlobStat] = []
        more = True
        while more and len(found) < limit:
            page, more = self._list_page(prefix, after, min(_PAGE, limit - len(found)))
            found += [_blob_stat(item) for item in page if is_key(item["Key"])]
            if page:
                last = page[-1]["Key"]
                after = _AFTER_METADATA if last.startswith(f"{Area.METADATA}/") else last
        return found

    def delete(self, key: str) -> None:
        """Remove an object; none of that key is no error."""
        client = self._clients.get()
        with s3_errors():
            client.delete_object(Bucket=self.bucket, Key=checked(key))
            client.delete_object(Bucket=self.bucket, Key=beside(key))

    def _list_page(self, prefix: str, after: str, limit: int) -> tuple[Sequence[ObjectTypeDef], bool]:
        with s3_errors():
            answer = self._clients.get().list_objects_v2(
                Bucket=self.bucket, Prefix=prefix, StartAfter=after, MaxKeys=limit
            )
        return answer.get("Contents", []), answer["IsTruncated"]

    def _read_beside(self, key: str) -> Mapping[str, str]:
        try:
            with s3_errors(key):
                answer = self._clients.get().get_object(Bucket=self.bucket, Key=beside(key))
                metadata: Mapping[str, str] = json.loads(answer["Body"].read())
        except BlobMissing:  # committed without any
            return {}
        return metadata

    def _has_bucket(self) -> bool:
        try:
            self._clients.get().head_bucket(Bucket=self.bucket)
        except ClientError as exc:
            if exc.response.get("Error", {}).get("Code") in {"404", "NoSuchBucket"}:
                return False
            raise
        return True

    def _create_bucket(self) -> None:
        client = self._clients.get()
        try:
            if self._region == "us-east-1":  # the one region that may not be named
                client.create_bucket(Bucket=self.bucket)
            else:
                client.create_bucket(
                    Bucket=self.bucket,
                    CreateBucketConfiguration={"LocationConstraint": self._region},  # type: ignore[typeddict-item]
                )
        except ClientError:
            if not self._has_bucket():  # else another pod was faster
                raise
        else:
            _log.info("bucket_created", bucket=self.bucket)

    def _abort_uploads(self, before: datetime) -> None:
        client = self._clients.get()
        for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket):
            for upload in page.get("Uploads", []):
                if upload["Initiated"] < before:
                    client.abort_multipart_upload(
                        Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )
                    self._forget_metadata_of_none(upload["Key"])
                    _log.info("abandoned_upload_aborted", key=upload["Key"])

    def _forget_metadata_of_none(self, key: str) -> None:
        """Remove the metadata that were put beside an object which never came to be."""
        try:
            with s3_errors(key):
                self._clients.get().head_object(Bucket=self.bucket, Key=key)
        except BlobMissing:
            self._clients.get().delete_object(Bucket=self.bucket, Key=beside(key))


def _blob_stat(item: ObjectTypeDef) -> BlobStat:
    return BlobStat(key=item["Key"], size=item["Size"], modified=item["LastModified"], metadata={})
