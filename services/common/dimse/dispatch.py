"""Which service answers a request: one function per Command Field (PS3.7 9.3 and 10.3)."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace

from services.common import logs
from services.common.dimse import metrics, status
from services.common.dimse.association import InboundAssociation
from services.common.dimse.dialogue import Message
from services.common.dimse.handlers import Response, StoreHandler, StoreSink, pending
from services.common.dimse.messages import CommandField
from services.common.dimse.pdu import AbortReason, ProtocolViolation
from services.common.dimse.status import Service, answer_to
from services.common.errors import GantryError, InvalidInstance, InvalidQuery

_log = logs.get(__name__)

_UNRECOGNIZED = Response(status=status.UNRECOGNIZED_OPERATION)
_SUCCESS = Response(status=status.SUCCESS)


def dispatch(association: InboundAssociation, message: Message) -> None:
    """Serve one request to its final response."""
    command = message.command
    if command.command_field == CommandField.C_CANCEL_RQ:
        return  # what it would cancel is over
    if command.is_response:
        raise ProtocolViolation("a response to no request", AbortReason.UNEXPECTED_PARAMETER)
    serve = _SERVICES.get(command.command_field, _refuse)
    if serve is not _store:
        association.settle()
    serve(association, message)


def _echo(association: InboundAssociation, message: Message) -> None:
    association.dialogue.drain()
    _finish(association, message, "C-ECHO", _SUCCESS)


def _refuse(association: InboundAssociation, message: Message) -> None:
    association.dialogue.drain()
    _finish(association, message, "other", _UNRECOGNIZED)


def _store(association: InboundAssociation, message: Message) -> None:
    handler = association.handlers.store
    if handler is None:
        return _refuse(association, message)
    started = time.monotonic()
    received = _receive(association, handler, message)
    association.dialogue.drain()

    def finish() -> Response:
        response = received if isinstance(received, Response) else _complete(association, received)
        metrics.STORE_SECONDS.observe(time.monotonic() - started)
        return response

    if association.finishing is None:
        answer_store(association, message, finish())
    else:
        association.finishing.begin(message, finish)


def answer_store(association: InboundAssociation, message: Message, response: Response) -> None:
    """The answer to a C-STORE-RQ, and its place in the books."""
    stored = response.status == status.SUCCESS
    association.tally.count_store(stored=stored)
    metrics.STORES.labels(f"{response.status:04X}").inc()
    if stored:
        association.dialogue.send_stored(message)
    else:
        association.respond(message, response)


def _receive(
    association: InboundAssociation, handler: StoreHandler, message: Message
) -> StoreSink | Response:
    """Take a data set whole: the sink that is to be finished, or what its sender is to be told."""
    sink: StoreSink | None = None
    received = 0
    try:
        if not message.command.has_data_set:
            raise InvalidInstance("the C-STORE request brings no data set")
        sink = handler.begin(association, message.command, message.context)
        for data in association.dialogue.data_set():
            received += len(data)
            sink.write(data)
    except Exception as exc:  # noqa: BLE001 - the edge: every error becomes a status
        if sink is not None:
            _abort(sink)
        return _failure(association, exc, Service.STORE)
    finally:
        association.tally.bytes += received
        metrics.STORED_BYTES.inc(received)
    return sink


def _complete(association: InboundAssociation, sink: StoreSink) -> Response:
    """Make an object durable of which every byte is here."""
    try:
        sink.finish()
    except Exception as exc:  # noqa: BLE001 - the edge: every error becomes a status
        _abort(sink)
        return _failure(association, exc, Service.STORE)
    return _SUCCESS


def _abort(sink: StoreSink) -> None:
    try:
        sink.abort()
    except Exception as exc:  # noqa: BLE001 - the error that led here is the one to answer
        _log.warning("store_abort_failed", error=type(exc).__name__)


def _find(association: InboundAssociation, message: Message) -> None:
    handler = association.handlers.query
    if handler is None:
        return _refuse(association, message)
    _operate(association, message, Service.FIND, "C-FIND", handler.find)


def _move(association: InboundAssociation, message: Message) -> None:
    handler = association.handlers.retrieve
    if handler is None:
        return _refuse(association, message)
    _operate(association, message, Service.RETRIEVE, "C-MOVE", handler.move)


def _get(association: InboundAssociation, message: Message) -> None:
    handler = association.handlers.retrieve
    if handler is None:
        return _refuse(association, message)
    _operate(association, message, Service.RETRIEVE, "C-GET", handler.get)


def _operate(
    association: InboundAssociation,
    message: Message,
    service: Service,
    name: str,
    operation: Callable[..., Iterator[Response]],
) -> None:
    """Answer an operation that has many responses, until its last or a C-CANCEL-RQ."""
    dialogue, message_id = association.dialogue, message.command.message_id
    last: Response | None = None
    try:
        identifier = dialogue.read_data_set()
        if not identifier:
            raise InvalidQuery("the request brings no identifier")
        responses = operation(
            association,
            message.command,
            message.context,
            identifier,
            lambda: dialogue.is_cancelled(message_id),
        )
        try:
            final = None
            for response in responses:
                if not pending(response.status):
                    final = response
                    break
                last = response
                association.respond(message, response)
                if dialogue.is_cancelled(message_id):
                    final = _cancelled(responses, service, response)
                    break
        finally:
            close = getattr(responses, "close", None)
            if close is not None:
                close()
        if final is None:
            over = status.CANCELLED if dialogue.was_cancelled(message_id) else status.SUCCESS
            final = _last_word(over, last)
    except Exception as exc:  # noqa: BLE001 - the edge: every error becomes a status
        final = _failure(association, exc, service, sub_operations_began=last is not None)
    dialogue.forget_cancels()
    _finish(association, message, name, final)


def _cancelled(responses: Iterator[Response], service: Service, last: Response) -> Response:
    """The last word after a cancel: a retrieval may end its running sub-operation and says what remains."""
    if service is Service.FIND:
        return Response(status=status.CANCELLED)
    following = next(responses, last)
    return _last_word(status.CANCELLED, following) if pending(following.status) else following


def _last_word(code: int, last: Response | None) -> Response:
    if last is None:
        return Response(status=code)
    remaining = last.remaining if code == status.CANCELLED else None
    return replace(last, status=code, identifier=None, remaining=remaining)


def _action(association: InboundAssociation, message: Message) -> None:
    handler = association.handlers.action
    if handler is None:
        return _refuse(association, message)
    try:
        information = association.dialogue.read_data_set()
        final = handler.action(association, message.command, message.context, information)
    except Exception as exc:  # noqa: BLE001 - the edge: every error becomes a status
        final = _failure(association, exc, Service.ACTION)
    _finish(association, message, "N-ACTION", final)


def _failure(
    association: InboundAssociation, exc: Exception, service: Service, *, sub_operations_began: bool = False
) -> Response:
    """The response that `exc` deserves; raises it again where it concerns this very association."""
    if association.dialogue.lane.lost or isinstance(exc, ProtocolViolation):
        raise exc
    if isinstance(exc, GantryError):
        _log.info("request_refused", service=service.value, error=type(exc).__name__, detail=str(exc))
        return answer_to(exc, service, sub_operations_began=sub_operations_began)
    # The message of a foreign error may quote a data set, so only its kind and its place are logged.
    _log.error(
        "handler_failed",
        service=service.value,
        error=type(exc).__name__,
        where="".join(traceback.format_tb(exc.__traceback__)[-4:]),
    )
    return Response(status=status.PROCESSING_FAILURE, comment="internal error")


def _finish(association: InboundAssociation, message: Message, name: str, final: Response) -> None:
    metrics.OPERATIONS.labels(name, f"{final.status:04X}").inc()
    association.tally.operations += 1
    association.respond(message, final)


_SERVICES: dict[int, Callable[[InboundAssociation, Message], None]] = {
    CommandField.C_ECHO_RQ: _echo,
    CommandField.C_STORE_RQ: _store,
    CommandField.C_FIND_RQ: _find,
    CommandField.C_MOVE_RQ: _move,
    CommandField.C_GET_RQ: _get,
    CommandField.N_ACTION_RQ: _action,
}
