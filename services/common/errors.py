"""The few kinds of error that Gantry knows; the kind decides the answer at every edge.

========================  ==========================  =========  ==============
kind                      DIMSE status                HTTP code  worker
========================  ==========================  =========  ==============
:class:`InvalidInstance`  A900 or C000, with comment  400        quarantine
:class:`InvalidQuery`     A900                        400        –
:class:`NotFound`         no match, or failed         404        –
:class:`UnknownNode`      A801                        404        –
:class:`NotAcceptable`    failed sub-operation        406        –
:class:`BlobMissing`      failed sub-operation        500        quarantine
:class:`Unavailable`      A700, A701 or A702          503        retry
========================  ==========================  =========  ==============
"""

from __future__ import annotations


class GantryError(Exception):
    """Something that Gantry has a name for went wrong."""

    def __init__(self, detail: str | None = None) -> None:
        """Say what happened in one sentence; without `detail` the class's own first line serves."""
        super().__init__(detail or (self.__doc__ or type(self).__name__).strip().splitlines()[0])


class InvalidInstance(GantryError):
    """The instance cannot be stored as it is.

    `tag` is the offending element as ``0xGGGGEEEE``, or None where no single one is to blame.
    """

    def __init__(self, detail: str | None = None, *, tag: int | None = None) -> None:
        super().__init__(detail)
        self.tag = tag


class InvalidQuery(GantryError):
    """The query cannot be understood."""

    def __init__(self, detail: str | None = None, *, tag: int | None = None) -> None:
        super().__init__(detail)
        self.tag = tag


class NotFound(GantryError):
    """There is nothing of that name."""


class UnknownNode(GantryError):
    """No node of that AE title is known."""


class NotAcceptable(GantryError):
    """The instance has no form that the receiver accepts."""


class BlobMissing(GantryError):
    """The catalog names a blob that the object store does not hold."""


class Unavailable(GantryError):
    """A backing service does not answer; the same call may go through later."""
