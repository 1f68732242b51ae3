"""What the conformance statement says of DIMSE: SOP classes, transfer syntaxes, attributes, statuses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from pydicom._uid_dict import UID_dictionary
from pydicom.charset import python_encoding
from pydicom.uid import UID

from docs.generate.tables import code, table
from services.common import part10
from services.common.attributes import ATTRIBUTES, Matching
from services.common.dimse import associate_pdu, status
from services.common.dimse.acceptor import MAXIMUM_LOBBY
from services.common.dimse.acse import MAXIMUM_CONTEXTS
from services.common.dimse.dialogue import MAXIMUM_IDENTIFIER_BYTES
from services.common.dimse.pdu import MAXIMUM_ASSOCIATE_BYTES, OWN_MAXIMUM_SENT
from services.common.dimse.status import Service, answer_to
from services.common.errors import GantryError, InvalidInstance, InvalidQuery, Unavailable, UnknownNode
from services.common.pixels.codecs import CODECS
from services.common.pixels.frames import NATIVE
from services.common.retrieval import RENDERED_IN, UNCOMPRESSED
from services.common.settings import DicomSettings
from services.ingest.contexts import is_storage
from services.qr.charsets import CharacterSet
from services.qr.contexts import FIND, GET, MOVE

_MATCHING = {
    Matching.UID: "single value, list of UIDs",
    Matching.TEXT: "single value, wildcard, multiple values",
    Matching.NAME: "person name: single value, wildcard, multiple values",
    Matching.DATE: "single value, range",
    Matching.TIME: "single value, range",
    Matching.NUMBER: "single value, multiple values",
    Matching.SET: "one of the values below: single value, multiple values",
    Matching.COUNT: "returned, never matched",
}
_EVERYWHERE = (Service.STORE, Service.FIND, Service.RETRIEVE)
_ERRORS: Sequence[tuple[str, GantryError, Sequence[Service]]] = (
    ("the data set cannot be stored, and one element is to blame", InvalidInstance(tag=1), (Service.STORE,)),
    ("the data set cannot be read, or no single element is to blame", InvalidInstance(), (Service.STORE,)),
    ("the identifier cannot be understood", InvalidQuery(tag=1), (Service.FIND, Service.RETRIEVE)),
    ("the move destination is no known node", UnknownNode(), (Service.RETRIEVE,)),
    ("the object store or the catalog does not answer", Unavailable(), _EVERYWHERE),
)
_COMPRESSED_LOSSLESS = RENDERED_IN[0]


def associations() -> str:
    """What PS3.2 wants to know of every association."""
    defaults = DicomSettings()
    return table(
        ("what", "value"),
        [
            ("Application context", code(associate_pdu.APPLICATION_CONTEXT)),
            ("Implementation class UID in associations", code(associate_pdu.IMPLEMENTATION_CLASS_UID)),
            ("Implementation version name in associations", code(associate_pdu.IMPLEMENTATION_VERSION_NAME)),
            ("Implementation class UID in file meta information", code(part10.IMPLEMENTATION_CLASS_UID)),
            (
                "Implementation version name in file meta information",
                code(part10.IMPLEMENTATION_VERSION_NAME),
            ),
            ("Maximum PDU length received", f"{defaults.maximum_pdu_length} bytes (setting)"),
            ("Maximum PDU length sent to a peer without limit", f"{OWN_MAXIMUM_SENT} bytes"),
            (
                "Associations at a time",
                f"{defaults.maximum_associations} (setting), over all processes of a service",
            ),
            ("Connections without association, per process", f"{MAXIMUM_LOBBY}; the oldest gives way"),
            ("Presentation contexts proposed", f"at most {MAXIMUM_CONTEXTS}"),
            ("Longest association request", f"{MAXIMUM_ASSOCIATE_BYTES} bytes"),
            ("Longest identifier of a request", f"{MAXIMUM_IDENTIFIER_BYTES} bytes"),
            (
                "Asynchronous operations window",
                f"as proposed, at most {defaults.operations_window} operations (setting), performed: 1; "
                "one operation at a time where Query/Retrieve is accepted, or none proposed",
            ),
            ("Time to associate (ARTIM)", f"{defaults.artim_timeout_seconds:g} s (setting)"),
            ("Silence within a message", f"{defaults.network_timeout_seconds:g} s (setting)"),
            ("Silence between messages", f"{defaults.idle_timeout_seconds:g} s (setting, also per node)"),
        ],
    )


def storage_classes() -> str:
    """Every SOP class of the dictionary whose objects are stored."""
    known = [
        (uid, name or keyword, "retired" if retired else "")
        for uid, (name, _, _, retired, keyword) in UID_dictionary.items()
        if is_storage(uid, unknown=False)
    ]
    return table(
        ("SOP class", "UID", ""), [(name, code(uid), retired) for uid, name, retired in sorted(known)]
    )


def query_retrieve_classes() -> str:
    """The SOP classes of the Query/Retrieve Service Class."""
    return table(("SOP class", "UID"), [(UID(uid).name, code(uid)) for uid in sorted(FIND | MOVE | GET)])


def transfer_syntaxes() -> str:
    """Every transfer syntax of the dictionary, and what can be done with objects in it."""
    rows = []
    for uid, (name, kind, *_) in UID_dictionary.items():
        if kind == "Transfer Syntax":
            decoded = "yes" if uid in CODECS or uid in NATIVE else ""
            made = (
                "uncompressed" if uid in UNCOMPRESSED else "rendition" if uid == _COMPRESSED_LOSSLESS else ""
            )
            rows.append((name.removesuffix(" (Retired)"), code(uid), "yes", decoded, made))
    return table(("transfer syntax", "UID", "stored and given back", "decoded", "made"), rows)


def attributes() -> str:
    """The attributes that are matched on, level by level."""
    parts = []
    for level, its in groupby(ATTRIBUTES, key=lambda attribute: attribute.level):
        rows = [
            (
                attribute.keyword,
                f"({attribute.tag >> 16:04X},{attribute.tag & 0xFFFF:04X})",
                attribute.vr,
                ("unique key; " if attribute.is_unique_key else "") + _MATCHING[attribute.matching],
            )
            for attribute in its
        ]
        parts.append(f"**{level.name}**\n\n" + table(("attribute", "tag", "VR", "matching"), rows))
    return "\n\n".join(parts)


def statuses() -> str:
    """The status that each error becomes in each service."""
    rows = []
    for why, error, services in _ERRORS:
        answers = (code(f"{answer_to(error, s).status:04X}") if s in services else "" for s in _EVERYWHERE)
        rows.append((why, *answers))
    rows.append(("an error inside Gantry", *[code(f"{status.PROCESSING_FAILURE:04X}")] * len(_EVERYWHERE)))
    return table(("why", "C-STORE", "C-FIND", "C-MOVE, C-GET"), rows)


def character_sets() -> str:
    """The terms in which an answer can be encoded."""
    terms = [term for term in python_encoding if term and CharacterSet(term).name == term]
    return ", ".join(code(term) for term in sorted(terms))
