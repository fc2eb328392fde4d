"""Flows of the tests that exchange identities, by the rules and against them."""

from ledger.flows.identities import (
    IdentitiesShown,
    receive_identities,
    send_identities,
    swap_identities,
)
from ledger.flows.keys import fresh_identity, known_owners, register_identity
from ledger.flows.storing import stored_transaction
from ledger.identity import OneTimeIdentity
from ledger.states import changed
from ledger.stores.identities import identity_of
from ledger.transactions import SignedTransaction
from ledger.vault import Vault, find_states
from runtime import Party, Session, flow, initiate, responder, service, step
from runtime.host import Host
from runtime.keys import PublicKey
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


@flow(name="tests.show_to")
def show_to(peer: Party, signed: SignedTransaction) -> list[PublicKey]:
    """Show identities and return which keys the peer has seen."""
    session = initiate(peer)
    send_identities(session, signed.transaction)
    return session.receive(list[PublicKey]).unwrap(lambda keys: keys)


@responder(show_to)
def look(session: Session) -> None:
    """Tell which identities came."""
    shown = session.receive(IdentitiesShown).unwrap(lambda told: told)
    session.send([identity.key for identity in shown.identities])


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
        shown = _identity_of_another()
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
    """Show identities that are somebody else's, or too many."""
    way = session.receive(str).unwrap(lambda told: told)
    ours = fresh_identity()
    shown = {
        "twice": (ours, ours),
        "too many": (ours, fresh_identity()),
        "somebody elses": (_identity_of_another(),),
    }
    session.send(IdentitiesShown(shown[way]))


@flow(name="tests.carry_to")
def carry_to(peer: Party, key: PublicKey) -> None:
    """Show a peer whose a key is, which need not be ours."""
    initiate(peer).send(_known_identity(key))


@responder(carry_to)
def learn(session: Session) -> None:
    """Remember whose key it is, whoever shows it."""
    session.receive(OneTimeIdentity).unwrap(register_identity)


@step(kind="pure")
def _known_identity(key: PublicKey) -> OneTimeIdentity:
    identity = identity_of(service(Host), key)
    assert identity is not None
    return identity


@step(kind="pure")
def _identity_of_another() -> OneTimeIdentity:
    host = service(Host)
    (deal,) = host.service(Vault).states(Deal)
    found = [identity_of(host, party.key) for party in deal.data.parties]
    return next(each for each in found if each is not None and each.owner != host.me)
