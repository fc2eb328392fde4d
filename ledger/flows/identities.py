"""Exchange one-time identities with a peer: fresh ones of both, or ours in a transaction.

swap       both sides send the proof of a fresh key, and verify the other's
show       IdentitiesShown(proofs)          ─────>   verified, and remembered

Nobody shows identities of others: whose they are is theirs to tell. Nor does anybody ask for those
that it lacks, as that would tell which it has.
"""

from dataclasses import dataclass
from typing import Final

from ledger.errors import IdentityUnproven
from ledger.flows.keys import fresh_identity, own_identities_of, register_identity
from ledger.flows.storing import states_of
from ledger.identity import OneTimeIdentity
from ledger.transactions import WireTransaction
from runtime.codec import message
from runtime.party import AnonymousParty, Party
from runtime.session import Session

# A certificate chain each; more don't fit a message.
KEYS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class SwappedIdentities:
    """One fresh one-time identity of each side, known to the two of them only."""

    ours: AnonymousParty
    theirs: AnonymousParty


@message(name="ledger.IdentitiesShown")
class IdentitiesShown:
    """One-time identities of mine that are in a transaction."""

    identities: tuple[OneTimeIdentity, ...]


def swap_identities(session: Session) -> SwappedIdentities:
    """Exchange fresh one-time identities; both sides call it at the same point."""
    ours = fresh_identity()
    theirs = session.exchange(ours, OneTimeIdentity).unwrap(
        lambda shown: register_identity(shown, expected=session.counterparty)
    )
    return SwappedIdentities(ours.anonymous, theirs)


def send_identities(session: Session, transaction: WireTransaction) -> None:
    """Show the peer which one-time keys in ``transaction`` are ours."""
    states = states_of(transaction)
    keys = (party.key for s in states for party in s.participants if not isinstance(party, Party))
    session.send(IdentitiesShown(tuple(own_identities_of(tuple(dict.fromkeys(keys))))))


def receive_identities(session: Session) -> None:
    """Learn which one-time keys in its transaction are the peer's; raises `IdentityUnproven`."""
    shown = session.receive(IdentitiesShown).unwrap(_bounded)
    for identity in shown.identities:
        register_identity(identity, expected=session.counterparty)


def _bounded(shown: IdentitiesShown) -> IdentitiesShown:
    keys = {identity.key for identity in shown.identities}
    if len(shown.identities) > KEYS_MAX or len(keys) != len(shown.identities):
        raise IdentityUnproven(f"a transaction has {KEYS_MAX} one-time keys at most, each once")
    return shown
