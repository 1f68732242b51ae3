"""Settings of the index service and of the sweeper."""

from __future__ import annotations

from pydantic import BaseModel, Field

from services.common.settings import CommonSettings


class WorkerSettings(BaseModel):
    """The index workers."""

    processes: int = Field(default=2, ge=1, le=64)


class SweepSettings(BaseModel):
    """How the sweeper goes about it.  Times in seconds."""

    interval: float = Field(default=15.0, gt=0)
    youngest: float = Field(default=60.0, ge=0)
    """What is younger may still be on its way to the catalog."""
    outstanding: int = Field(default=10_000, ge=1)
    """Instances that were told again and have not come through."""
    longest_queue: int = Field(default=100, ge=0)
    """Nothing is told again while more messages than that (of up to 100 instances) wait."""
    again_after: float = 300.0
    """What has not come through by then was lost once more, and is told of again."""
    full_pass_pages: int = Field(default=5, ge=0)
    """Thousands of keys of the full pass in each round."""
    full_pass_rest: float = 6 * 3600.0
    """From the end of a full pass to the begin of the next."""
    rendition_after: float = 600.0
    """An instance that has neither rendition nor refusal by then is told of again to transcode."""
    rendition_again_after: float = 3600.0
    duplicate_after: float = Field(default=24 * 3600.0, ge=24 * 3600.0)
    duplicate_interval: float = 600.0
    upload_interval: float = 600.0
    """Between two looks for uploads that nobody can still be writing to."""


class IndexSettings(CommonSettings):
    """Everything that index and the sweeper read."""

    index: WorkerSettings = WorkerSettings()
    sweep: SweepSettings = SweepSettings()
