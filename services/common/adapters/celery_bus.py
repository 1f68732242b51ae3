"""The queues on Redis, through Celery: the sending side, and what both sides have to agree on.

Each queue has an application and a Redis key space of its own.  kombu keeps what is delivered and not yet
acknowledged under keys that all queues of a key space share, so that the shortest visibility time-out of
any worker would win for all of them.
"""

from __future__ import annotations

import functools
import logging
import os
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from celery import Celery
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from services.common.errors import Unavailable
from services.common.events import Event, queue_of, task_of, to_json
from services.common.settings import RedisSettings

_SEND_TIMEOUT_SECONDS = 1.0


class CeleryBus:
    """An `EventBus` that pushes JSON onto a Redis list; it knows tasks by name and imports no consumer.

    Whatever Redis does, a call returns or raises `Unavailable` within little more than a second.
    Connections are opened on first use and anew in each process.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._app = functools.cache(self._sender)
        _open_in_this_process.add(self)

    def publish(self, event: Event) -> None:
        """Hand the event to its queue; monitoring sees its summary in place of its content."""
        queue = queue_of(event)
        with _redis_errors():
            # The nameless exchange needs no binding in Redis, which a flush would take away.
            self._app(queue).send_task(
                task_of(event),
                args=[to_json(event)],
                argsrepr=event.summary,
                exchange="",
                routing_key=queue,
                retry=False,
                ignore_result=True,
            )

    def depth(self, queue: str) -> int:
        """How many messages wait in the queue; those that a worker holds do not count."""
        with _redis_errors(), self._app(queue).pool.acquire(block=True) as connection:
            waiting: int = connection.default_channel.client.llen(queue)
            return waiting

    def close(self) -> None:
        """Give up the connections."""
        for queue in ("index", "transcode"):
            self._app(queue).close()
        self.forget()

    def forget(self) -> None:
        """Leave the connections and their locks to the process that made them."""
        self._app.cache_clear()

    def _sender(self, queue: str) -> Celery:
        return queue_app(
            queue,
            self._settings,
            {
                "socket_timeout": _SEND_TIMEOUT_SECONDS,
                "socket_connect_timeout": _SEND_TIMEOUT_SECONDS,
                "max_retries": 0,
            },
        )


_open_in_this_process: weakref.WeakSet[CeleryBus] = weakref.WeakSet()


def _forget_all() -> None:
    for bus in _open_in_this_process:
        bus.forget()


os.register_at_fork(after_in_child=_forget_all)


def queue_app(queue: str, settings: RedisSettings, transport_options: Mapping[str, object]) -> Celery:
    """The Celery application of one queue, in that queue's key space; it opens no connection yet."""
    app = Celery(f"gantry.{queue}", set_as_current=False, fixups=())
    app.conf.update(
        broker_url=settings.url.get_secret_value(),
        broker_connection_timeout=_SEND_TIMEOUT_SECONDS,
        broker_transport_options={"global_keyprefix": f"gantry:{queue}:", **transport_options},
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_default_queue=queue,
        task_create_missing_queues=False,
    )
    for logger in ("celery.worker.consumer.consumer", "kombu.transport.redis"):
        logging.getLogger(logger).addFilter(_without_bodies)
    return app


def _without_bodies(record: logging.LogRecord) -> bool:
    """Take the message out of a log line that quotes one: it holds patient data."""
    template = str(record.msg)
    if "body" in template or "restore message" in template:
        record.msg, record.args, record.exc_info = "a message was refused; its body is not logged", (), None
    return True


@contextmanager
def _redis_errors() -> Iterator[None]:
    try:
        yield
    except (KombuError, RedisError, OSError) as exc:
        raise Unavailable("Redis does not answer") from exc
