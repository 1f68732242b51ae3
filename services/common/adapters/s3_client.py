"""The connection to an S3 object store: clients of each process, and their errors in Gantry's words."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from services.common.adapters.s3_put import DirectPut
from services.common.errors import BlobMissing, Unavailable
from services.common.settings import S3Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_POOL_SIZE = 128
_MISSING = {"NoSuchKey", "404", "NotFound", "InvalidRange"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """Two ways to the one store: `client` for everything, `direct` for small objects."""

    client: S3Client
    direct: DirectPut


class ClientsPerProcess:
    """Clients that are made when they are first needed, shared by threads and never by a forked child."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._process = 0
        self._lock = threading.Lock()
        self._clients: Clients | None = None

    def get(self) -> S3Client:
        """This process's client.

        Raises:
            Unavailable: the settings make no client.
        """
        return self.both().client

    def both(self) -> Clients:
        """This process's clients.

        Raises:
            Unavailable: the settings make no client.
        """
        if self._process != os.getpid():
            # The parent's sockets are the parent's, and one of its threads may have held the lock.
            self._process, self._lock, self._clients = os.getpid(), threading.Lock(), None
        with self._lock:
            if self._clients is None:
                with s3_errors():
                    self._clients = _connect(self._settings)
            return self._clients


@contextmanager
def s3_errors(key: str | None = None) -> Iterator[None]:
    """Wrap what boto3 raises.

    Raises:
        BlobMissing: the store says that `key`, where one is given, is not there or is too short.
        Unavailable: anything else went wrong.
    """
    try:
        yield
    except ClientError as exc:
        code = exc.response.get("Error", {}).get("Code", "an error")
        if key is not None and code in _MISSING:
            raise BlobMissing(f"{key} is missing or short") from exc
        raise Unavailable(f"the object store answers {code}") from exc
    except (BotoCoreError, HTTPError, OSError) as exc:
        raise Unavailable(f"the object store does not serve: {type(exc).__name__}") from exc


def _connect(settings: S3Settings) -> Clients:
    access_key, secret_key = settings.access_key, settings.secret_key
    session = boto3.session.Session(
        region_name=settings.region,
        aws_access_key_id=access_key.get_secret_value() if access_key else None,
        aws_secret_access_key=secret_key.get_secret_value() if secret_key else None,
    )
    client: S3Client = session.client(
        "s3",
        endpoint_url=settings.endpoint,
        config=Config(
            connect_timeout=settings.connect_timeout_seconds,
            read_timeout=settings.read_timeout_seconds,
            retries={"total_max_attempts": 2, "mode": "standard"},
            max_pool_connections=_POOL_SIZE,
            tcp_keepalive=True,
            # Newer checksum headers are refused by some servers; the signed SHA-256 is checked by all.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            signature_version="s3v4",
            s3={
                "payload_signing_enabled": True,
                "addressing_style": "path" if settings.endpoint else "auto",
            },
        ),
    )
    direct = DirectPut(
        session,
        client,
        settings.bucket,
        timeouts=(settings.connect_timeout_seconds, settings.read_timeout_seconds),
        pool_size=_POOL_SIZE,
    )
    return Clients(client=client, direct=direct)
