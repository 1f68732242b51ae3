"""A worker program whose tasks do what a test says: ``python -m tests.fakes.queue_worker '<json>'``.

The name of a file in the folder is an order for the instance of that number: ``kill-3`` ends the child that
runs it, ``hang-3`` never returns, ``die-after-3`` ends the child after its work is noted and, the first time
only, before it publishes.  Each task takes the seconds that the file ``slow`` says, and as long as there is
a file ``held``.  Noted in files of these names are the instances whose tasks were ``begun`` and ``done``, and
that the worker is ``stopping``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from celery import signals

from services.common import logs
from services.common.adapters.celery_bus import CeleryBus
from services.common.adapters.celery_worker import WorkerLimits, run_worker, worker_app
from services.common.events import INDEX_TASK, TRANSCODE_TASK, Event, InstancesStored
from services.common.settings import LogSettings, RedisSettings
from services.common.workers import Patience, Runner
from tests.fakes.folder_records import FolderAttempts, FolderQuarantine, note
from tests.fakes.made_instances import instances_indexed


def _note_stop(folder: Path, **_: object) -> None:
    note(folder / "stopping", "it was told to")


def main() -> int:
    order = json.loads(sys.argv[1])
    folder = Path(order["folder"])
    logs.configure(LogSettings(level=order.get("log_level", "INFO")), "test")
    settings = RedisSettings(url=order["url"])
    bus = CeleryBus(settings)

    def use_case(event: Event) -> None:
        numbers = [int(i.key.sop_instance_uid.rpartition(".")[2]) for i in event.instances]
        for number in numbers:
            note(folder / "begun", str(number))
        while (folder / "held").exists():
            time.sleep(0.02)
        with suppress(FileNotFoundError):
            time.sleep(float((folder / "slow").read_text()))
        for number in numbers:
            if (folder / f"kill-{number}").exists():
                os._exit(9)
            if (folder / f"hang-{number}").exists():
                time.sleep(3600)
        for number in numbers:
            note(folder / "done", str(number))
        for number in numbers:
            if (folder / f"die-after-{number}").exists():
                (folder / f"die-after-{number}").unlink()
                os._exit(9)
        if isinstance(event, InstancesStored) and order.get("publishes", True):
            bus.publish(instances_indexed(*numbers))

    queue = order.get("queue", "index")
    task = INDEX_TASK if queue == "index" else TRANSCODE_TASK
    runner = Runner(
        task=task,
        use_case=use_case,
        attempts=FolderAttempts(folder),
        quarantine=FolderQuarantine(folder),
        bus=bus,
        patience=Patience(shortest_pause=0.05, longest_pause=0.5),
    )
    limits = WorkerLimits(**order["limits"])
    app = worker_app(queue, settings, limits, {task: runner})
    app.conf.worker_send_task_events = order.get("events", False)
    if order.get("lose_time_limit"):
        app.conf.task_time_limit = None
    on_stop = partial(_note_stop, folder)
    signals.worker_shutting_down.connect(on_stop, weak=False)
    return run_worker(app, bus, limits, order.get("processes", 1))


if __name__ == "__main__":
    raise SystemExit(main())
