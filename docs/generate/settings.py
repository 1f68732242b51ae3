"""The settings: names and defaults from the code, what they mean from here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from docs.generate.tables import code, table
from services.common.settings import CommonSettings
from services.index.settings import IndexSettings
from services.transcode.settings import TranscodeSettings

MEANINGS: Mapping[str, str] = {
    "GANTRY_DATA_DIR": "where the archive keeps its data",
    "GANTRY_PARTS_FILE": "set by `gantry up` for its API: which parts are up",
    "GANTRY_DICOM__AE_TITLE": "Gantry's AE title",
    "GANTRY_DICOM__HOST": "address to listen on",
    "GANTRY_DICOM__PORT": "port to listen on; 0 takes a free one",
    "GANTRY_DICOM__PROCESSES": "processes that accept associations",
    "GANTRY_DICOM__MAXIMUM_ASSOCIATIONS": "associations at a time, over all processes; more are rejected",
    "GANTRY_DICOM__MAXIMUM_PDU_LENGTH": "bytes of a PDU that is taken; 0 sets no limit",
    "GANTRY_DICOM__BUFFER_BYTES": "received bytes that each process holds; beyond it peers are read later",
    "GANTRY_DICOM__CHECK_CALLED_AET": "reject associations that call another AE title",
    "GANTRY_DICOM__ACCEPT_UNKNOWN_CALLERS": "take associations from AE titles that are no nodes",
    "GANTRY_DICOM__ACCEPT_UNKNOWN_SOP_CLASSES": "store private and unknown SOP classes",
    "GANTRY_DICOM__ARTIM_TIMEOUT_SECONDS": "time to ask for an association, and to close after it",
    "GANTRY_DICOM__NETWORK_TIMEOUT_SECONDS": "longest silence in the middle of a message",
    "GANTRY_DICOM__IDLE_TIMEOUT_SECONDS": "longest silence between messages; a node may have its own",
    "GANTRY_DICOM__DRAIN_SECONDS": "after SIGTERM, how long a peer that goes on sending is served",
    "GANTRY_DICOM__PROXY_PROTOCOL": "each connection begins with a PROXY header (version 1 or 2)",
    "GANTRY_DICOM__OPERATIONS_WINDOW": "requests at once of a peer that proposes asynchronous operations",
    "GANTRY_DICOM__TLS__PORT": "port that speaks TLS, where there is a certificate; 0 takes a free one",
    "GANTRY_DICOM__TLS__HOST": "address for it; that of the other port unless set",
    "GANTRY_DICOM__TLS__CERTIFICATE": "file with the certificate and its chain (PEM)",
    "GANTRY_DICOM__TLS__KEY": "file with the key, in the clear, where the certificate's holds none",
    "GANTRY_DICOM__TLS__CLIENT_CA": "file with the authorities that clients' certificates come from",
    "GANTRY_DICOM__TLS__CLIENT_CERTIFICATES": "`none`, `optional` (verified if presented) or `required`",
    "GANTRY_HTTP__HOST": "address to listen on; beyond loopback a token is needed",
    "GANTRY_HTTP__PORT": "port to listen on; 0 takes a free one",
    "GANTRY_HTTP__BEARER_TOKEN": "the token that requests must bear, and that a person signs in with",
    "GANTRY_HTTP__ALLOWED_HOSTS": "names under which the archive is reached, as a JSON list",
    "GANTRY_HTTP__ALLOWED_ORIGINS": "other sites whose pages may use the archive (CORS), as a JSON list",
    "GANTRY_HTTP__HEAD_TIMEOUT_SECONDS": "longest wait for the head of a request",
    "GANTRY_HTTP__NETWORK_TIMEOUT_SECONDS": "longest silence in a request's body, or in taking an answer",
    "GANTRY_HTTP__MAXIMUM_CONNECTIONS": "connections at a time; one more ends the one that is idle longest",
    "GANTRY_HTTP__VIEWER_DIR": "the viewer's folder, where it is not the one that `make viewer` fills",
    "GANTRY_POSTGRES__HOST": "PostgreSQL's host, or the folder of its UNIX socket",
    "GANTRY_POSTGRES__PORT": "its port",
    "GANTRY_POSTGRES__DATABASE": "its database",
    "GANTRY_POSTGRES__USER": "its user",
    "GANTRY_POSTGRES__PASSWORD": "the user's password",
    "GANTRY_POSTGRES__POOL_SIZE": "connections of one process",
    "GANTRY_POSTGRES__POOL_TIMEOUT_SECONDS": "longest wait for one of them",
    "GANTRY_POSTGRES__CONNECT_TIMEOUT_SECONDS": "longest wait for a connection to be made",
    "GANTRY_POSTGRES__STATEMENT_TIMEOUT_SECONDS": "a longer one is ended; a server silent 2 s longer is left",
    "GANTRY_REDIS__URL": "where the queues are: `redis://host:port/0`, or `redis+socket:///path?virtual_host=0`",
    "GANTRY_STORE__KIND": "which object store: `folder` (in the data folder) or `s3`",
    "GANTRY_STORE__RESERVE_BYTES": "a folder store takes no images while less of its disk is free",
    "GANTRY_SWEEP__UPLOAD_INTERVAL": "between two looks for uploads that nobody can still be writing to",
    "GANTRY_STORE__LONGEST_PUT_SECONDS": "a longer upload is refused; the sweeper's watermark trails by it",
    "GANTRY_STORE__QUARANTINE_LIMIT_BYTES": "the bytes of a refused instance are kept up to this size",
    "GANTRY_STORE__CLOCK_SKEW_SECONDS": "how far the clocks of the machines may differ",
    "GANTRY_S3__ENDPOINT": "URL of the S3 server; none is AWS",
    "GANTRY_S3__BUCKET": "the bucket, made by `gantry migrate` if it is missing",
    "GANTRY_S3__REGION": "its region",
    "GANTRY_S3__ACCESS_KEY": "access key; without one, boto3 looks in its usual places",
    "GANTRY_S3__SECRET_KEY": "its secret",
    "GANTRY_S3__CONNECT_TIMEOUT_SECONDS": "longest wait for a connection",
    "GANTRY_S3__READ_TIMEOUT_SECONDS": "longest silence of the server",
    "GANTRY_S3__PART_BYTES": "larger blobs are uploaded in parts of this size while they arrive",
    "GANTRY_HEALTH__HOST": "address of the health listener of every service but the API",
    "GANTRY_HEALTH__PORT": "its port; without one there is no such listener",
    "GANTRY_HEALTH__BEARER_TOKEN": "the token for its `/metrics`; needed beyond loopback",
    "GANTRY_LOG__LEVEL": "the least serious lines that are written",
    "GANTRY_LOG__FORM": "`json`, `console` for people, or `auto`: the latter on a terminal, else JSON",
    "GANTRY_INDEX__PROCESSES": "processes of an index worker",
    "GANTRY_TRANSCODE__PROCESSES": "transcode workers, each with a codec process; 0: half the processors",
    "GANTRY_TRANSCODE__NICENESS": "their niceness, so that storing and finding go first on one machine",
    "GANTRY_SWEEP__INTERVAL": "seconds between two rounds",
    "GANTRY_SWEEP__YOUNGEST": "seconds; a younger original is left to the queue",
    "GANTRY_SWEEP__OUTSTANDING": "instances told of again that may be outstanding",
    "GANTRY_SWEEP__LONGEST_QUEUE": "messages; nothing is told again while more wait",
    "GANTRY_SWEEP__AGAIN_AFTER": "seconds until what did not come through is told of once more",
    "GANTRY_SWEEP__FULL_PASS_PAGES": "thousands of keys of the full pass in each round",
    "GANTRY_SWEEP__FULL_PASS_REST": "seconds between two full passes",
    "GANTRY_SWEEP__RENDITION_AFTER": "seconds until an instance without renditions is told of again",
    "GANTRY_SWEEP__RENDITION_AGAIN_AFTER": "seconds until it is told of once more",
    "GANTRY_SWEEP__DUPLICATE_AFTER": "seconds from its arrival until a duplicate blob is deleted",
    "GANTRY_SWEEP__DUPLICATE_INTERVAL": "seconds between two looks for duplicates",
}
_BOUNDS = {"ge": "at least {}", "gt": "more than {}", "le": "at most {}", "lt": "less than {}"}


def names() -> list[str]:
    """Every setting, in the order of the tables."""
    return [name for name, _ in _fields()]


def settings() -> str:
    """One table of all settings.

    Raises:
        ValueError: nobody has said what a setting means, or there is none of that name.
    """
    if unlike := set(names()) ^ set(MEANINGS):
        raise ValueError(f"say in docs/generate/settings.py what this means: {', '.join(sorted(unlike))}")
    rows = [(code(name), _default(name, field), MEANINGS[name] + _bounds(field)) for name, field in _fields()]
    return table(("variable", "default", "meaning"), rows)


def _fields() -> Iterator[tuple[str, FieldInfo]]:
    seen: set[str] = set()
    for whole in (CommonSettings, IndexSettings, TranscodeSettings):
        for name, field in _below("GANTRY_", whole):
            if name not in seen:
                seen.add(name)
                yield name, field


def _below(prefix: str, section: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in section.model_fields.items():
        inner: Any = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _below(f"{prefix}{name.upper()}__", inner)
        else:
            yield prefix + name.upper(), field


def _default(name: str, field: FieldInfo) -> str:
    if name == "GANTRY_DATA_DIR":
        return "`~/.local/share/gantry`; for root `/var/lib/gantry`"
    value = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return code(str(value).lower())
    return code(f"{value:g}" if isinstance(value, float) else str(value))


def _bounds(field: FieldInfo) -> str:
    """The limits of a number, in brackets."""
    said = [
        text.format(f"{limit:g}" if isinstance(limit, float) else limit)
        for constraint in field.metadata
        for name, text in _BOUNDS.items()
        if (limit := getattr(constraint, name, None)) is not None
    ]
    return f" ({', '.join(said)})" if said else ""
