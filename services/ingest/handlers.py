"""C-STORE (PS3.4 Annex B): the protocol's edge of `services.common.intake`."""

from __future__ import annotations

from services.common.dimse.handlers import Association
from services.common.dimse.messages import Command
from services.common.dimse.negotiation import AcceptedContext
from services.common.intake import Intake, Reception
from services.common.model import Route, Source
from services.common.ports import NodeRules


class _ReceptionSink:
    """A `StoreSink` that is an intake's reception."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception

    def write(self, data: memoryview) -> None:
        self._reception.write(data)

    def finish(self) -> None:
        self._reception.finish()

    def abort(self) -> None:
        self._reception.abort()


class StorageHandler:
    """Stores what peers send; success is answered once the object is durable."""

    def __init__(self, intake: Intake, nodes: NodeRules) -> None:
        """`nodes` tells the Issuer of Patient ID of senders that name none themselves."""
        self._intake = intake
        self._nodes = nodes

    def begin(self, association: Association, command: Command, context: AcceptedContext) -> _ReceptionSink:
        """Open a sink for the object that `command` announces."""
        info = association.info
        node = self._nodes.find(info.calling_aet)
        return _ReceptionSink(
            self._intake.begin(
                source=Source(
                    route=Route.DIMSE,
                    calling_aet=info.calling_aet,
                    called_aet=info.called_aet,
                    default_issuer=node.default_issuer if node else "",
                ),
                transfer_syntax_uid=context.transfer_syntax,
                sop_class_uid=command.affected_sop_class_uid or "",
                sop_instance_uid=command.affected_sop_instance_uid or "",
            )
        )
