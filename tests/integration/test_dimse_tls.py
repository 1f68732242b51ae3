"""DICOM over TLS (PS3.15 Annex B): the second port, client certificates, and real clients."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from pydantic import ValidationError
from pydicom.data import get_testdata_file
from pynetdicom import AE

from services.common.dimse.acceptor import MAXIMUM_LOBBY
from services.common.dimse.tls import server_context
from services.common.errors import Unavailable
from services.common.settings import DicomSettings, DicomTlsSettings
from tests.fakes.dimse_archive import MemoryArchive, Running, listening
from tests.fakes.raw_peer import RELEASE_RP, RELEASE_RQ, RawPeer, associate_rq, echo_rq, raw_peer
from tests.waiting import wait_until

FindTool = Callable[[str], Path]
CT_FILE = Path(str(get_testdata_file("CT_small.dcm")))


@dataclass(frozen=True)
class Keys:
    """Certificates of a small authority: of the server, and of a client."""

    folder: Path
    openssl: Path

    def path(self, name: str) -> Path:
        return self.folder / name

    def run(self, *arguments: object) -> None:
        subprocess.run([self.openssl, *map(str, arguments)], check=True, capture_output=True, cwd=self.folder)

    def sign(self, name: str) -> None:
        """A certificate for 127.0.0.1 by the authority: `name`.pem, and `name`.key."""
        request = ("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key")
        self.run(*request, "-addext", "subjectAltName=IP:127.0.0.1", "-out", f"{name}.csr")
        signing = ("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2")
        self.run(*signing, "-CAcreateserial", "-copy_extensions", "copy", "-out", f"{name}.pem")

    def authority(self) -> None:
        request = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority")
        self.run(*request, "-keyout", "ca.key", "-out", "ca.pem")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    from tests.tools import find_tool

    keys = Keys(tmp_path_factory.mktemp("keys"), find_tool("openssl"))
    keys.authority()
    keys.sign("server")
    keys.sign("client")
    return keys


def settings(keys: Keys, **more: object) -> DicomTlsSettings:
    return DicomTlsSettings(certificate=keys.path("server.pem"), key=keys.path("server.key"), **more)  # type: ignore[arg-type]


@contextmanager
def secured(keys: Keys, archive: MemoryArchive, **more: object) -> Iterator[Running]:
    with listening(archive.handlers, ssl_context=server_context(settings(keys, **more))) as running:
        yield running


def client_context(keys: Keys, *, certificate: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(keys.path("ca.pem")))
    if certificate:
        context.load_cert_chain(keys.path("client.pem"), keys.path("client.key"))
    return context


def echoes(running: Running, context: ssl.SSLContext) -> str | None:
    """Whether a C-ECHO is answered; gives the version of TLS, or None where the peer is not let in."""
    try:
        with context.wrap_socket(running.connect(), server_hostname="127.0.0.1") as sock:
            peer = RawPeer(sock)
            peer.send(associate_rq())
            if not peer.read():
                return None
            peer.send(echo_rq())
            assert peer.command().status == 0
            peer.send(RELEASE_RQ)
            assert peer.read() == RELEASE_RP
            return sock.version()
    except (ssl.SSLError, ConnectionError):
        return None


def test_without_a_certificate_there_is_no_tls() -> None:
    assert server_context(DicomTlsSettings()) is None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(keys: Keys, version: ssl.TLSVersion) -> None:
    context = client_context(keys)
    context.minimum_version = context.maximum_version = version
    with secured(keys, MemoryArchive()) as running:
        assert echoes(running, context) == version.name.replace("_", ".")


@pytest.mark.parametrize("ciphers", ["AES256-SHA256", "AES128-GCM-SHA256", "ECDHE-RSA-AES256-SHA384"])
def test_neither_old_keys_nor_old_ciphers_are_taken(keys: Keys, ciphers: str) -> None:
    context = client_context(keys)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    with secured(keys, MemoryArchive()) as running:
        assert echoes(running, context) is None


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_nothing_older_than_1_2_is_spoken(keys: Keys) -> None:
    context = client_context(keys)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with secured(keys, MemoryArchive()) as running:
        assert echoes(running, context) is None


@pytest.mark.parametrize(
    ("wanted", "without", "with_one"),
    [("none", True, True), ("optional", True, True), ("required", False, True)],
)
def test_client_certificates(keys: Keys, wanted: str, without: bool, with_one: bool) -> None:
    with secured(keys, MemoryArchive(), client_certificates=wanted, client_ca=keys.path("ca.pem")) as running:
        assert bool(echoes(running, client_context(keys))) is without
        assert bool(echoes(running, client_context(keys, certificate=True))) is with_one


def test_a_client_of_another_authority_is_not_let_in(keys: Keys, tmp_path: Path) -> None:
    stranger = Keys(tmp_path, keys.openssl)
    stranger.authority()
    stranger.sign("client")
    context = client_context(keys)
    context.load_cert_chain(stranger.path("client.pem"), stranger.path("client.key"))
    with secured(
        keys, MemoryArchive(), client_certificates="optional", client_ca=keys.path("ca.pem")
    ) as running:
        assert echoes(running, context) is None
        assert echoes(running, client_context(keys))


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        pytest.param(("--anonymous-tls", "--add-cert-file", "ca.pem"), "none", id="anonymous"),
        pytest.param(
            ("--enable-tls", "client.key", "client.pem", "--add-cert-file", "ca.pem"), "required", id="client"
        ),
        pytest.param(
            ("--enable-tls", "client.key", "client.pem", "--add-cert-file", "ca.pem", "--profile-bcp195-ex"),
            "required",
            id="extended BCP 195",
        ),
    ],
)
def test_storescu_over_tls(keys: Keys, tool: FindTool, options: tuple[str, ...], wanted: str) -> None:
    archive = MemoryArchive()
    with secured(keys, archive, client_certificates=wanted, client_ca=keys.path("ca.pem")) as running:
        done = subprocess.run(
            [tool("storescu"), *options, "127.0.0.1", str(running.port), *[CT_FILE] * 20],
            cwd=keys.folder,
            env={**os.environ, "TCP_NODELAY": "1"},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=110,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(archive.stored) == 20


def test_pynetdicom_over_tls(keys: Keys) -> None:
    archive = MemoryArchive()
    data_set = pydicom.dcmread(CT_FILE)
    with secured(keys, archive) as running:
        ae = AE()
        ae.add_requested_context(data_set.SOPClassUID, data_set.file_meta.TransferSyntaxUID)
        context = client_context(keys)
        context.check_hostname = False
        association = ae.associate("127.0.0.1", running.port, tls_args=(context, "127.0.0.1"))
        assert association.is_established
        assert association.send_c_store(data_set).Status == 0
        association.release()
    assert len(archive.stored) == 1


def test_a_handshake_that_does_not_end_holds_up_nobody(keys: Keys) -> None:
    with secured(keys, MemoryArchive()) as running, raw_peer(running.port) as silent:
        silent.send(b"\x16\x03\x01")
        assert echoes(running, client_context(keys))


def test_a_crowd_that_never_ends_its_handshake_is_pushed_out(keys: Keys) -> None:
    patient = DicomSettings(artim_timeout_seconds=600)
    context = server_context(settings(keys))
    with listening(MemoryArchive().handlers, settings=patient, ssl_context=context) as running:
        crowd = [running.connect() for _ in range(MAXIMUM_LOBBY + 50)]
        assert echoes(running, client_context(keys))
        wait_until(
            lambda: sum(thread.name.startswith("dimse") for thread in threading.enumerate()) <= MAXIMUM_LOBBY
        )
        for sock in crowd:
            sock.close()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"client_certificates": "required", "certificate": "c.pem"}, "client_ca"),
        ({"key": "k.pem"}, "certificate"),
        ({"client_ca": "ca.pem"}, "certificate"),
    ],
)
def test_settings_that_are_not_whole_are_refused(given: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        DicomTlsSettings(**given)  # type: ignore[arg-type]


def test_files_that_do_not_serve_are_told_at_the_start(keys: Keys) -> None:
    with pytest.raises(Unavailable, match="No such file"):
        server_context(DicomTlsSettings(certificate=keys.path("none.pem")))
    with pytest.raises(Unavailable, match="TLS"):
        server_context(DicomTlsSettings(certificate=keys.path("server.pem"), key=keys.path("client.key")))
    encrypted = keys.path("encrypted.key")
    keys.run("rsa", "-in", "server.key", "-aes128", "-passout", "pass:secret", "-out", encrypted)
    with pytest.raises(Unavailable, match="encrypted"):
        server_context(DicomTlsSettings(certificate=keys.path("server.pem"), key=encrypted))


POD = r"""
import sys
from services.common import logs
from services.common.dimse.pod import Composition, open_port, run_pod
from services.common.settings import DicomSettings, LogSettings
from tests.fakes.dimse_archive import MemoryArchive, TakesAll

class Nobody:
    def find(self, aet): return None
    def all(self): return ()

logs.configure(LogSettings(form="json"), "test")
settings = DicomSettings.model_validate_json(sys.argv[1])
run_pod(settings, open_port(settings), lambda: Composition(
    handlers=MemoryArchive().handlers, policy=TakesAll(), nodes=Nobody(), close=lambda: None))
"""


def test_a_pod_serves_both_ports(keys: Keys) -> None:
    both = DicomSettings(port=0, tls=settings(keys, port=0))
    with subprocess.Popen(
        [sys.executable, "-c", POD, both.model_dump_json()],
        cwd=Path(__file__).resolve().parents[2],
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stderr is not None
        try:
            said = [json.loads(program.stderr.readline()) for _ in range(2)]
            assert [line["tls"] for line in said] == [False, True]
            for _ in range(4):
                with raw_peer(said[0]["port"]) as peer:
                    peer.associate()
                address = ("127.0.0.1", said[1]["port"])
                sock = socket.create_connection(address, timeout=110)
                with client_context(keys).wrap_socket(sock, server_hostname="127.0.0.1") as secure:
                    RawPeer(secure).associate()
            program.send_signal(signal.SIGTERM)
            assert program.wait(110) == 0
        finally:
            program.kill()
        rest = program.stderr.read()
    assert rest.count('"tls": "TLSv1.3"') == 4


def test_a_failed_handshake_is_told_and_a_probe_is_not(
    keys: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    with secured(keys, MemoryArchive()) as running:
        running.connect().close()
        with raw_peer(running.port) as plain:
            plain.send(associate_rq())
            wait_until(plain.is_closed)
    assert capsys.readouterr().out.count("tls_handshake_failed") == 1
