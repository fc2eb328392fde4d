"""Send and receive transactions and states, with the history that stands behind them.

    vendor                                   receiver
    Offer(transactions, states)       ─────>
                                      <─────  FetchTransactions(ids, ancestors)
    TransactionBatch                  ─────>
                                      <─────  FetchAttachments(ids)
    AttachmentBatch                   ─────>
                                      <─────  HistoryDone

The vendor serves only what can be reached from what it offered, each item once, as much at a time
as fits a batch. With what was asked for it sends up to ``ancestors`` more of what stands behind,
so that a long history comes in few rounds. The receiver walks breadth first, never recursing,
keeps what arrives as unverified once all its signatures are right, and verifies in topological
order. Each piece is durable before the next is asked for, so a crash continues where it was.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from ledger.errors import HistoryTooLarge, NotOffered, ResolutionFailed
from ledger.flows.history import (
    CHUNK,
    WALKED_MAX,
    Node,
    in_order,
    keep_attachments,
    keep_transactions,
    missing_attachments,
    verify_history,
    walk,
)
from ledger.flows.storing import attachment_content, stored_states, stored_transaction
from ledger.hashing import SecureHash
from ledger.states import ContractState, StateAndRef
from ledger.transactions import SignedTransaction
from runtime.codec import message
from runtime.context import durable
from runtime.limits import MIB
from runtime.session import Session

# Of one answer; a single item may be larger.
BATCH_BYTES_TARGET: Final = MIB

# Of one request. Rounds double up to it.
ANCESTORS_MAX: Final = 1_024

IDS_PER_REQUEST_MAX: Final = 1_024

# Transactions that a vendor looks into at a time, in search of what was asked for.
OPENED_MAX: Final = 256

# More than this and somebody is trying to fill our disk.
HISTORY_TRANSACTIONS_MAX: Final = 1_000_000


@message(name="ledger.Offer")
class Offer:
    """What the vendor has for the receiver; it answers for their histories too."""

    transactions: tuple[SignedTransaction, ...] = ()
    states: tuple[StateAndRef[ContractState], ...] = ()


@message(name="ledger.HistoryRequest")
class HistoryRequest:
    """What a receiver asks of a vendor."""


@message(name="ledger.FetchTransactions")
class FetchTransactions(HistoryRequest):
    """Send these, in this order, and up to ``ancestors`` more of what they refer to."""

    ids: tuple[SecureHash, ...]
    ancestors: int


@message(name="ledger.FetchAttachments")
class FetchAttachments(HistoryRequest):
    """Send these, in this order."""

    ids: tuple[SecureHash, ...]


@message(name="ledger.HistoryDone")
class HistoryDone(HistoryRequest):
    """I have all I need."""


@message(name="ledger.TransactionBatch")
class TransactionBatch:
    """What was asked for first, as far as it fits, then ancestors. Never empty."""

    transactions: tuple[SignedTransaction, ...]


@message(name="ledger.AttachmentBatch")
class AttachmentBatch:
    """The contents of the first attachments that were asked for, as far as they fit."""

    contents: tuple[bytes, ...]


# --- the vendor -------------------------------------------------------------------------------


def send_transaction(session: Session, signed: SignedTransaction) -> None:
    """Offer a transaction and serve its history until the peer has all it needs."""
    session.send(Offer(transactions=(signed,)))
    serve_history(session, [signed])


def send_states(session: Session, states: Sequence[StateAndRef[ContractState]]) -> None:
    """Offer states and serve the history of the transactions that made them."""
    session.send(Offer(states=tuple(states)))
    serve_history(session, [], frozenset(state.ref.txhash for state in states))


def serve_history(
    session: Session,
    offered: Sequence[SignedTransaction],
    ids: frozenset[SecureHash] = frozenset(),
) -> None:
    """Answer requests for what stands behind ``offered`` and for ``ids``, until `HistoryDone`."""
    vendor = _Vendor(offered, ids)
    while True:
        request = session.receive(HistoryRequest).unwrap(lambda asked: asked)
        match request:
            case FetchTransactions(ids=wanted, ancestors=ancestors):
                session.send(vendor.transactions(wanted, min(ancestors, ANCESTORS_MAX)))
            case FetchAttachments(ids=wanted):
                session.send(vendor.attachments(wanted))
            case _:
                return


class _Vendor:
    """Knows what may still be served; each item goes once.

    What can be reached is found out as far as it is asked for: a receiver that knows a part of the
    history asks for what is behind that part.
    """

    def __init__(self, offered: Sequence[SignedTransaction], ids: frozenset[SecureHash]) -> None:
        self._transactions = set(ids)
        self._attachments: set[SecureHash] = set()
        self._served: set[SecureHash] = set()
        self._unopened = deque(sorted(ids))
        self._reached = set(ids)
        for signed in offered:
            self._open(signed)

    def transactions(self, wanted: Sequence[SecureHash], ancestors: int) -> TransactionBatch:
        """Return the next batch of an answer to ``wanted``."""
        self._check_number(wanted)
        for tx_id in wanted:
            self._check_reachable(tx_id, self._transactions)
        queue = deque(wanted)
        batch: list[SignedTransaction] = []
        size = 0
        while queue:
            tx_id = queue.popleft()
            if tx_id not in self._transactions:
                continue
            signed = stored_transaction(tx_id)
            size += _size(signed)
            if batch and size > BATCH_BYTES_TARGET:
                break
            batch.append(signed)
            self._serve(tx_id, self._transactions)
            self._open(signed)
            if len(batch) + len(queue) < len(wanted) + ancestors:
                queue.extend(sorted(signed.transaction.dependencies))
        return TransactionBatch(tuple(batch))

    def attachments(self, wanted: Sequence[SecureHash]) -> AttachmentBatch:
        """Return the next batch of an answer to ``wanted``."""
        self._check_number(wanted)
        for name in wanted:
            self._check_reachable(name, self._attachments)
        batch: list[bytes] = []
        size = 0
        for name in wanted:
            content = attachment_content(name)
            size += len(content)
            if batch and size > BATCH_BYTES_TARGET:
                break
            batch.append(content)
            self._serve(name, self._attachments)
        return AttachmentBatch(tuple(batch))

    def _open(self, signed: SignedTransaction) -> None:
        """Let be served what a reachable transaction refers to."""
        wire = signed.transaction
        new = wire.dependencies - self._reached
        self._reached |= new
        self._transactions |= new
        self._unopened.extend(sorted(new))
        self._attachments.update(frozenset(wire.attachments) - self._served)

    def _serve(self, name: SecureHash, allowed: set[SecureHash]) -> None:
        allowed.discard(name)
        self._served.add(name)

    def _check_number(self, wanted: Sequence[SecureHash]) -> None:
        if not 1 <= len(wanted) <= IDS_PER_REQUEST_MAX or len(set(wanted)) != len(wanted):
            raise NotOffered(f"one request asks for 1 to {IDS_PER_REQUEST_MAX} items, each once")

    def _check_reachable(self, name: SecureHash, allowed: set[SecureHash]) -> None:
        opened = 0
        while name not in allowed and name not in self._served and self._unopened:
            self._open(stored_transaction(self._unopened.popleft()))
            opened += 1
            if opened % OPENED_MAX == 0:
                # A peer may ask for what is nowhere, and our history be long: others have a turn.
                durable()
        if name not in allowed:
            raise NotOffered(
                f"{name} can't be reached from what was offered, or was served already"
            )


def _size(signed: SignedTransaction) -> int:
    # A signature with its key and proof takes a few hundred bytes.
    return len(signed.wire) + 512 * len(signed.signatures)


# --- the receiver -----------------------------------------------------------------------------


def receive_transaction(session: Session) -> SignedTransaction:
    """Receive a transaction that the peer sends with `send_transaction`, and resolve its history.

    All that it refers to is verified and kept; the transaction itself is neither. The caller does
    that with `verify_transaction`, knowing which signatures may be missing.
    """
    offer = session.receive(Offer).unwrap(_one_transaction)
    signed = offer.transactions[0]
    resolve_history(session, [signed])
    return signed


def receive_states(session: Session) -> list[StateAndRef[ContractState]]:
    """Receive states that the peer sends with `send_states`; their history is verified and kept.

    Returned is what the verified transactions say, not what the peer does.
    """
    offer = session.receive(Offer).unwrap(_states_only)
    ids = tuple(sorted({state.ref.txhash for state in offer.states}))
    resolve_history(session, [], ids)
    refs = [state.ref for state in offer.states]
    return [StateAndRef(*each) for each in zip(stored_states(refs), refs, strict=True)]


def resolve_history(
    session: Session,
    offered: Sequence[SignedTransaction],
    ids: Sequence[SecureHash] = (),
) -> None:
    """Fetch, verify and keep ``ids`` and all that stands behind them and behind ``offered``."""
    nodes: dict[SecureHash, Node] = {}
    starts = dict.fromkeys([*ids, *(d for signed in offered for d in Node.of(signed).dependencies)])
    _fetch_transactions(session, tuple(starts), nodes)
    attachments = dict.fromkeys(
        name for node in (*nodes.values(), *map(Node.of, offered)) for name in node.attachments
    )
    _fetch_attachments(session, tuple(attachments))
    session.send(HistoryDone())
    order = in_order(nodes)
    for start in range(0, len(order), CHUNK):
        verify_history(tuple(order[start : start + CHUNK]))
        durable()


def _fetch_transactions(
    session: Session, starts: tuple[SecureHash, ...], nodes: dict[SecureHash, Node]
) -> None:
    """Fetch what is behind ``starts``; put all that is to be verified into ``nodes``."""
    wanted = _look(starts, nodes)
    ancestors = 0
    while wanted:
        asked = tuple(wanted)[:IDS_PER_REQUEST_MAX]
        request = FetchTransactions(asked, ancestors)
        batch = session.exchange(request, TransactionBatch).unwrap(lambda answer: answer)
        arrived = _checked(batch, asked)
        if len(nodes) + len(arrived) > HISTORY_TRANSACTIONS_MAX:
            raise HistoryTooLarge(f"the history has over {HISTORY_TRANSACTIONS_MAX} transactions")
        _keep(batch.transactions)
        nodes.update(arrived)
        for tx_id in arrived:
            wanted.pop(tx_id, None)
        wanted.update(_look(_behind(arrived, nodes), nodes))
        ancestors = min(2 * ancestors + 1, ANCESTORS_MAX)


def _look(starts: tuple[SecureHash, ...], nodes: dict[SecureHash, Node]) -> dict[SecureHash, None]:
    """Return what is missing behind ``starts``; what is here unverified goes into ``nodes``."""
    ahead, queued = deque(starts), set(starts)
    missing: dict[SecureHash, None] = {}
    while ahead:
        batch = tuple(ahead.popleft() for _ in range(min(len(ahead), WALKED_MAX)))
        queued.difference_update(batch)
        walked = walk(batch)
        nodes.update({node.id: node for node in walked.unverified})
        missing.update(dict.fromkeys(walked.missing))
        new = [i for i in walked.rest if i not in queued and i not in nodes and i not in missing]
        ahead.extend(new)
        queued.update(new)
        if ahead:
            durable()
    return {tx_id: None for tx_id in missing if tx_id not in nodes}


def _behind(
    arrived: dict[SecureHash, Node], nodes: dict[SecureHash, Node]
) -> tuple[SecureHash, ...]:
    found = dict.fromkeys(
        dependency for node in arrived.values() for dependency in node.dependencies
    )
    return tuple(dependency for dependency in found if dependency not in nodes)


def _checked(batch: TransactionBatch, asked: tuple[SecureHash, ...]) -> dict[SecureHash, Node]:
    """Return what arrived, if it is what was asked for or stands behind it."""
    reachable = set(asked)
    arrived: dict[SecureHash, Node] = {}
    for signed in batch.transactions:
        node = Node.of(signed)
        if node.id not in reachable or node.id in arrived:
            raise ResolutionFailed(f"the peer sent transaction {node.id}, which nobody asked for")
        arrived[node.id] = node
        reachable.update(node.dependencies)
    if not arrived or next(iter(arrived)) != asked[0]:
        raise ResolutionFailed(f"the peer did not send transaction {asked[0]}")
    return arrived


def _keep(transactions: tuple[SignedTransaction, ...]) -> None:
    for start in range(0, len(transactions), CHUNK):
        keep_transactions(transactions[start : start + CHUNK])
        durable()


def _fetch_attachments(session: Session, names: tuple[SecureHash, ...]) -> None:
    missing = missing_attachments(names) if names else []
    while missing:
        asked = tuple(missing[:IDS_PER_REQUEST_MAX])
        batch = session.exchange(FetchAttachments(asked), AttachmentBatch).unwrap(
            lambda answer: answer
        )
        count = len(batch.contents)
        if not 1 <= count <= len(asked):
            raise ResolutionFailed(f"the peer sent {count} attachments instead of {len(asked)}")
        keep_attachments(asked[:count], batch.contents)
        missing = missing[count:]


def _one_transaction(offer: Offer) -> Offer:
    if len(offer.transactions) != 1 or offer.states:
        raise ResolutionFailed("the peer must offer one transaction and nothing else")
    return offer


def _states_only(offer: Offer) -> Offer:
    if offer.transactions or not offer.states:
        raise ResolutionFailed("the peer must offer states and nothing else")
    return offer
