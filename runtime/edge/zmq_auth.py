"""Who may connect: CURVE keys, the peer book, and the handler that ZeroMQ asks about each stranger.

Keys are Z85 text of 40 characters, as bytes. ZeroMQ asks over an inproc socket (ZAP, RFC 27) with

    request    version "1.0" | request id | domain | address | routing id | "CURVE" | key, 32 bytes
    reply      version "1.0" | request id | status "200" or "400" | text | user id | metadata

preceded by the routing envelope of the asker. The user id that we answer is the key, in Z85. ZeroMQ
attaches it to every message of that connection, and nothing a peer says of itself replaces it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import zmq
from zmq.utils import z85

from runtime.edge.zmq_stats import TransportStats
from runtime.edge.zmq_watch import SocketWatch
from runtime.ids import PeerName
from runtime.seldom_log import SeldomLog

ZAP_ENDPOINT: Final = "inproc://zeromq.zap.01"
ZAP_DOMAIN: Final = b"sennit"
USER_ID: Final = "User-Id"

# Whoever connects and says nothing is hung up on.
HANDSHAKE_MS_MAX: Final = 10_000

_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveKeys:
    """The key pair that a node proves its identity on links with."""

    public_key: bytes
    secret_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Where a peer listens, and the key that it must prove to have."""

    endpoint: str
    curve_key: bytes


class PeerBook(Protocol):
    """The network map as a transport sees it. It may change at any time; it is asked each time."""

    def address(self, peer: PeerName) -> PeerAddress | None:
        """Return where ``peer`` is to be found, or None if the network does not list it."""

    def peer_of(self, curve_key: bytes) -> PeerName | None:
        """Return whose key this is, or None if it is nobody's (any more)."""

    def refresh(self) -> None:
        """Learn that a peer can't be reached where the book says it is: look for news."""


def curve_keypair() -> tuple[bytes, bytes]:
    """Return a new public and secret key."""
    public_key, secret_key = zmq.curve_keypair()
    return public_key, secret_key


class ZapHandler:
    """Admit the keys that are listed and nobody else. Must be there before a socket is bound."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        is_listed: Callable[[bytes], bool],
        stats: TransportStats,
    ) -> None:
        self._is_listed = is_listed
        self._stats = stats
        self._log = SeldomLog(logging.getLogger("sennit.transport"))
        # ROUTER, not REP: an exception in between must not leave it waiting for its own answer.
        self._socket = context.socket(zmq.ROUTER)
        self._socket.bind(ZAP_ENDPOINT)
        self._watch = SocketWatch(self._socket, self._take)

    def close(self) -> None:
        """Let go; handshakes that come later would hang, so close what listens first."""
        self._watch.close()
        self._socket.close(linger=0)

    def _take(self) -> bool:
        try:
            parts = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return False
        route, (version, request_id, _, address, _, mechanism, *credentials) = parts[:2], parts[2:]
        key = self._admitted_key(mechanism, credentials, address)
        verdict = [b"400", b"unknown key", b""] if key is None else [b"200", b"OK", key]
        self._socket.send_multipart([*route, version, request_id, *verdict, b""], zmq.NOBLOCK)
        return True

    def _admitted_key(
        self, mechanism: bytes, credentials: list[bytes], address: bytes
    ) -> bytes | None:
        # The listening socket speaks nothing but CURVE; this is the second lock on that door.
        if mechanism == b"CURVE" and [len(part) for part in credentials] == [_KEY_BYTES]:
            key = z85.encode(credentials[0])
            if self._is_listed(key):
                self._stats.handshakes_accepted += 1
                return key
            said = f"the key {key.decode()}, which is not listed"
        else:
            said = f"credentials for {mechanism!r}"
        self._stats.handshakes_refused += 1
        self._log.warn("refused", f"connection refused: {address.decode()} came with {said}")
        return None
