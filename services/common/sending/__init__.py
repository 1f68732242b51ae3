"""Use case: send instances to a node (C-STORE as SCU), for C-MOVE, C-GET, forwarding and `gantry send`.

* `Sender` opens the associations that it needs, and sends a list of instances over them.
* `Receiver` says what the other end of an association takes; `store_one` sends one instance and says
  how it ended.  A C-GET is made of these two, for its association is there already.
"""

from __future__ import annotations

from services.common.sending.ending import Ended, Result, failed, store_one
from services.common.sending.receiver import Receiver
from services.common.sending.sender import HEARTBEAT_SECONDS, Associate, Originator, Sender

__all__ = [
    "HEARTBEAT_SECONDS",
    "Associate",
    "Ended",
    "Originator",
    "Receiver",
    "Result",
    "Sender",
    "failed",
    "store_one",
]
