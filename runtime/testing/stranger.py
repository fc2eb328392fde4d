"""A node that is admitted to the network and repeats and forges messages of others' sessions."""

from collections import deque
from random import Random
from typing import Final

from runtime.core import envelopes
from runtime.core.envelopes import Accept, Ack, AnyEnvelope, Data, End, Error, Gone, Open, Refuse
from runtime.ids import ErrorId, PeerName, SessionId
from runtime.testing.memory_transport import Link
from runtime.testing.network import SimulatedNetwork

STRANGER: Final = PeerName("O=Mallory,L=Nowhere,C=XX")


class Stranger:
    """Knows session ids that it can't know in truth; its messages must have no effect all the same.

    It never sends an open message: everybody in the network may open sessions.
    """

    def __init__(self, network: SimulatedNetwork, random: Random) -> None:
        self.name = STRANGER
        self._random = random
        self._transport = network.links.transport(STRANGER)
        self._transport.start(self)
        self._overheard: deque[tuple[Link, bytes]] = deque(maxlen=200)

    def overhear(self, link: Link, frame: list[bytes]) -> None:
        """Take a copy of what others say."""
        self._overheard.extend((link, encoded) for encoded in frame)

    def strike(self) -> None:
        """Send something to a node that has nothing to do with us."""
        if self._overheard:
            link, encoded = self._random.choice(self._overheard)
            sent = [encoded] if self._random.random() < 0.3 else self._forged(link, encoded)
            if not isinstance(envelopes.decode(encoded), Open) or sent != [encoded]:
                self._transport.send(link.target, sent)

    def frame_arrived(self, peer: PeerName, encoded: list[bytes]) -> None:
        """Hear, and keep quiet."""

    def peer_reachable(self, peer: PeerName) -> None:
        """Take no interest."""

    def _forged(self, link: Link, encoded: bytes) -> list[bytes]:
        envelope = envelopes.decode(encoded)
        if isinstance(envelope, Open):
            return [self._random.randbytes(self._random.randrange(20))]
        own = SessionId(self._random.randbytes(16))
        number = self._random.randrange(6)
        forged: AnyEnvelope = self._random.choice(
            (
                Ack(envelope.to, number),
                Accept(envelope.to, own, 1, "forged", ""),
                Refuse(envelope.to, own, "forged", ErrorId("")),
                Data(envelope.to, number, "int", b"\x07"),
                Error(envelope.to, number, None, ErrorId("")),
                End(envelope.to, number),
                Gone(envelope.to, getattr(envelope, "sid", own), ErrorId("")),
                Gone(SessionId(b""), envelope.to, ErrorId("")),
            )
        )
        return [envelopes.encode(forged)]
