"""Settings that more than one service reads: ``GANTRY_`` in front, ``__`` between section and name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def default_data_dir() -> Path:
    """Where an archive keeps its data unless told: a service's place for root, else the user's own."""
    if os.geteuid() == 0:
        return Path("/var/lib/gantry")
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "gantry"


class DicomTlsSettings(BaseModel):
    """The DIMSE listener's second port, which speaks TLS alone; there is none without a certificate.

    `certificate` holds the chain in PEM, and the key too where `key` names no file.  `client_ca` is whom
    the certificates of clients have to come from.
    """

    port: int = Field(default=2762, ge=0, le=65535)
    host: str | None = None
    """Where it listens; where the port without TLS does, unless given."""
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    client_certificates: Literal["none", "optional", "required"] = "none"

    @model_validator(mode="after")
    def _is_complete(self) -> DicomTlsSettings:
        if self.client_certificates != "none" and self.client_ca is None:
            raise ValueError("client certificates need client_ca, whom they have to come from")
        if self.certificate is None and (self.key, self.client_ca) != (None, None):
            raise ValueError("a key and client_ca are for nothing without a certificate")
        return self


class DicomSettings(BaseModel):
    """The DIMSE listener."""

    ae_title: str = Field(default="GANTRY", min_length=1, max_length=16)
    host: str = "127.0.0.1"
    port: int = Field(default=11112, ge=0, le=65535)
    processes: int = Field(default=2, ge=1, le=64)
    maximum_associations: int = Field(default=300, ge=1)
    maximum_pdu_length: int = Field(default=131072, ge=0)
    buffer_bytes: int = Field(default=128 * 2**20, ge=128 * 1024)
    """What each process holds of received bytes at most; beyond it a peer is read later, not refused."""
    check_called_aet: bool = False
    accept_unknown_callers: bool = True
    accept_unknown_sop_classes: bool = True
    artim_timeout_seconds: float = 30.0
    network_timeout_seconds: float = 60.0
    idle_timeout_seconds: float = 1800.0
    drain_seconds: float = 20.0
    """After SIGTERM, how long a peer that goes on sending is served before it is aborted between messages."""
    proxy_protocol: bool = False
    operations_window: int = Field(default=16, ge=1, le=1000)
    """So many requests at once are offered to a peer that proposes an asynchronous operations window."""
    tls: DicomTlsSettings = DicomTlsSettings()


class HttpSettings(BaseModel):
    """The HTTP listener.  Beyond loopback it needs a bearer token."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    bearer_token: SecretStr | None = None
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    head_timeout_seconds: float = Field(default=20.0, gt=0)
    network_timeout_seconds: float = Field(default=60.0, gt=0)
    maximum_connections: int = Field(default=512, ge=1)
    viewer_dir: Path | None = None


class PostgresSettings(BaseModel):
    """Where the catalog is.  `host` may be a folder that holds a UNIX socket."""

    host: str = "127.0.0.1"
    port: int = 5432
    database: str = "gantry"
    user: str = "gantry"
    password: SecretStr | None = None
    pool_size: int = Field(default=4, ge=1)
    pool_timeout_seconds: float = 20.0
    connect_timeout_seconds: float = Field(default=5.0, gt=0)
    statement_timeout_seconds: int = Field(default=20, ge=1)
    """The server ends a statement after that long; one that is silent 2 s longer is given up."""


class RedisSettings(BaseModel):
    """Where the queues are: ``redis://host:port/0`` or ``redis+socket:///path?virtual_host=0``."""

    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")


class S3Settings(BaseModel):
    """The object store, where it is an S3 one."""

    endpoint: str | None = None
    bucket: str = "gantry"
    region: str = "us-east-1"
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    connect_timeout_seconds: float = 2.0
    read_timeout_seconds: float = 10.0
    part_bytes: int = Field(default=8 * 2**20, ge=5 * 2**20)


class StoreSettings(BaseModel):
    """Which adapter holds the blobs."""

    kind: Literal["folder", "s3"] = "folder"
    longest_put_seconds: float = 7200.0
    quarantine_limit_bytes: int = Field(default=256 * 2**20, ge=0)
    """The bytes of a refused instance are kept up to this size."""
    clock_skew_seconds: float = 300.0
    reserve_bytes: int = Field(default=512 * 2**20, ge=0)
    """A folder store takes no images while less of its disk is free: the catalog, the queue and the logs need
    to write, too."""


class HealthSettings(BaseModel):
    """Where a service that speaks no HTTP answers ``/healthz``, ``/readyz`` and ``/metrics``.

    `port` None is nowhere.  Beyond loopback ``/metrics`` needs the bearer token.
    """

    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=0, le=65535)
    bearer_token: SecretStr | None = None


class LogSettings(BaseModel):
    """How log lines look."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    form: Literal["auto", "json", "console"] = "auto"
    """``auto`` is for people on a terminal, and JSON elsewhere."""


class CommonSettings(BaseSettings):
    """What every service reads; each service's own settings class adds its section."""

    model_config = SettingsConfigDict(
        env_prefix="GANTRY_", env_nested_delimiter="__", extra="ignore", frozen=True
    )

    data_dir: Path = Field(default_factory=default_data_dir)
    parts_file: Path | None = None
    """Where a supervisor says which of its parts are up; the API's readiness tells of them."""
    dicom: DicomSettings = DicomSettings()
    http: HttpSettings = HttpSettings()
    postgres: PostgresSettings = PostgresSettings()
    redis: RedisSettings = RedisSettings()
    store: StoreSettings = StoreSettings()
    s3: S3Settings = S3Settings()
    health: HealthSettings = HealthSettings()
    log: LogSettings = LogSettings()

    @property
    def blob_dir(self) -> Path:
        """The folder adapter's root."""
        return self.data_dir / "blobs"
