"""The object store that the settings name."""

from __future__ import annotations

from services.common.adapters.files import FolderStore
from services.common.adapters.s3 import S3Store
from services.common.ports import BlobStore
from services.common.settings import CommonSettings


def open_store(settings: CommonSettings) -> BlobStore:
    """The store; an S3 server need not answer yet.

    Raises:
        Unavailable: the folder cannot be written to.
    """
    if settings.store.kind == "s3":
        return S3Store(settings.s3)
    return FolderStore(settings.blob_dir, longest_put_seconds=settings.store.longest_put_seconds)


def prepare_store(settings: CommonSettings) -> None:
    """Make the bucket or folder if it is missing and clear away abandoned uploads; safe to repeat.

    Raises:
        Unavailable: the store does not serve.
    """
    if settings.store.kind == "s3":
        S3Store(settings.s3).prepare(settings.store.longest_put_seconds)
    else:
        open_store(settings)
