"""Negotiation: what a requestor proposes, what a service's policy takes of it (PS3.8 7.1, PS3.7 D.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedContext:
    """A presentation context as the requestor proposed it (PS3.8 9.3.2.2).

    `scu_role` and `scp_role` are what the requestor proposed for itself by role selection (PS3.7
    D.3.3.4), None where it proposed nothing.  `extended` is its SOP class extended negotiation (PS3.7
    D.3.3.5), None where there is none.
    """

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    scu_role: bool | None = None
    scp_role: bool | None = None
    extended: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """What a policy takes for one requested context.

    The first of the *requestor's* transfer syntaxes that is in `transfer_syntaxes` is chosen, or with
    `own_order` the first of ours that it proposed.  `scu_role` and `scp_role`: whether the requestor may
    be SCU or SCP, where it asks.  `extended` answers its SOP class extended negotiation.
    """

    transfer_syntaxes: Sequence[str]
    own_order: bool = False
    scu_role: bool = True
    scp_role: bool = True
    extended: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedContext:
    """A presentation context that both sides agreed on.

    `peer_receives` says whether C-STORE may be sent *to* the peer on it: always, unless it was the
    requestor and explicitly proposed the SCP role as 0 (a requestor that negotiates no role at all and
    then sends C-GET, as Horos does, wants the objects).
    """

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    peer_receives: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class UserIdentity:
    """User identity as the requestor claimed it, unverified (PS3.7 D.3.3.7)."""

    kind: int
    primary: bytes = field(repr=False)
    secondary: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationInfo:
    """Who is at the other end and what was negotiated.

    AE titles come without leading and trailing spaces.  `peer_max_pdu` is 0 for no limit.
    `operations_window` is how many requests the requestor may have outstanding (PS3.7 D.3.3.3).
    `contexts` is empty while the policy is being asked.
    """

    calling_aet: str
    called_aet: str
    peer_address: tuple[str, int]
    peer_max_pdu: int = 0
    operations_window: int = 1
    peer_implementation_uid: str = ""
    peer_implementation_version: str = ""
    contexts: Mapping[int, AcceptedContext] = field(default_factory=dict)
    requested: tuple[RequestedContext, ...] = ()
    user_identity: UserIdentity | None = None


class ContextPolicy(Protocol):
    """Which presentation contexts a service takes."""

    def accept(
        self, requested: Sequence[RequestedContext], info: AssociationInfo
    ) -> Sequence[Acceptance | None]:
        """One answer for each of `requested`, in its order; None: abstract syntax not supported."""
