"""C-ECHO to a node: whether it answers, and how soon (PS3.4 Annex A)."""

from __future__ import annotations

import time

from services.common.dimse.requestor import (
    IMPLICIT_VR_LITTLE_ENDIAN,
    VERIFICATION,
    ProposedContext,
    Timeouts,
    associate,
)
from services.common.errors import Unavailable
from services.common.model import Node

_PATIENCE = Timeouts(connect=5.0, artim=10.0, network=10.0)


def echo(node: Node, own_aet: str) -> float:
    """The milliseconds from connecting to the node's answer.

    Raises:
        Unavailable: it cannot be reached, rejects the association, or answers with a failure.
        NotAcceptable: it does not accept Verification.
    """
    began = time.monotonic()
    proposed = ProposedContext(abstract_syntax=VERIFICATION, transfer_syntaxes=(IMPLICIT_VR_LITTLE_ENDIAN,))
    with associate(node, [proposed], own_aet=own_aet, timeouts=_PATIENCE) as association:
        status = association.echo()
    if status != 0:
        raise Unavailable(f"{node.aet} answered C-ECHO with status 0x{status:04X}")
    return (time.monotonic() - began) * 1000
