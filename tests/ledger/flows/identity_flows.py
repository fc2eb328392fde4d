"""Flows of the tests that exchange identities, by the rules and against them."""

from ledger.flows.identities import (
    IdentitiesOffered,
    IdentitiesShown,
    IdentitiesWanted,
    receive_identities,
    send_identities,
    swap_identities,
)
from ledger.flows.keys import fresh_identity, identities_of, known_owners
from ledger.flows.storing import stored_transaction
from ledger.identity import OneTimeIdentity
from ledger.states import changed
from ledger.transactions import SignedTransaction
from ledger.vault import find_states
from runtime import Party, Session, flow, initiate, me, responder
from runtime.keys import PrivateKey, PublicKey
from runtime.party import AnonymousParty
from tests.ledger.parties import Deal


@flow(name="tests.make_keys")
def make_keys(count: int) -> list[PublicKey]:
    """Make one-time keys."""
    return [fresh_identity().key for _ in range(count)]


@flow(name="tests.last_deal")
def last_deal() -> SignedTransaction:
    """Return the transaction that made the only deal."""
    (deal,) = find_states(Deal)
    return stored_transaction(deal.ref.txhash)


@flow(name="tests.look_up")
def look_up(party: AnonymousParty) -> list[Party]:
    """Return who is behind a party."""
    return known_owners([party])


@flow(name="tests.offer_to")
def offer_to(peer: Party, signed: SignedTransaction) -> int:
    """Send identities and return how many the peer wanted to see."""
    session = initiate(peer)
    send_identities(session, signed.transaction)
    return session.receive(int).unwrap(lambda count: count)


@responder(offer_to)
def learn(session: Session) -> None:
    """Receive identities by hand, to count them."""
    offered = session.receive(IdentitiesOffered).unwrap(lambda shown: shown)
    known = {identity.key for identity in identities_of(offered.keys)}
    wanted = tuple(key for key in offered.keys if key not in known)
    session.exchange(IdentitiesWanted(wanted), IdentitiesShown).unwrap(lambda shown: shown)
    session.send(len(wanted))


@flow(name="tests.offer_to_curious")
def offer_to_curious(peer: Party, signed: SignedTransaction) -> None:
    """Send identities to somebody who wants more."""
    send_identities(initiate(peer), signed.transaction)


@responder(offer_to_curious)
def be_curious(session: Session) -> None:
    """Ask for what was not offered."""
    session.receive(IdentitiesOffered).unwrap(lambda shown: shown)
    session.exchange(IdentitiesWanted((me().key,)), IdentitiesShown).unwrap(lambda shown: shown)


@flow(name="tests.swap_with_cheat")
def swap_with_cheat(peer: Party, way: str) -> None:
    """Swap identities with somebody who cheats."""
    session = initiate(peer)
    session.send(way)
    swap_identities(session)


@responder(swap_with_cheat)
def cheat(session: Session) -> None:
    """Show an identity that is not ours, or that nobody holds."""
    way = session.receive(str).unwrap(lambda told: told)
    if way == "somebody elses":
        (deal,) = find_states(Deal)
        keys = tuple(party.key for party in deal.data.parties)
        shown = next(known for known in identities_of(keys) if known.owner != me())
    else:
        shown = changed(fresh_identity(), signature=bytes(64))
    session.exchange(shown, OneTimeIdentity).unwrap(lambda theirs: theirs)


@flow(name="tests.sync_from_cheat")
def sync_from_cheat(peer: Party, way: str) -> None:
    """Learn identities from somebody who cheats."""
    session = initiate(peer)
    session.send(way)
    receive_identities(session)


@responder(sync_from_cheat)
def mis_sync(session: Session) -> None:
    """Offer or show the wrong identities."""
    way = session.receive(str).unwrap(lambda told: told)
    stranger = PrivateKey.from_seed(b"8" * 32).public
    keys = (stranger, stranger) if way == "twice" else (stranger,)
    session.exchange(IdentitiesOffered(keys), IdentitiesWanted).unwrap(lambda wanted: wanted)
    session.send(IdentitiesShown((fresh_identity(),)))
