"""What a receiver of history does with its own store, and the order in which it verifies.

Every function that touches the store is atomic and small, so that other flows have their turn.
"""

from collections.abc import Mapping
from typing import Final

from ledger.errors import AttachmentInvalid, ResolutionFailed
from ledger.hashing import SecureHash
from ledger.stores.attachments import add_attachment, has_attachment
from ledger.stores.checking import check_notary, resolve
from ledger.stores.recording import StatesToRecord, record
from ledger.stores.transactions import UNVERIFIED, VERIFIED, add_unverified, transaction_row
from ledger.transactions import SignedTransaction
from ledger.vault import announce
from ledger.verification import verify
from runtime.atomic import StoreTxn, atomic
from runtime.codec import message
from runtime.limits import MIB

# Transactions of one atomic function: some milliseconds of checking signatures or contracts.
CHUNK: Final = 16

# Of one walk. What strangers have left unverified in the store may be long.
WALKED_MAX: Final = 256
WALKED_BYTES_MAX: Final = MIB


@message(name="ledger.Node")
class Node:
    """A transaction of a history, by what it leads to."""

    id: SecureHash
    dependencies: tuple[SecureHash, ...]
    attachments: tuple[SecureHash, ...]

    @classmethod
    def of(cls, signed: SignedTransaction) -> "Node":
        """Return what a transaction leads to."""
        wire = signed.transaction
        return cls(wire.id, tuple(sorted(wire.dependencies)), wire.attachments)


@message(name="ledger.Walked")
class Walked:
    """What a walk through the store has met: unverified transactions, and ids it lacks.

    ``rest`` is where it has to go on.
    """

    unverified: tuple[Node, ...]
    missing: tuple[SecureHash, ...]
    rest: tuple[SecureHash, ...] = ()


@atomic
def walk(txn: StoreTxn, starts: tuple[SecureHash, ...]) -> Walked:
    """Follow ``starts`` through what is stored unverified; what is verified needs no look.

    Ends early, with a rest, once it has looked at enough for one atomic function.
    """
    seen = set(starts)
    queue = list(starts)
    unverified: list[Node] = []
    missing: list[SecureHash] = []
    size = 0
    for looked_at, tx_id in enumerate(queue):
        if looked_at == WALKED_MAX or size > WALKED_BYTES_MAX:
            return Walked(tuple(unverified), tuple(missing), tuple(queue[looked_at:]))
        row = transaction_row(txn, tx_id)
        if row is not None and row.status == UNVERIFIED:
            node = Node.of(row.signed)
            unverified.append(node)
            size += len(row.signed.wire)
            new = [each for each in node.dependencies if each not in seen]
            seen.update(new)
            queue.extend(new)
        elif row is None or row.status != VERIFIED:
            missing.append(tx_id)
    return Walked(tuple(unverified), tuple(missing))


@atomic
def keep_transactions(txn: StoreTxn, transactions: tuple[SignedTransaction, ...]) -> None:
    """Keep transactions of a history, all of whose signatures must be there and right."""
    notaries = txn.host.directory.notaries()
    for signed in transactions:
        check_notary(signed.transaction, notaries)
        signed.verify_signatures()
        add_unverified(txn, signed)


@atomic
def verify_history(txn: StoreTxn, ids: tuple[SecureHash, ...]) -> None:
    """Verify stored transactions, what they refer to before them, and keep them as verified."""
    host = txn.host
    for tx_id in ids:
        row = transaction_row(txn, tx_id)
        if row is None:
            raise ResolutionFailed(f"transaction {tx_id} has disappeared from the store")
        if row.status == VERIFIED:
            continue
        if row.signed.missing_keys:
            raise ResolutionFailed(f"transaction {tx_id} lacks signatures")
        # Its signatures were checked when it was kept, and take longer than all the rest.
        verify(resolve(txn, row.signed.transaction))
        record(
            txn,
            row.signed,
            identity=host.me.key,
            now_ms=host.clock.now_ms(),
            states=StatesToRecord.NONE,
        )
    announce(txn)


@atomic
def missing_attachments(txn: StoreTxn, names: tuple[SecureHash, ...]) -> list[SecureHash]:
    """Return those of ``names`` that are not in the store."""
    return [name for name in dict.fromkeys(names) if not has_attachment(txn, name)]


@atomic
def keep_attachments(
    txn: StoreTxn, names: tuple[SecureHash, ...], contents: tuple[bytes, ...]
) -> None:
    """Keep attachments that must have these names."""
    for name, content in zip(names, contents, strict=True):
        if add_attachment(txn, content) != name:
            raise AttachmentInvalid(f"the peer sent other bytes for attachment {name}")


def in_order(nodes: Mapping[SecureHash, Node]) -> list[SecureHash]:
    """Return the ids so that each comes after all that it depends on. Does not recurse."""
    waits_for = {
        node.id: [each for each in node.dependencies if each in nodes] for node in nodes.values()
    }
    leads_to: dict[SecureHash, list[SecureHash]] = {}
    for tx_id, dependencies in waits_for.items():
        for dependency in dependencies:
            leads_to.setdefault(dependency, []).append(tx_id)
    open_count = {tx_id: len(dependencies) for tx_id, dependencies in waits_for.items()}
    order = [tx_id for tx_id, count in open_count.items() if count == 0]
    for tx_id in order:
        for later in leads_to.get(tx_id, ()):
            open_count[later] -= 1
            if open_count[later] == 0:
                order.append(later)
    # A transaction's id depends on the ids in it, so there can be no cycle.
    assert len(order) == len(nodes)
    return order
