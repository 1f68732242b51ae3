"""``/healthz``, ``/readyz`` and ``/metrics`` over HTTP, for services that speak no HTTP otherwise.

A process is healthy while it answers, and ready while everything it needs answers.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess

from services.common import logs
from services.common.errors import GantryError, Unavailable
from services.common.settings import HealthSettings

Check = Callable[[], object]
"""Returns while what it asks for is there, and raises a `GantryError` otherwise."""

_IDLE_SECONDS = 10
_CHECK_SECONDS = 3.0
_log = logs.get(__name__)


class HealthUnguarded(GantryError):
    """Metrics beyond loopback need authentication: set GANTRY_HEALTH__BEARER_TOKEN."""


def metrics() -> bytes:
    """What this process counts, or all that share PROMETHEUS_MULTIPROC_DIR, in Prometheus' text format."""
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def readiness(checks: Mapping[str, Check]) -> tuple[bool, Mapping[str, str]]:
    """Whether all checks pass, and of each ``ok`` or why not; one that does not end is not waited for."""
    questions = {name: _asked(check) for name, check in checks.items()}
    gives_up_at = time.monotonic() + _CHECK_SECONDS
    found = {name: question.answer(gives_up_at) for name, question in questions.items()}
    return all(answer == "ok" for answer in found.values()), found


def open_health(settings: HealthSettings, checks: Mapping[str, Check]) -> HealthServer | None:
    """Listen, and answer once `begin` is called; None where the settings say nowhere.

    Raises:
        HealthUnguarded: it would be reachable beyond this machine without authentication.
        Unavailable: the port is taken.
    """
    if settings.port is None:
        return None
    if settings.bearer_token is None and not _is_loopback(settings.host):
        raise HealthUnguarded()
    try:
        return HealthServer(settings, checks)
    except OSError as exc:
        raise Unavailable(f"health cannot listen on {settings.host}:{settings.port}: {exc.strerror}") from exc


def serve_health(settings: HealthSettings, checks: Mapping[str, Check]) -> HealthServer | None:
    """Answer in threads of this process from now on; None where the settings say nowhere.

    Raises:
        HealthUnguarded: it would be reachable beyond this machine without authentication.
        Unavailable: the port is taken.
    """
    server = open_health(settings, checks)
    if server is not None:
        server.begin()
    return server


class HealthServer(ThreadingHTTPServer):
    """The listener; `shutdown` and `server_close` end it."""

    daemon_threads = True

    def __init__(self, settings: HealthSettings, checks: Mapping[str, Check]) -> None:
        super().__init__((settings.host, settings.port or 0), _Answer)
        self.checks = checks
        self.token = settings.bearer_token.get_secret_value() if settings.bearer_token else None

    def begin(self) -> None:
        """Answer in threads of this process from now on."""
        threading.Thread(target=self.serve_forever, name="health", daemon=True).start()
        _log.info("health_listening", host=self.server_address[0], port=self.port)

    def refuse(self, reason: str) -> None:
        """Be ready no more, whatever the checks find."""

        def ended() -> None:
            raise Unavailable(reason)

        self.checks = {**self.checks, "process": ended}

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])


class _Answer(BaseHTTPRequestHandler):
    server: HealthServer
    timeout = _IDLE_SECONDS
    server_version = "Gantry"
    sys_version = ""

    def do_GET(self) -> None:
        if not self._knows_host():
            self._send(HTTPStatus.MISDIRECTED_REQUEST, b"")
            return
        match self.path.partition("?")[0]:
            case "/healthz":
                self._send(HTTPStatus.OK, b"ok\n")
            case "/readyz":
                ready, found = readiness(self.server.checks)
                status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
                self._send(status, json.dumps(found).encode(), "application/json")
            case "/metrics" if self._may_read():
                self._send(HTTPStatus.OK, metrics(), CONTENT_TYPE_LATEST)
            case "/metrics":
                self._send(HTTPStatus.UNAUTHORIZED, b"")
            case _:
                self._send(HTTPStatus.NOT_FOUND, b"")

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: probes come every few seconds."""

    def _send(self, status: HTTPStatus, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _knows_host(self) -> bool:
        """Whether the request names this listener, or no host at all; a rebound name of another does not."""
        host = self.headers.get("Host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        return name in ("", self.server.server_address[0]) or _is_address(name) or _is_loopback(name)

    def _may_read(self) -> bool:
        token = self.server.token
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        return token is None or (
            scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())
        )


class _Question:
    """One run of a check, in a thread of its own: what it asks may never answer."""

    def __init__(self, check: Check) -> None:
        self._answer = ""
        self._thread = threading.Thread(target=self._ask, args=(check,), name="readiness", daemon=True)
        self._thread.start()

    @property
    def is_open(self) -> bool:
        """Whether it still waits for its answer."""
        return self._thread.is_alive()

    def answer(self, gives_up_at: float) -> str:
        """``ok`` or why not, waited for until then (monotonic seconds)."""
        self._thread.join(max(0.0, gives_up_at - time.monotonic()))
        missing = f"no answer within {_CHECK_SECONDS:g} s" if self.is_open else "the check itself failed"
        return self._answer or missing

    def _ask(self, check: Check) -> None:
        try:
            check()
        except GantryError as exc:
            self._answer = str(exc)
        else:
            self._answer = "ok"


_questions: weakref.WeakKeyDictionary[Check, _Question] = weakref.WeakKeyDictionary()
_questions_lock = threading.Lock()


def _asked(check: Check) -> _Question:
    """The question that is still open, or a new one: probes come faster than a frozen server is given up."""
    with _questions_lock:
        question = _questions.get(check)
        if question is None or not question.is_open:
            question = _questions[check] = _Question(check)
        return question


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host.strip("[]")).is_loopback)
