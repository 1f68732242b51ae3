"""Settings of the transcode service."""

from __future__ import annotations

from pydantic import BaseModel, Field

from services.common.settings import CommonSettings


class WorkerSettings(BaseModel):
    """The transcode workers, each of which has a codec process of its own."""

    processes: int = Field(default=2, ge=1, le=64)
    niceness: int = Field(default=10, ge=0, le=19)
    """Nobody waits for a rendition, but a modality does for its C-STORE on the same machine."""


class TranscodeSettings(CommonSettings):
    """Everything that transcode reads."""

    transcode: WorkerSettings = WorkerSettings()
