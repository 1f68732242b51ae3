"""Every file of the corpus over the wire: given back to the byte, or refused for a reviewed reason."""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid
from pynetdicom.sop_class import ModalityPerformedProcedureStep

from services.common.adapters.files import FolderStore
from services.common.dimse.requestor import ProposedContext, associate
from services.common.errors import InvalidInstance
from services.common.keys import Area
from services.common.model import BlobRef, Node
from services.common.part10 import HeaderScanner, read_file_meta
from tests.archive import Archive, end, start_archive

REVIEWED = (
    "is missing",
    "is no valid UID",
    "is not the one announced",
    "is cut short",
    "is no element",
)
"""What a refusal of a corpus file may say."""

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI")

SUCCESS = 0x0000
REFUSALS = (0xA900, 0xC000)
NO_CONTEXT = -1
"""The archive did not accept the SOP class, or what was proposed as its transfer syntax is no UID at all."""

NOT_STORED = {MediaStorageDirectoryStorage, ModalityPerformedProcedureStep}
FILES_PER_ASSOCIATION = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One file as it goes over the wire."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: bytes

    @property
    def names_a_transfer_syntax(self) -> bool:
        return re.fullmatch(r"[0-9.]+", self.transfer_syntax_uid) is not None

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data_set).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    sent: Sent
    status: int
    comment: str


def as_sent(path: Path) -> Sent:
    """A file as a sender would send it; one that is no DICOM file goes as it is, as if it were a data set."""
    content = path.read_bytes()
    try:
        with path.open("rb") as stream:
            meta = read_file_meta(stream)
    except InvalidInstance:
        return Sent(
            path=path,
            sop_class_uid=CTImageStorage,
            sop_instance_uid=generate_uid(),
            transfer_syntax_uid=ImplicitVRLittleEndian,
            data_set=content,
        )
    data_set = content[meta.data_set_offset :]
    said = _identity(data_set, meta.transfer_syntax_uid)
    return Sent(
        path=path,
        sop_class_uid=said[0] or meta.sop_class_uid or CTImageStorage,
        sop_instance_uid=said[1] or meta.sop_instance_uid or generate_uid(),
        transfer_syntax_uid=meta.transfer_syntax_uid,
        data_set=data_set,
    )


def _identity(data_set: bytes, transfer_syntax_uid: str) -> tuple[str, str]:
    """SOP Class and SOP Instance UID as the data set says, as a sender reads them before it sends."""
    scanner = HeaderScanner(transfer_syntax_uid)
    try:
        scanner.feed(data_set)
        scanner.finish()
    except InvalidInstance:
        return "", ""
    return (scanner.text(0x00080016) or "")[:64], (scanner.text(0x00080018) or "")[:64]


def send(archive: Archive, files: list[Sent]) -> Iterator[Answer]:
    """C-STORE each file, whatever it holds."""
    node = Node(aet="GANTRY", host="127.0.0.1", port=archive.dicom_port)
    wanted = dict.fromkeys((sent.sop_class_uid, sent.transfer_syntax_uid) for sent in files)
    contexts = [ProposedContext(abstract_syntax=a, transfer_syntaxes=(t,)) for a, t in wanted]
    with associate(node, contexts, own_aet="CORPUS") as association:
        for sent in files:
            accepted = association.contexts_for(sent.sop_class_uid)
            context = next((c for c in accepted if c.transfer_syntax == sent.transfer_syntax_uid), None)
            if context is None:
                yield Answer(sent=sent, status=NO_CONTEXT, comment=sent.sop_class_uid)
                continue
            outcome = association.store(
                context=context,
                sop_class_uid=sent.sop_class_uid,
                sop_instance_uid=sent.sop_instance_uid,
                chunks=[sent.data_set],
                length=len(sent.data_set),
            )
            yield Answer(sent=sent, status=outcome.status, comment=outcome.comment)


@pytest.fixture(scope="module")
def corpus_archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An archive that holds the corpus alone."""
    running = start_archive(tmp_path_factory.mktemp("corpus"))
    yield running
    end(running)


@pytest.fixture(scope="module")
def answers(corpus_archive: Archive, corpus_files: list[Path]) -> list[Answer]:
    """What the archive answered to each file, in the order sent."""
    files = [as_sent(path) for path in corpus_files]
    batches = [files[at : at + FILES_PER_ASSOCIATION] for at in range(0, len(files), FILES_PER_ASSOCIATION)]
    return [answer for batch in batches for answer in send(corpus_archive, batch)]


@pytest.mark.timeout(900)
def test_every_file_is_stored_or_refused_for_a_reviewed_reason(answers: list[Answer]) -> None:
    refused = [a for a in answers if a.status != SUCCESS]
    odd = [
        (a.sent.path.name, hex(a.status), a.comment)
        for a in refused
        if not (a.status == NO_CONTEXT and (a.comment in NOT_STORED or not a.sent.names_a_transfer_syntax))
        and not (a.status in REFUSALS and any(reason in a.comment for reason in REVIEWED))
    ]
    assert not odd
    assert len(answers) - len(refused) > len(answers) / 2


@pytest.mark.timeout(900)
def test_what_was_acknowledged_lies_in_the_store_to_the_byte(
    corpus_archive: Archive, answers: list[Answer]
) -> None:
    store = FolderStore(corpus_archive.data_dir / "blobs")
    held: Counter[str] = Counter()
    after = ""
    while page := store.list(f"{Area.ORIGINALS}/", after=after):
        after = page[-1].key
        for stat in page:
            whole = BlobRef(bucket=store.bucket, key=stat.key, offset=0, length=stat.size)
            offset = int(store.stat(stat.key).metadata["data-set-offset"])
            with store.open(whole) as stream:
                held[hashlib.sha256(stream.readall()[offset:]).hexdigest()] += 1
    assert held == Counter(answer.sent.digest for answer in answers if answer.status == SUCCESS)


@pytest.mark.timeout(900)
def test_what_was_acknowledged_last_is_given_back_to_the_byte(
    corpus_archive: Archive, answers: list[Answer]
) -> None:
    last = {_said(a.sent)[2]: a.sent for a in answers if a.status == SUCCESS}
    corpus_archive.wait_for_instances(len(last), seconds=400)
    different = [
        sent.path.name for sent in last.values() if _given_back(corpus_archive, sent) != sent.data_set
    ]
    assert not different


def _said(sent: Sent) -> tuple[str, str, str]:
    """Study, series and SOP instance UID, as the data set says."""
    scanner = HeaderScanner(sent.transfer_syntax_uid)
    scanner.feed(sent.data_set)
    scanner.finish()
    study, series, instance = (scanner.text(tag) or "" for tag in (0x0020000D, 0x0020000E, 0x00080018))
    return study.strip(), series.strip(), instance.strip()


def _given_back(archive: Archive, sent: Sent) -> bytes:
    study, series, instance = _said(sent)
    status, body, _ = archive.get(
        f"/wado?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={instance}"
        "&contentType=application/dicom&useOrig=true"
    )
    assert status == 200, (sent.path.name, status, body)
    return body[read_file_meta(io.BytesIO(body)).data_set_offset :]
