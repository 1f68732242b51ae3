"""Command sets: the same bytes as pynetdicom's, and hostile ones refused."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pynetdicom.dsutils import encode as encode_data_set

from services.common.dimse import messages
from services.common.dimse.messages import Command, CommandField, MalformedCommand

uids = st.from_regex(r"[1-9][0-9]{0,5}(\.[1-9][0-9]{0,5}){1,5}", fullmatch=True)
shorts = st.integers(0, 0xFFFF)


def read(raw: bytes) -> Dataset:
    """The command set by pydicom."""
    return read_dataset(io.BytesIO(raw), is_implicit_VR=True, is_little_endian=True)


@given(uids, uids, shorts, shorts, st.booleans())
def test_a_store_request_is_what_pydicom_writes(
    sop_class: str, instance: str, message_id: int, originator_id: int, has_data_set: bool
) -> None:
    plain = Dataset()
    plain.AffectedSOPClassUID = sop_class
    plain.CommandField = 1
    plain.MessageID = message_id
    plain.Priority = 2
    plain.CommandDataSetType = 1 if has_data_set else 0x0101
    plain.AffectedSOPInstanceUID = instance
    plain.MoveOriginatorApplicationEntityTitle = "VIEWER"
    plain.MoveOriginatorMessageID = originator_id
    body = encode_data_set(plain, True, True)
    assert body is not None
    expected = bytes.fromhex("0000000004000000") + len(body).to_bytes(4, "little") + body
    command = Command(
        command_field=CommandField.C_STORE_RQ,
        message_id=message_id,
        affected_sop_class_uid=sop_class,
        affected_sop_instance_uid=instance,
        priority=2,
        has_data_set=has_data_set,
        move_originator_aet="VIEWER",
        move_originator_message_id=originator_id,
    )
    assert messages.encode(command) == expected
    assert messages.decode(expected) == command


def test_a_response_says_everything_it_may() -> None:
    request = Command(
        command_field=CommandField.C_MOVE_RQ,
        message_id=7,
        affected_sop_class_uid="1.2.3",
        has_data_set=True,
        move_destination="THERE",
    )
    response = request.respond(
        0xB000,
        has_data_set=True,
        comment="a\\b\nc" + "x" * 100,
        offending_elements=(0x0020000D, 0x00080018),
        remaining=0,
        completed=70000,
        failed=2,
        warning=1,
    )
    decoded = read(messages.encode(response))
    assert decoded.CommandField == 0x8021
    assert decoded.MessageIDBeingRespondedTo == 7
    assert decoded.Status == 0xB000
    assert decoded.ErrorComment == "a b c" + "x" * 59
    assert list(decoded.OffendingElement) == [0x0020000D, 0x00080018]
    assert decoded.NumberOfRemainingSuboperations == 0
    assert decoded.NumberOfCompletedSuboperations == 0xFFFF
    assert decoded.NumberOfFailedSuboperations == 2
    assert decoded.NumberOfWarningSuboperations == 1
    assert "MoveDestination" not in decoded


def test_padding_is_taken_off_and_nothing_else() -> None:
    raw = messages.encode(
        Command(
            command_field=1, message_id=1, affected_sop_instance_uid="../../etc", move_originator_aet=" A b "
        )
    )
    command = messages.decode(raw)
    assert command.sop_instance_uid == "../../etc"
    assert command.move_originator_aet == "A b"


def element(number: int, value: bytes, *, group: int = 0, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    return group.to_bytes(2, "little") + number.to_bytes(2, "little") + size.to_bytes(4, "little") + value


FIELD = element(0x0100, b"\x30\0")
MESSAGE_ID = element(0x0110, b"\1\0")
NO_DATA = element(0x0800, b"\1\1")


def test_unknown_elements_are_passed_over() -> None:
    raw = FIELD + MESSAGE_ID + element(0x0850, b"\1\0") + NO_DATA + element(0x5010, b"retired ")
    assert messages.decode(raw) == Command(command_field=0x30, message_id=1)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(FIELD[:5], id="half a header"),
        pytest.param(FIELD + MESSAGE_ID, id="no data set type"),
        pytest.param(MESSAGE_ID + NO_DATA, id="no command field"),
        pytest.param(FIELD + NO_DATA, id="no message ID"),
        pytest.param(FIELD + element(0x0110, b"") + NO_DATA, id="empty message ID"),
        pytest.param(FIELD + element(0x0110, b"\1") + NO_DATA, id="odd US"),
        pytest.param(FIELD + MESSAGE_ID + NO_DATA + element(2, b"1", length=0xFFFFFFFF), id="4 GB element"),
        pytest.param(FIELD + MESSAGE_ID + NO_DATA + element(0x18, b"", group=8), id="another group"),
        pytest.param(FIELD + MESSAGE_ID + NO_DATA + element(0x0901, b"abc"), id="odd AT"),
    ],
)
def test_a_malformed_command_set_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedCommand):
        messages.decode(raw)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_command_or_malformed(raw: bytes) -> None:
    try:
        command = messages.decode(raw)
    except MalformedCommand:
        return
    assert isinstance(command.command_field, int)


def test_a_cancel_names_the_request_it_cancels() -> None:
    cancel = Command(command_field=CommandField.C_CANCEL_RQ, message_id_being_responded_to=9)
    assert messages.decode(messages.encode(cancel)) == cancel


optional_uids = st.none() | st.text("0123456789.", min_size=1, max_size=64)


@given(optional_uids, optional_uids, shorts)
def test_the_quick_answer_is_the_same(sop_class: str | None, instance: str | None, message_id: int) -> None:
    request = Command(
        command_field=CommandField.C_STORE_RQ,
        message_id=message_id,
        affected_sop_class_uid=sop_class,
        affected_sop_instance_uid=instance,
        priority=2,
        has_data_set=True,
    )
    assert messages.encode_stored(request) == messages.encode(request.respond(0x0000))
