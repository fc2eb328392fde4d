"""What has arrived for a session and was not read yet by its flow, on disk.

space inbox    key: our session id (16 bytes) | number (u32, big-endian)    value: the envelope
"""

from typing import Final

from runtime.core.session_machine import SessionMachine
from runtime.engine.commits import Commits
from runtime.ids import SessionId
from runtime.ports import Space

INBOX: Final = Space("inbox", write_once=True)


def put_unread(commits: Commits, machine: SessionMachine, number: int, encoded: bytes) -> None:
    """Keep an arrived message in the open batch."""
    commits.put(INBOX, _key(machine.sid, number), encoded)


def remove_unread(commits: Commits, machine: SessionMachine, number: int) -> None:
    """Forget a message that the flow took, or that nobody will read."""
    commits.delete(INBOX, _key(machine.sid, number))


def session_of(key: bytes) -> SessionId:
    """Return whose session a row belongs to."""
    return SessionId(key[:16])


def _key(sid: SessionId, number: int) -> bytes:
    return sid + number.to_bytes(4, "big")
