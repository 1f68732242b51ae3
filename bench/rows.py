"""The rows of the table: which work, whose figures stand in which column, and what Gantry aims at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bench.material import Size

COLUMNS = ("Gantry", "Gantry, no transcoding", "Orthanc", "DCMTK", "pynetdicom")


class Work(StrEnum):
    """What is timed."""

    STORE = "store"
    FIND = "find"
    GET = "get"
    MOVE = "move"
    WADO = "wado"
    LAG = "lag"
    MEMORY = "memory"


SMALL = Size(key="39k", label="39 KB", count=1000, rows=140, columns=140)
MEDIUM = Size(key="0.5m", label="0.5 MB", count=500, rows=512, columns=512)
LARGE = Size(
    key="30m", label="30 MB", count=10, rows=4608, columns=3328,
    sop_class_uid="1.2.840.10008.5.1.4.1.1.1.2", modality="MG",
)  # fmt: skip
HUGE = Size(
    key="4g", label="4 GB", count=1, rows=1024, columns=1024, frames=2047,
    sop_class_uid="1.2.840.10008.5.1.4.1.1.7.3", modality="OT",
)  # fmt: skip
QUICK_COUNTS = {"39k": 200, "0.5m": 104, "30m": 4, "4g": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Gantry's rate divided by a peer's that is at least aimed at."""

    against: str
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table; `peers` are the keys of the peers in the order of `COLUMNS`, None for nobody."""

    key: str
    title: str
    work: Work
    size: Size
    associations: int = 1
    peers: tuple[str | None, ...]
    aims: tuple[Aim, ...] = ()
    quick: bool = True

    @property
    def measure(self) -> str:
        """What its runs are filed under; rows that only show other peers' runs of the same work share it."""
        return f"{self.work}-{self.size.key}-{self.associations}"


_STORE = ("gantry", "gantry-paused", "orthanc", "storescp", "pynetdicom-storescp")
_STORE_ONCE = ("gantry", None, "orthanc", "storescp", "pynetdicom-storescp")
_S3 = ("gantry-minio", "gantry-minio-paused", "orthanc", None, None)
_QUERY = ("gantry", "gantry-paused", "orthanc", "dcmqrscp", "qrscp")
_RETRIEVE = ("gantry", None, "orthanc", "dcmqrscp", "qrscp")
_WEB = ("gantry", None, "orthanc", None, None)
_ALONE = ("gantry", None, None, None, None)

ROWS = (
    Row(
        key="store", title="C-STORE {n} × 0.5 MB, 1 association", work=Work.STORE, size=MEDIUM, peers=_STORE,
        aims=(Aim(against="orthanc", ratio=3), Aim(against="storescp", ratio=0.8)),
    ),
    Row(
        key="store-8", title="C-STORE {n} × 0.5 MB, 8 associations", work=Work.STORE, size=MEDIUM,
        associations=8, peers=_STORE, aims=(Aim(against="orthanc", ratio=2),),
    ),
    Row(
        key="small", title="C-STORE {n} × 39 KB, 1 association", work=Work.STORE, size=SMALL, peers=_STORE,
        aims=(Aim(against="orthanc", ratio=3), Aim(against="pynetdicom-storescp", ratio=2)),
    ),
    Row(
        key="small-8", title="C-STORE {n} × 39 KB, 8 associations", work=Work.STORE, size=SMALL,
        associations=8, peers=_STORE_ONCE, quick=False,
    ),
    Row(
        key="large", title="C-STORE {n} × 30 MB, 1 association", work=Work.STORE, size=LARGE, peers=_STORE,
        quick=False,
    ),
    Row(
        key="large-8", title="C-STORE {n} × 30 MB, 8 associations", work=Work.STORE, size=LARGE,
        associations=8, peers=_STORE_ONCE, quick=False,
    ),
    Row(
        key="findable", title="the first row, until C-FIND finds all {n}", work=Work.FIND, size=MEDIUM,
        peers=_QUERY, aims=(Aim(against="orthanc", ratio=2),),
    ),
    Row(
        key="s3", title="C-STORE {n} × 0.5 MB to MinIO, 1 association; Orthanc to its disk", work=Work.STORE,
        size=MEDIUM, peers=_S3, aims=(Aim(against="orthanc", ratio=1),),
    ),
    Row(
        key="s3-8", title="C-STORE {n} × 0.5 MB to MinIO, 8 associations; Orthanc to its disk",
        work=Work.STORE, size=MEDIUM, associations=8, peers=_S3, aims=(Aim(against="orthanc", ratio=1),),
    ),
    Row(
        key="get", title="C-GET {n} × 0.5 MB", work=Work.GET, size=MEDIUM, peers=_RETRIEVE,
        aims=(Aim(against="orthanc", ratio=1.5),),
    ),
    Row(
        key="move", title="C-MOVE {n} × 0.5 MB", work=Work.MOVE, size=MEDIUM, peers=_RETRIEVE,
        aims=(Aim(against="orthanc", ratio=1.5),),
    ),
    Row(
        key="wado", title="WADO-RS {n} × 0.5 MB, the study as one response", work=Work.WADO, size=MEDIUM,
        peers=_WEB, aims=(Aim(against="orthanc", ratio=1.5),),
    ),
    Row(
        key="lag", title="acknowledged to findable, while 8 associations send", work=Work.LAG, size=MEDIUM,
        associations=8, peers=_ALONE,
    ),
    Row(
        key="memory", title="memory while 4 GB pass in and out", work=Work.MEMORY, size=HUGE, peers=_ALONE,
        quick=False,
    ),
)  # fmt: skip

LAG_AIM_SECONDS = 2.0
MEMORY_AIM_BYTES = 300_000_000


def chosen(keys: str | None, *, quick: bool) -> list[Row]:
    """The rows named, in order, or all; `quick` leaves some out where none is named.

    Raises:
        KeyError: there is no such row.
    """
    if not keys:
        return [row for row in ROWS if row.quick or not quick]
    by_key = {row.key: row for row in ROWS}
    return [by_key[key.strip()] for key in keys.split(",")]
