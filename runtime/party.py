"""Parties: who stands behind a key. Both kinds are messages, and their names are checked."""

from runtime.codec import message
from runtime.errors import NameInvalid
from runtime.ids import PeerName
from runtime.keys import PublicKey
from runtime.names import peer_name


@message
class Party:
    """A well-known legal identity: a canonical X.500 name and its identity key.

    The two belong together only if a certificate says so; the network directory hands out parties
    for which that was checked.
    """

    name: PeerName
    key: PublicKey

    def __post_init__(self) -> None:
        canonical = peer_name(self.name)
        if canonical != self.name:
            raise NameInvalid("name", f"{self.name!r} is not canonical", f"Use {canonical!r}")

    def __str__(self) -> str:
        return self.name


@message
class AnonymousParty:
    """An identity that shows nothing but a key; who stands behind it is told to few."""

    key: PublicKey

    def __str__(self) -> str:
        return f"anonymous {self.key.fingerprint()}"


AbstractParty = Party | AnonymousParty
