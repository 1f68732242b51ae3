"""The object store that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.adapters.disk_space import Reserve
from services.common.adapters.files import FolderStore
from services.common.ports import BlobStore
from services.common.settings import CommonSettings

if TYPE_CHECKING:
    from services.common.adapters.s3 import S3Store


def open_store(settings: CommonSettings) -> BlobStore:
    """The store; an S3 server need not answer yet.

    Raises:
        Unavailable: the folder cannot be written to.
    """
    if settings.store.kind == "s3":
        return _s3_store(settings)
    return FolderStore(
        settings.blob_dir,
        longest_put_seconds=settings.store.longest_put_seconds,
        reserve_bytes=settings.store.reserve_bytes,
    )


def prepare_store(settings: CommonSettings) -> None:
    """Make the bucket or folder if it is missing and clear away abandoned uploads; safe to repeat.

    Raises:
        Unavailable: the store does not serve.
    """
    if settings.store.kind == "s3":
        _s3_store(settings).prepare(settings.store.longest_put_seconds + settings.store.clock_skew_seconds)
    else:
        open_store(settings)


def check_space(settings: CommonSettings) -> None:
    """Whether there is room for images; whoever runs an S3 store watches its disks himself.

    Raises:
        Unavailable: a folder store has come to its reserve, or its disk does not answer.
    """
    if settings.store.kind == "folder":
        Reserve(settings.blob_dir, settings.store.reserve_bytes).check()


def _s3_store(settings: CommonSettings) -> S3Store:
    # boto3 takes a sixth of a service's start and 20 MB of its memory: not where a folder holds the blobs.
    from services.common.adapters.s3 import S3Store

    return S3Store(settings.s3)
