"""The all-in-one: every service and its servers on this machine, under one supervisor."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.error import URLError

from services.api.guard import check_listener
from services.common import logs
from services.common.adapters.postgres import Postgres
from services.common.adapters.stores import prepare_store
from services.common.catalog.migrate import migrate
from services.common.dimse.listener import bind
from services.common.dimse.pod import open_port, run_pod
from services.common.dimse.tls import server_context
from services.common.errors import Unavailable
from services.common.settings import CommonSettings, default_data_dir
from services.embedded.lock import ArchiveLock
from services.embedded.postgres import EmbeddedPostgres, postgres_settings
from services.embedded.process import ChildSpec
from services.embedded.redis import EmbeddedRedis, redis_settings
from services.embedded.supervisor import Supervisor
from services.qr.__main__ import compose

_log = logs.get(__name__)

SERVICES_STAGE = 1
LISTENERS_STAGE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where a running archive listens."""

    dicom_host: str
    dicom_port: int
    http_url: str


def embedded(settings: CommonSettings) -> CommonSettings:
    """The settings with which a command reaches the servers of `gantry up` on the same data folder.

    Servers that the settings name themselves stay as they are.
    """
    update: dict[str, object] = {}
    if "postgres" not in settings.model_fields_set:
        update["postgres"] = postgres_settings(settings.data_dir)
    if "redis" not in settings.model_fields_set:
        update["redis"] = redis_settings(settings.data_dir)
    return settings.model_copy(update=update)


def up(settings: CommonSettings, say: Callable[[str], None] = print) -> None:
    """Run the whole archive until SIGINT or SIGTERM.

    Raises:
        NotGuarded: HTTP would be reachable beyond this machine without authentication.
        Unavailable: the data folder is in use, a port is taken, the files for TLS cannot be used, or a
            server cannot start.
    """
    check_listener(settings.http)
    server_context(settings.dicom.tls)
    settings = settings.model_copy(update={"data_dir": settings.data_dir.expanduser().absolute()})
    logs.configure(settings.log, "up")
    with ArchiveLock(settings.data_dir) as lock, Supervisor() as supervisor:
        _forget_old_counts()
        postgres, redis = EmbeddedPostgres(lock), EmbeddedRedis(lock)
        with (
            _listening(settings.dicom.host, settings.dicom.port, "DICOM") as dicom,
            _listening(settings.http.host, settings.http.port, "HTTP") as http,
        ):
            addresses = _addresses(dicom, http)
            say(f"Gantry starts; its data lies in {settings.data_dir}")
            supervisor.start(postgres.child_spec())
            supervisor.start(redis.child_spec())
            prepare_store(settings)
            migrate(Postgres(postgres.settings))
            settings = settings.model_copy(update={"postgres": postgres.settings, "redis": redis.settings})
            for spec in _services(settings, lock, dicom, http, addresses):
                supervisor.start(spec)
            say(_welcome(settings, addresses))
            _look_after(supervisor, parts_file(settings.data_dir))
        say("Gantry stops")
    say("Gantry has stopped; the next start has all the data")


def listen(settings: CommonSettings, listening: socket.socket | None) -> None:
    """Ingest and Q/R on one DIMSE listener, until SIGTERM."""
    logs.configure(settings.log, "listen")
    listening = listening or open_port(settings.dicom)
    run_pod(settings.dicom, listening, lambda: compose(settings))


def _services(
    settings: CommonSettings,
    lock: ArchiveLock,
    dicom: socket.socket,
    http: socket.socket,
    addresses: Addresses,
) -> Iterator[ChildSpec]:
    def service(
        name: str, *arguments: str, stage: int = SERVICES_STAGE, keep: int | None = None
    ) -> ChildSpec:
        return ChildSpec(
            name=name,
            argv=(sys.executable, "-m", "services.cli", *arguments),
            env=_environment(settings, addresses),
            stage=stage,
            keep_fds=(lock.fd,) if keep is None else (lock.fd, keep),
        )

    for name in ("index", "transcode", "sweep"):
        yield service(name, name)
    fd = http.fileno()
    api = service("api", "api", "--fd", str(fd), stage=LISTENERS_STAGE, keep=fd)
    yield replace(api, ready=lambda: _answers(f"{addresses.http_url}/healthz"))
    fd = dicom.fileno()
    yield service("dicom", "listen", "--fd", str(fd), stage=LISTENERS_STAGE, keep=fd)


def parts_file(data_dir: Path) -> Path:
    """Where a running archive says which of its parts are up."""
    return data_dir / "run" / "parts.json"


def _forget_old_counts() -> None:
    """Remove what the processes of an earlier run counted, for ``/metrics`` adds up all that is there."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    for counts in Path(folder).glob("*.db") if folder else ():
        if not counts.stem.endswith(f"_{os.getpid()}"):
            counts.unlink()


def _look_after(supervisor: Supervisor, state: Path) -> None:
    """Keep the parts alive until asked to stop, and say in the file `state` which are up."""
    told: dict[str, bool] = {}
    while not supervisor.stop_requested:
        if supervisor.ready != told:
            told = supervisor.ready
            _say_what_is_up(told, state)
        supervisor.turn()


def _say_what_is_up(parts: dict[str, bool], state: Path) -> None:
    """Write the file `state`; a full disk must not end what still runs."""
    fresh = state.with_suffix(".new")
    try:
        state.parent.mkdir(mode=0o700, exist_ok=True)
        fresh.write_text(json.dumps(parts), encoding="utf-8")
        fresh.replace(state)
    except OSError as exc:
        _log.error("parts_file_not_written", reason=exc.strerror)


def _environment(settings: CommonSettings, addresses: Addresses) -> dict[str, str]:
    """What tells the children where the embedded servers and listeners are; the rest they read as this
    process did."""
    postgres = settings.postgres
    # They would all listen on the one port; the API answers for every part.
    ours = {name: value for name, value in os.environ.items() if not name.upper().startswith("GANTRY_HEALTH")}
    return ours | {
        "GANTRY_DATA_DIR": str(settings.data_dir),
        "GANTRY_PARTS_FILE": str(parts_file(settings.data_dir)),
        "GANTRY_DICOM__PORT": str(addresses.dicom_port),
        "GANTRY_POSTGRES__HOST": postgres.host,
        "GANTRY_POSTGRES__PORT": str(postgres.port),
        "GANTRY_POSTGRES__USER": postgres.user,
        "GANTRY_POSTGRES__DATABASE": postgres.database,
        "GANTRY_REDIS__URL": settings.redis.url.get_secret_value(),
    }


@contextmanager
def _listening(host: str, port: int, what: str) -> Iterator[socket.socket]:
    try:
        listening = bind(host, port)
    except OSError as exc:
        raise Unavailable(f"{what} cannot listen on {host}:{port}: {exc.strerror}") from exc
    with listening:
        yield listening


def _addresses(dicom: socket.socket, http: socket.socket) -> Addresses:
    dicom_host, dicom_port = dicom.getsockname()[:2]
    http_host, http_port = http.getsockname()[:2]
    reachable = _reachable(http_host)
    named = f"[{reachable}]" if ":" in reachable else reachable
    return Addresses(dicom_host=dicom_host, dicom_port=dicom_port, http_url=f"http://{named}:{http_port}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except (URLError, TimeoutError, ConnectionError):
        return False


def _welcome(settings: CommonSettings, addresses: Addresses) -> str:
    """What runs, and commands that work as they stand in another shell, from any folder."""
    title = settings.dicom.ae_title
    where = f"-aec {shlex.quote(title)} {_reachable(addresses.dicom_host)} {addresses.dicom_port}"
    return f"""
Gantry is ready.
  DICOM    {title} on {addresses.dicom_host}:{addresses.dicom_port}
  Web      {addresses.http_url}/
  Data     {settings.data_dir}

Try next, in another shell.  Take in a folder; or send one with DCMTK, and ask what is there:
  {_our_command(settings.data_dir)} import FOLDER
  dcmsend {where} +sd +r --no-halt FOLDER
  findscu -S {where} -k QueryRetrieveLevel=STUDY -k PatientName -k StudyInstanceUID
Then open {addresses.http_url}/

Ctrl-C stops it.
"""


def _reachable(host: str) -> str:
    """A host to connect to where a listener listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _our_command(data_dir: Path) -> str:
    """How a shell calls this very installation on the data folder."""
    installed = Path(sys.executable).with_name("gantry")
    if installed.is_file():
        on_path = shutil.which("gantry")
        is_found = on_path is not None and Path(on_path).resolve() == installed.resolve()
        command = "gantry" if is_found else shlex.quote(str(installed))
    else:
        command = f"{shlex.quote(sys.executable)} -m services.cli"
    is_default = data_dir == default_data_dir().absolute()
    return command if is_default else f"GANTRY_DATA_DIR={shlex.quote(str(data_dir))} {command}"
