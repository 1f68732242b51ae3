"""The one request that a small object goes up in, signed by botocore and sent over an HTTP session of its.

boto3's own way from the call to that request costs several times the request itself, and most of it is the
same for every object.  It is still the way for whatever this one attempt does not settle: it knows redirects,
skewed clocks, throttling and every other thing that a server may answer.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
)
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from services.common import logs
from services.common.errors import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_REST_SECONDS = 300.0
_log = logs.get(__name__)


class DirectPut:
    """Puts objects into one bucket; threads may share it."""

    def __init__(
        self,
        session: boto3.session.Session,
        client: S3Client,
        bucket: str,
        *,
        timeouts: tuple[float, float],
        pool_size: int,
    ) -> None:
        """Sign and send as `client` of `session` does; `timeouts` are to connect and to read, in seconds."""
        # The client itself says where the objects of a bucket are, whatever endpoint and style are in force.
        url = client.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "x"})
        self._url = url.partition("?")[0].removesuffix("x")
        self._region = client.meta.region_name
        self._credentials = session.get_credentials()
        options: dict[str, Any] = {  # of types that its stubs do not know
            "verify": os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE") or True,
            "proxies": get_environ_proxies(self._url),
            "timeout": timeouts,
            "max_pool_connections": pool_size,
            "socket_options": [
                (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            ],
        }
        self._http = URLLib3Session(**options)
        self._rests_until = 0.0

    def put(self, key: str, body: bytearray, metadata: Mapping[str, str], *, sha256: str) -> bool:
        """Try once, and say whether the store has confirmed the object; if not, boto3 is to try.

        `key` needs no quoting (`keys.checked`); `sha256` is the body's, in hex.

        Raises:
            Unavailable: the bytes changed on the way.
            HTTPClientError: the store is silent, so that another attempt would only take as long.
        """
        if self._credentials is None or time.monotonic() < self._rests_until:
            return False
        request = AWSRequest(
            "PUT",
            self._url + key,
            headers={f"x-amz-meta-{name}": value for name, value in metadata.items()},
            data=body,
        )
        signer = _Signer(self._credentials.get_frozen_credentials(), "s3", self._region)
        signer.sha256 = sha256
        signer.add_auth(request)
        try:
            answer = self._http.send(request.prepare())
        except (ReadTimeoutError, ConnectTimeoutError):
            raise
        except (ConnectionClosedError, EndpointConnectionError):
            return False  # it may have closed a connection that had been idle for long
        except HTTPClientError as exc:
            self._rest(type(exc).__name__)
            return False
        if b"XAmzContentSHA256Mismatch" in answer.content:
            raise Unavailable(f"the object store has received other bytes of {key} than were sent")
        if 300 <= answer.status_code < 500:
            self._rest(f"HTTP {answer.status_code}")
        return bool(answer.status_code == 200)

    def _rest(self, reason: str) -> None:
        """Leave it to boto3 for a while, which knows what to do about it."""
        self._rests_until = time.monotonic() + _REST_SECONDS
        _log.info("direct_put_rests", reason=reason, seconds=_REST_SECONDS)


class _Signer(S3SigV4Auth):
    """Signs with a digest that is known, in place of reading the body once more."""

    sha256 = ""

    def payload(self, request: AWSRequest) -> str:
        return self.sha256
