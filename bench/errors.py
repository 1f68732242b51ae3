"""What can go wrong with a benchmark."""

from __future__ import annotations


class BenchError(Exception):
    """A run that gives no figure."""


class NotStarted(BenchError):
    """A server did not come up, or not in time."""


class ClientFailed(BenchError):
    """A client did not end well, or not in time."""


class WrongAnswer(BenchError):
    """A server lost, doubled or changed images; its speed does not count."""
