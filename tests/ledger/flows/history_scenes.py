"""Transactions with histories that no flow has made, and where they are known."""

from itertools import count

from ledger.builder import TransactionBuilder
from ledger.hashing import SecureHash
from ledger.signatures import notarise_many
from ledger.states import ContractState, StateAndRef
from ledger.stores.transactions import (
    VERIFIED,
    add_unnotarised,
    add_unverified,
    add_verified,
)
from ledger.transactions import SignedTransaction
from runtime import Party, StoreTxn, atomic
from runtime.testing.network import SimulatedNode
from tests.ledger.flows import histories
from tests.ledger.flows.net import Net, row
from tests.ledger.parties import Do, Thing

_salts = count()


def made(
    net: Net,
    *inputs: StateAndRef[ContractState],
    name: str = "thing",
    outputs: int = 1,
    attachments: tuple[SecureHash, ...] = (),
    notarised: bool = True,
) -> SignedTransaction:
    """Return a transaction of Alice, with every signature, that no flow has made."""
    alice, notary = net.alice, net.notary
    builder = TransactionBuilder(notary.party)
    builder.add_input(*inputs)
    for _ in range(outputs):
        builder.add_output(Thing(owner=alice.party, name=name))
    builder.add_attachment(*attachments)
    builder.add_command(Do(), alice.party.key)
    salt = next(_salts).to_bytes(32, "big")
    signed = builder.sign(salt, [alice.party.key], alice.signer.sign)
    if inputs and notarised:
        grant = notarise_many([signed.id], notary.party.key, notary.signer.sign)
        signed = signed.with_signatures(*grant)
    return signed


def output(signed: SignedTransaction, index: int = 0) -> StateAndRef[ContractState]:
    return signed.transaction.output_ref(index)


@atomic
def keep_verified(txn: StoreTxn, transactions: list[SignedTransaction]) -> None:
    for signed in transactions:
        add_verified(txn, signed)


@atomic
def keep_unverified(txn: StoreTxn, transactions: list[SignedTransaction]) -> None:
    for signed in transactions:
        add_unverified(txn, signed)


@atomic
def keep_unnotarised(txn: StoreTxn, signed: SignedTransaction, initiator: Party) -> None:
    add_unnotarised(txn, signed, initiator=initiator, now_ms=0)


def give(node: SimulatedNode, *transactions: SignedTransaction) -> None:
    for start in range(0, len(transactions), 100):
        node.host.run_atomic(keep_verified, list(transactions[start : start + 100]))


def chain(net: Net, length: int) -> list[SignedTransaction]:
    """Return a chain whose members Alice has verified."""
    links = [made(net)]
    for _ in range(length - 1):
        links.append(made(net, output(links[-1])))
    give(net.alice, *links)
    return links


def send(net: Net, signed: SignedTransaction, to: SimulatedNode | None = None) -> None:
    receiver = to or net.bob
    net.alice.start_flow(histories.send, signed, receiver.party).result()
    net.network.run()


def is_verified(node: SimulatedNode, signed: SignedTransaction) -> bool:
    stored = row(node, signed.id)
    return stored is not None and stored.status == VERIFIED
