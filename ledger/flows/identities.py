"""Exchange one-time identities with a peer: fresh ones of both, or those in a transaction.

swap                both sides send the proof of a fresh key, and verify the other's
sync   sender       IdentitiesOffered(keys)          ─────>   receiver
                                                     <─────   IdentitiesWanted(keys)
                    IdentitiesShown(proofs)          ─────>
"""

from dataclasses import dataclass
from typing import Final

from ledger.errors import IdentityUnproven
from ledger.flows.keys import fresh_identity, identities_of, register_identity
from ledger.flows.storing import states_of
from ledger.identity import OneTimeIdentity
from ledger.transactions import WireTransaction
from runtime.codec import message
from runtime.keys import PublicKey
from runtime.party import AnonymousParty
from runtime.session import Session

KEYS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class SwappedIdentities:
    """One fresh one-time identity of each side, known to the two of them only."""

    ours: AnonymousParty
    theirs: AnonymousParty


@message(name="ledger.IdentitiesOffered")
class IdentitiesOffered:
    """Keys in a transaction whose owners I can prove."""

    keys: tuple[PublicKey, ...]


@message(name="ledger.IdentitiesWanted")
class IdentitiesWanted:
    """Those of them whose owners I don't know."""

    keys: tuple[PublicKey, ...]


@message(name="ledger.IdentitiesShown")
class IdentitiesShown:
    """The proofs of what was wanted."""

    identities: tuple[OneTimeIdentity, ...]


def swap_identities(session: Session) -> SwappedIdentities:
    """Exchange fresh one-time identities; both sides call it at the same point."""
    ours = fresh_identity()
    theirs = session.exchange(ours, OneTimeIdentity).unwrap(
        lambda shown: register_identity(shown, expected=session.counterparty)
    )
    return SwappedIdentities(ours.anonymous, theirs)


def send_identities(session: Session, transaction: WireTransaction) -> None:
    """Show the peer whose the one-time keys in ``transaction`` are, if we know and it does not."""
    keys = tuple(
        dict.fromkeys(
            party.key
            for state in states_of(transaction)
            for party in state.participants
            if isinstance(party, AnonymousParty)
        )
    )
    known = {identity.key: identity for identity in identities_of(keys)}

    def chosen(wanted: IdentitiesWanted) -> IdentitiesShown:
        if not known.keys() >= set(wanted.keys):
            raise IdentityUnproven("the peer wants identities that were not offered")
        return IdentitiesShown(tuple(known[key] for key in dict.fromkeys(wanted.keys)))

    offered = IdentitiesOffered(tuple(known))
    session.send(session.exchange(offered, IdentitiesWanted).unwrap(chosen))


def receive_identities(session: Session) -> None:
    """Learn whose the one-time keys in the peer's transaction are."""
    offered = session.receive(IdentitiesOffered).unwrap(_bounded)
    known = {identity.key for identity in identities_of(offered.keys)}
    wanted = IdentitiesWanted(tuple(key for key in offered.keys if key not in known))

    def check(shown: IdentitiesShown) -> None:
        if tuple(identity.key for identity in shown.identities) != wanted.keys:
            raise IdentityUnproven("the peer did not show the identities that were asked for")
        for identity in shown.identities:
            register_identity(identity)

    session.exchange(wanted, IdentitiesShown).unwrap(check)


def _bounded(offered: IdentitiesOffered) -> IdentitiesOffered:
    if len(offered.keys) > KEYS_MAX or len(set(offered.keys)) != len(offered.keys):
        raise IdentityUnproven(f"a transaction has {KEYS_MAX} one-time keys at most, each once")
    return offered
