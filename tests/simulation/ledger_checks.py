"""What must hold of the ledgers of all nodes of a network when nothing is left to do in it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing

from sqlalchemy import Engine, Table

from ledger.hashing import SecureHash
from ledger.states import FungibleState, StateRef, owning_keys
from ledger.stores.coins import COINS, SPENT_COINS
from ledger.stores.identities import is_own_key
from ledger.stores.locks import FLOW_LOCKS, LOCKS
from ledger.stores.notary import CONSUMED as CONSUMED_AT_NOTARY
from ledger.stores.notary import GRANTS, REQUESTS
from ledger.stores.transactions import (
    SPENT,
    TRANSACTIONS,
    UNNOTARISED_TRANSACTIONS,
    UNVERIFIED,
    VERIFIED,
    TransactionRow,
)
from ledger.stores.vault import CONSUMED, all_rows
from ledger.transactions import SignedTransaction
from ledger.vault import Vault
from ledger.vault_index import Record, _custom, _participants, _record
from ledger.vault_sql import custom, participants, states
from runtime.codec import decode
from runtime.keys import PublicKey
from runtime.ports import Space
from runtime.testing.network import SimulatedNode

Transactions = dict[SecureHash, SignedTransaction]


def check_ledgers(nodes: Sequence[SimulatedNode], *, may_be_half_resolved: bool = False) -> None:
    """Raise AssertionError, naming all that does not hold.

    ``may_be_half_resolved``: a flow that is killed leaves what it has fetched of a history for the
    next that asks for it.
    """
    leftovers = (VERIFIED, UNVERIFIED) if may_be_half_resolved else (VERIFIED,)
    problems = [
        *(f"{node.name}: {problem}" for node in nodes for problem in _problems_of(node)),
        *(f"{node.name}: {problem}" for node in nodes for problem in _half_done(node, leftovers)),
        *_disagreements(nodes),
    ]
    assert not problems, "; ".join(problems)


def _problems_of(node: SimulatedNode) -> Iterator[str]:
    yield from _pending(node)
    yield from _vault_against_transactions(node)
    yield from _coins_against_vault(node)
    yield from index_against_vault(node)


# --- one node -----------------------------------------------------------------------------------


def _pending(node: SimulatedNode) -> Iterator[str]:
    """Nothing waits for a notary, and nothing is locked."""
    for space in (UNNOTARISED_TRANSACTIONS, LOCKS, FLOW_LOCKS):
        count = len(keys_of(node, space))
        if count:
            yield f"{count} rows are left in {space.name}"


def _half_done(node: SimulatedNode, leftovers: tuple[str, ...]) -> Iterator[str]:
    for key, body in node.host.scan(TRANSACTIONS, b"", None):
        status = decode(body, TransactionRow).status
        if status not in leftovers:
            yield f"transaction {SecureHash(key)} is left {status}"


def _vault_against_transactions(node: SimulatedNode) -> Iterator[str]:
    """A state is consumed by the transaction that consumes it, and by no other."""
    spent: dict[StateRef, SecureHash] = {}
    for signed in verified(node).values():
        for ref in signed.transaction.inputs:
            if ref in spent:
                yield f"{ref} is consumed by {spent[ref]} and by {signed.id}"
            spent[ref] = signed.id
    stored = {
        StateRef.from_key(key): SecureHash(body) for key, body in node.host.scan(SPENT, b"", None)
    }
    if stored != spent:
        yield f"{SPENT.name} differs from the inputs of the verified transactions"
    for ref, row in all_rows(node.host):
        consumer = row.consumer if row.status == CONSUMED else None
        if consumer != spent.get(ref):
            yield f"{ref} is consumed by {consumer} in the vault, in truth by {spent.get(ref)}"
    in_vault = {ref for ref, _ in all_rows(node.host)}
    for signed in verified(node).values():
        for index, state in enumerate(signed.transaction.outputs):
            ref = StateRef(signed.id, index)
            is_ours = any(owns(node, key) for key in owning_keys(state.data.participants))
            if is_ours and ref not in in_vault:
                yield f"{ref} is ours and is not in the vault"


def _coins_against_vault(node: SimulatedNode) -> Iterator[str]:
    """What can be spent is ours, unconsumed, not called spent; nothing is locked by now."""
    called_spent = keys_of(node, SPENT_COINS)
    expected = {
        ref.key
        for ref, row in all_rows(node.host)
        if row.is_owned and row.status != CONSUMED and isinstance(row.state.data, FungibleState)
    }.difference(called_spent)
    found = {key[-36:] for key in keys_of(node, COINS)}
    if found != expected:
        yield f"{len(found)} coins can be spent, it should be {len(expected)}"


def index_against_vault(node: SimulatedNode) -> Iterator[str]:
    """The index has what it would have if it were made anew."""
    index = node.host.service(Vault)._index
    index.catch_up()
    truths = list(index._all_truths())
    expected = {
        states: [_record(*truth) for truth in truths],
        participants: [each for ref, row, _ in truths for each in _participants(ref, row)],
        custom: [each for ref, row, _ in truths for each in _custom(ref, row)],
    }
    for table, records in expected.items():
        found = _dump(index._engine, table)
        wrong = found ^ {_line(record) for record in records}
        if wrong:
            yield f"{len(wrong)} rows of table {table.name} of the vault's index are wrong"
        if len(found) != len(records):
            yield f"table {table.name} has {len(found)} rows, it should have {len(records)}"


def _dump(engine: Engine, table: Table) -> set[str]:
    # Not by SQLAlchemy: it would compile the same statement anew for each node of each history.
    with closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        cursor.execute(f"SELECT * FROM {table.name}")
        columns = [description[0] for description in cursor.description or ()]
        return {_line(dict(zip(columns, row, strict=True))) for row in cursor.fetchall()}


def _line(record: Record) -> str:
    # True and 1 are the same to SQLite.
    values = {name: int(v) if isinstance(v, bool) else v for name, v in record.items()}
    return repr(sorted(values.items()))


# --- all of them --------------------------------------------------------------------------------


def _disagreements(nodes: Sequence[SimulatedNode]) -> Iterator[str]:
    known: dict[SecureHash, SignedTransaction] = {}
    for node in nodes:
        known.update(verified(node))
    yield from _spent_twice(known)
    for node in nodes:
        if node.host.notary_role is not None:
            yield from _notary_against_others(node, known)
    for signed in known.values():
        for node in nodes:
            if takes_part(node, signed) and signed.id not in verified(node):
                yield f"{node.name} takes part in {signed.id} and does not have it"


def _spent_twice(known: Transactions) -> Iterator[str]:
    spenders: dict[StateRef, set[SecureHash]] = defaultdict(set)
    for signed in known.values():
        for ref in signed.transaction.inputs:
            spenders[ref].add(signed.id)
    for ref, ids in spenders.items():
        if len(ids) > 1:
            yield f"{ref} is consumed by {len(ids)} transactions in the network"


def _notary_against_others(notary: SimulatedNode, known: Transactions) -> Iterator[str]:
    """What the notary has granted is what is final at those who take part, and nothing else."""
    asked = {
        signed.id: signed
        for signed in known.values()
        if signed.transaction.notary == notary.party and signed.transaction.needs_notary
    }
    granted = {SecureHash(key) for key in keys_of(notary, GRANTS)}
    if set(asked) - granted:
        yield f"{len(set(asked) - granted)} final transactions were never granted"
    if granted - set(asked):
        yield f"{len(granted - set(asked))} granted transactions are final nowhere"
    if granted != {SecureHash(key) for key in keys_of(notary, REQUESTS)}:
        yield f"{REQUESTS.name} differs from {GRANTS.name}"
    consumed = dict(notary.host.scan(CONSUMED_AT_NOTARY, b"", None))
    expected = {
        ref.key: SecureHash.of(signed.id.digest).digest
        for signed in asked.values()
        for ref in signed.transaction.inputs
    }
    if consumed != expected:
        yield f"{len(consumed)} states are consumed at the notary, {len(expected)} at the others"


# --- asking -------------------------------------------------------------------------------------


def keys_of(node: SimulatedNode, space: Space) -> list[bytes]:
    return [key for key, _ in node.host.scan(space, b"", None)]


def verified(node: SimulatedNode) -> Transactions:
    rows = (decode(body, TransactionRow) for _, body in node.host.scan(TRANSACTIONS, b"", None))
    return {row.signed.id: row.signed for row in rows if row.status == VERIFIED}


def owns(node: SimulatedNode, key: PublicKey) -> bool:
    return key == node.party.key or is_own_key(node.host, key)


def takes_part(node: SimulatedNode, signed: SignedTransaction) -> bool:
    """Tell whether an output of the transaction has this node among its participants."""
    return any(
        owns(node, key)
        for state in signed.transaction.outputs
        for key in owning_keys(state.data.participants)
    )
