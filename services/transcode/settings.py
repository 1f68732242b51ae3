"""Settings of the transcode service."""

from __future__ import annotations

import os

from pydantic import BaseModel, Field

from services.common.settings import CommonSettings


class WorkerSettings(BaseModel):
    """The transcode workers, each of which has a codec process of its own."""

    processes: int = Field(default=0, ge=0, le=64)
    """Half the processors where 0: as many at work as there are slow down storing, niced or not."""
    niceness: int = Field(default=10, ge=0, le=19)
    """Nobody waits for a rendition, but a modality does for its C-STORE on the same machine."""

    @property
    def at_work(self) -> int:
        """How many processes there are."""
        return self.processes or max(1, (os.cpu_count() or 1) // 2)


class TranscodeSettings(CommonSettings):
    """Everything that transcode reads."""

    transcode: WorkerSettings = WorkerSettings()
