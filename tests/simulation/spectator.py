"""A spectator sees every commit of every node, and says at once what must never be, not even then.

What nodes would have if all stopped now is compared with what they may have; see `Spectator`. It
uses the ledger to read rows, and comes to its verdicts by itself.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import chain
from typing import Final

from ledger.components import Group
from ledger.hashing import DOMAIN_BATCH, SecureHash
from ledger.merkle import root_by
from ledger.signatures import NOTARYS, PARTYS, TransactionSignature
from ledger.states import FungibleState, StateRef, TransactionState
from ledger.stores.coins import SPENT_COINS
from ledger.stores.locks import FLOW_LOCKS, LOCKS
from ledger.stores.notary import CONSUMED, GRANTS, REQUESTS, Grant
from ledger.stores.transactions import (
    COLLECTING,
    SPENT,
    TRANSACTIONS,
    UNNOTARISED,
    UNNOTARISED_TRANSACTIONS,
    UNVERIFIED,
    VERIFIED,
)
from ledger.stores.vault import HEAD, HEAD_KEY, LOG, Head, LogEntry
from ledger.time_window import TimeWindow
from ledger.transactions import SignedTransaction, WireTransaction
from runtime.codec import decode
from runtime.keys import PublicKey
from runtime.ports import Batch
from runtime.testing.network import SimulatedNode
from runtime.testing.world import World
from samples.finance.cash import CashState
from samples.finance.commercial_paper import CommercialPaper
from tests.simulation.mirror import Change, Mirror

Problems = Iterator[str]

STEPS: Final = {
    (None, UNVERIFIED),
    (None, UNNOTARISED),
    (None, VERIFIED),
    (UNVERIFIED, UNVERIFIED),
    (UNVERIFIED, UNNOTARISED),
    (UNVERIFIED, VERIFIED),
    (UNNOTARISED, UNNOTARISED),
    (UNNOTARISED, VERIFIED),
    (UNNOTARISED, None),
    (VERIFIED, VERIFIED),
}
"""What may become of a transaction in one commit, as it says in `ledger.stores.transactions`."""


class Spectator:
    """Watches, from the beginning, what must hold after each commit, of all nodes' durable rows.

    - Of each state there is one transaction that consumes it: at the notary, at all nodes.
    - Nothing is final before the notary's grant is durable; nothing is granted before all who take
      part hold it, or outside of its time window; nothing that was granted is ever forgotten.
    - A transaction is the same wherever it is, its id is of all its parts, it has its signatures.
    - Cash comes from its issue only. When nobody is owed a final transaction, a *quiescent* point,
      all cash and all paper there is, is in the vaults.
    - What a transaction makes and consumes is in the vault with it, in the log, among the coins.
    - A lock, and a transaction on its way to others, has a living flow.
    - An owner's key can sign after a crash.

    Those among ``crooks`` may hold what is wrong; their final transactions make no quiet point.
    """

    def __init__(self, world: World) -> None:
        self.crooks: set[str] = set()
        self.commits = 0
        self.quiescent_points = 0
        self.issued = 0
        self.papers = 0
        self._world = world
        self._mirrors: dict[str, Mirror] = {}
        self._wires: dict[SecureHash, SignedTransaction] = {}
        self._final: set[SecureHash] = set()
        self._spenders: dict[StateRef, SecureHash] = {}
        self._consumers: dict[bytes, SecureHash] = {}
        self._owed: set[tuple[str, SecureHash]] = set()
        self._signatures: set[tuple[bytes, bytes, SecureHash]] = set()
        self._covered: set[SecureHash] = set()
        self._conserving: set[SecureHash] = set()
        world.watch(self._landed)

    def settled(self, tx_id: SecureHash, *, at: SimulatedNode, other: SimulatedNode) -> None:
        """Learn that a client of ``at`` was told that a trade with ``other`` is done."""
        if self._mirror(at).status(tx_id) != VERIFIED:
            self._world.recorder.problem(f"{at.name} says {tx_id} is done, and does not have it")
        if self._mirror(other).status(tx_id) not in (UNNOTARISED, VERIFIED):
            self._world.recorder.problem(
                f"{at.name} traded {tx_id} with {other.name}, who lacks it"
            )

    @property
    def final(self) -> int:
        """How many transactions are final."""
        return len(self._final)

    def check_end(self) -> None:
        """Check, when nothing is left to do, that all are content and nothing was overseen."""
        owed = sorted(name for name, _ in self._owed)
        assert not owed, f"{owed} take part in what is final, and do not have it"
        for node in self._world.network.nodes.values():
            for space, rows in self._mirror(node).rows.items():
                assert dict(node.host.scan(space, b"", None)) == rows, f"{node.name}: {space.name}"

    # --- one commit -----------------------------------------------------------------------------

    def _landed(self, node: SimulatedNode, batch: Batch) -> None:
        self.commits += 1
        mirror = self._mirror(node)
        change = mirror.follow(batch)
        for key in change.keys(TRANSACTIONS):
            self._meet(mirror, SecureHash(key))
        problems = list(
            chain(
                self._grants(mirror, change),
                self._transactions(mirror, change),
                _states(mirror, change),
                _flows(mirror, change),
                _log(mirror, change),
            )
        )
        assert not problems, "; ".join(problems[:5])
        self._check_sums()

    def _meet(self, mirror: Mirror, tx_id: SecureHash) -> None:
        row = mirror.transaction(tx_id)
        if row is not None:
            self._wires.setdefault(tx_id, row.signed)

    def _mirror(self, node: SimulatedNode) -> Mirror:
        if node.name not in self._mirrors:
            self._mirrors[node.name] = Mirror(node)
        return self._mirrors[node.name]

    # --- transactions ---------------------------------------------------------------------------

    def _transactions(self, mirror: Mirror, change: Change) -> Problems:
        for key in change.keys(TRANSACTIONS):
            tx_id = SecureHash(key)
            row, before = mirror.transaction(tx_id), mirror.status_before(change, tx_id)
            status = None if row is None else row.status
            if (before, status) not in STEPS and (before, status) != (None, None):
                yield f"transaction {tx_id} was {before} and is {status}"
            if (status == UNNOTARISED) != (mirror.get(UNNOTARISED_TRANSACTIONS, key) is not None):
                yield f"transaction {tx_id} is {status}, {UNNOTARISED_TRANSACTIONS.name} differs"
            if row is None:
                if before == UNNOTARISED and tx_id in self._final:
                    yield f"transaction {tx_id} is final and was forgotten"
                continue
            if mirror.name not in self.crooks:
                yield from self._contents(row.signed, status)
            if status == VERIFIED and before != VERIFIED:
                yield from self._verified(mirror, row.signed)

    def _contents(self, signed: SignedTransaction, status: str | None) -> Problems:
        wire = signed.transaction
        if signed.wire != self._wires[wire.id].wire:
            yield f"transaction {wire.id} is not the same everywhere"
        if wire.id not in self._covered:
            self._covered.add(wire.id)
            yield from _covered(wire)
        allowed = {wire.notary.key} if wire.notary and status == UNNOTARISED else set()
        missing = wire.required_keys - {signature.key for signature in signed.signatures} - allowed
        if missing:
            yield f"transaction {wire.id} is {status} and lacks {len(missing)} signatures"
        for signature in signed.signatures:
            known = (signature.key.data, signature.signature, wire.id)
            if known not in self._signatures:
                if not _is_signed(signature, wire.id):
                    yield f"transaction {wire.id} is {status} with a wrong signature"
                self._signatures.add(known)
        for state in wire.outputs:
            for party in state.data.participants:
                if self._holder(party.key) is None:
                    yield f"transaction {wire.id} makes a state of a key that nobody has stored"

    def _verified(self, mirror: Mirror, signed: SignedTransaction) -> Problems:
        wire = signed.transaction
        if wire.needs_notary and wire.id not in self._final:
            yield f"transaction {wire.id} is {VERIFIED}, its notary has not granted it"
        yield from self._become_final(signed)
        self._owed.discard((mirror.name, wire.id))
        if mirror.name not in self.crooks:
            yield from self._conserved(signed)
        for ref in wire.inputs:
            if mirror.get(SPENT, ref.key) != wire.id.digest:
                yield f"{ref} is not noted as consumed by {wire.id}"
            row = mirror.state(ref)
            if row is not None and row.consumer != wire.id:
                yield f"{ref} is not consumed in the vault, {wire.id} is {VERIFIED}"
        for index, state in enumerate(wire.outputs):
            ref = StateRef(wire.id, index)
            is_ours = any(mirror.owns(party.key) for party in state.data.participants)
            if is_ours and mirror.state(ref) is None:
                yield f"{ref} is not in the vault, {wire.id} is {VERIFIED}"

    def _become_final(self, signed: SignedTransaction) -> Problems:
        wire = signed.transaction
        if wire.id in self._final:
            return
        self._final.add(wire.id)
        for ref in wire.inputs:
            other = self._spenders.setdefault(ref, wire.id)
            if other != wire.id:
                yield f"{ref} is consumed by {other} and by {wire.id}"
        for name in self._takers(signed):
            if self._mirrors[name].status(wire.id) != VERIFIED:
                self._owed.add((name, wire.id))
        if not wire.inputs:
            self.issued += _cash(wire.outputs)
            self.papers += _papers(wire.outputs)

    def _conserved(self, signed: SignedTransaction) -> Problems:
        wire = signed.transaction
        if wire.id in self._conserving or not wire.inputs:
            return
        self._conserving.add(wire.id)
        inputs = [state for ref in wire.inputs if (state := self._state(ref)) is not None]
        if len(inputs) != len(wire.inputs):
            yield f"transaction {wire.id} consumes what no transaction has made"
        for what, count in (("cash", _cash), ("paper", _papers)):
            if count(inputs) != count(wire.outputs):
                yield (
                    f"{what} is made or lost: {wire.id} has {count(inputs)} in, "
                    f"{count(wire.outputs)} out"
                )

    # --- the notary -----------------------------------------------------------------------------

    def _grants(self, notary: Mirror, change: Change) -> Problems:
        for key in change.keys(GRANTS):
            body = notary.get(GRANTS, key)
            if change.before[GRANTS][key] is not None or body is None:
                yield f"the grant of {SecureHash(key)} has changed"
                continue
            signed = self._wires.get(SecureHash(key))
            if signed is None:
                yield f"{SecureHash(key)} is granted, and nobody has stored it"
                continue
            self._consumers[sha256(key).digest()] = signed.id
            yield from self._granted(notary, signed, decode(body, Grant))
            yield from self._become_final(signed)
        for key in change.keys(CONSUMED):
            consumer = notary.get(CONSUMED, key)
            if change.before[CONSUMED][key] not in (None, consumer):
                yield f"the notary has two consumers of {StateRef.from_key(key)}"
            if consumer not in self._consumers:
                yield f"the notary consumes {StateRef.from_key(key)} for nothing that it granted"

    def _granted(self, notary: Mirror, signed: SignedTransaction, grant: Grant) -> Problems:
        wire = signed.transaction
        if notary.get(REQUESTS, wire.id.digest) is None:
            yield f"{wire.id} is granted without a request"
        if wire.time_window and not _is_inside(wire.time_window, grant.granted_ms):
            yield f"{wire.id} is granted at {grant.granted_ms}, outside of {wire.time_window}"
        for ref in wire.inputs:
            if notary.get(CONSUMED, ref.key) != sha256(wire.id.digest).digest():
                yield f"{wire.id} is granted, and {ref} is not consumed by it"
        for name in self._takers(signed):
            if self._mirrors[name].status(wire.id) not in (UNNOTARISED, VERIFIED):
                yield f"{wire.id} is granted, and {name}, who takes part, does not hold it"

    # --- all of them ----------------------------------------------------------------------------

    def _check_sums(self) -> None:
        if self._owed or self.crooks:
            return
        self.quiescent_points += 1
        owned = [row.state for mirror in self._mirrors.values() for row in mirror.owned.values()]
        assert _cash(owned) == self.issued, f"{self.issued} was issued, there is {_cash(owned)}"
        assert _papers(owned) == self.papers, f"{self.papers} papers, there are {_papers(owned)}"

    def _takers(self, signed: SignedTransaction) -> list[str]:
        """Return the nodes that take part in what a transaction consumes or makes."""
        wire = signed.transaction
        inputs = (state for ref in wire.inputs if (state := self._state(ref)) is not None)
        keys = {p.key: None for state in (*inputs, *wire.outputs) for p in state.data.participants}
        holders = (self._holder(key) for key in keys)
        return list(dict.fromkeys(holder for holder in holders if holder is not None))

    def _holder(self, key: PublicKey) -> str | None:
        for node in self._world.network.nodes.values():
            if self._mirror(node).owns(key):
                return node.name
        return None

    def _state(self, ref: StateRef) -> TransactionState | None:
        signed = self._wires.get(ref.txhash)
        if signed is None or ref.index >= len(signed.transaction.outputs):
            return None
        return signed.transaction.outputs[ref.index]


# --- one node -----------------------------------------------------------------------------------


def _states(mirror: Mirror, change: Change) -> Problems:
    """What can be spent is ours, unconsumed and not locked; what is in the vault is verified."""
    for ref in change.refs():
        row, holder = mirror.state(ref), mirror.get(LOCKS, ref.key)
        is_there = row is not None and row.consumed_ms is None
        if holder is not None and not is_there:
            yield f"{ref} is locked and can't be consumed"
        if holder is not None and not mirror.lives(holder.decode()):
            yield f"{ref} is locked by a flow that does not live"
        is_coin = is_there and row is not None and row.is_owned
        is_coin = is_coin and row is not None and isinstance(row.state.data, FungibleState)
        is_coin = is_coin and mirror.get(SPENT_COINS, ref.key) is None
        if (ref.key in mirror.coins) != (is_coin and holder is None):
            yield f"{ref} is {'' if ref.key in mirror.coins else 'not '}among the coins"
        if row is not None and mirror.status(ref.txhash) != VERIFIED:
            yield f"{ref} is in the vault, its transaction is {mirror.status(ref.txhash)}"
        spender = mirror.get(SPENT, ref.key)
        consumer = None if row is None or row.consumer is None else row.consumer.digest
        if row is not None and consumer != spender:
            yield f"{ref} has other consumers in the vault and in truth"


def _flows(mirror: Mirror, change: Change) -> Problems:
    """A flow that ends leaves no locks and nothing that it has still to bring to others.

    So long it keeps its locks: no flow of the scenarios gives one back.
    """
    for key, holder in change.before.get(LOCKS, {}).items():
        if (
            holder is not None
            and holder != mirror.get(LOCKS, key)
            and mirror.lives(holder.decode())
        ):
            row = mirror.state(StateRef.from_key(key))
            if row is None or row.consumed_ms is None:
                yield f"{StateRef.from_key(key)} is not locked any more, its flow lives"
    for space in (FLOW_LOCKS, COLLECTING):
        for key in (*change.keys(space), *(mirror.rows[space] if change.ended else ())):
            holder = key.partition(b"\0")[0].decode()
            if key in mirror.rows[space] and not mirror.lives(holder):
                yield f"a row of {space.name} is of flow {holder}, which does not live"
    for key in change.keys(FLOW_LOCKS):
        holder, _, ref = key.partition(b"\0")
        if (key in mirror.rows[FLOW_LOCKS]) != (mirror.get(LOCKS, ref) == holder):
            yield f"{FLOW_LOCKS.name} and {LOCKS.name} differ about {StateRef.from_key(ref)}"


def _log(mirror: Mirror, change: Change) -> Problems:
    """All that happens to the vault stands in its log, once, in a chain."""
    heads = change.before.get(HEAD)
    head = _head(mirror.get(HEAD, HEAD_KEY) if heads is None else heads[HEAD_KEY])
    touched: set[StateRef] = set()
    for key in sorted(change.keys(LOG)):
        body = mirror.get(LOG, key)
        if body is None:
            continue
        head = Head(head.position + 1, sha256(head.digest + body).digest())
        if int.from_bytes(key, "big") != head.position:
            yield f"the vault's log has entry {int.from_bytes(key, 'big')} behind {head.position}"
        entry = decode(body, LogEntry)
        touched.update(entry.touched)
        for refs, seen in ((entry.produced, mirror.produced), (entry.consumed, mirror.consumed)):
            if seen & set(refs):
                yield f"the vault's log has what became of {sorted(seen & set(refs))[0]} twice"
            seen.update(refs)
    if head != _head(mirror.get(HEAD, HEAD_KEY)):
        yield "the vault's log does not end where its head says"
    # That its notary calls it spent changes nothing in what the vault says of a state.
    touched.update(StateRef.from_key(key) for key in change.keys(SPENT_COINS))
    if change.refs() - touched:
        yield f"{len(change.refs() - touched)} states have changed, not in the vault's log"


def _head(body: bytes | None) -> Head:
    return Head() if body is None else decode(body, Head)


def _cash(states: Sequence[TransactionState]) -> int:
    found = (state.data for state in states)
    return sum(data.amount.quantity for data in found if isinstance(data, CashState))


def _papers(states: Sequence[TransactionState]) -> int:
    return sum(isinstance(state.data, CommercialPaper) for state in states)


def _covered(wire: WireTransaction) -> Problems:
    """The id is another one if anything in the transaction is."""
    for group in Group:
        groups = [list(wire.components(each)) for each in Group]
        if groups[group]:
            groups[group][-1] += b"?"
        else:
            groups[group].append(b"?")
        if WireTransaction.of(groups, wire.parts.salt).id == wire.id:
            yield f"the id of transaction {wire.id} says nothing of its {group.name}"


def _is_signed(signature: TransactionSignature, tx_id: SecureHash) -> bool:
    if signature.proof is None:
        return signature.key.is_valid(signature.signature, PARTYS + tx_id.digest)
    root = root_by(signature.proof, [tx_id.digest], DOMAIN_BATCH)
    return signature.key.is_valid(signature.signature, NOTARYS + root)


def _is_inside(window: TimeWindow, time_ms: int) -> bool:
    starts, ends = window.from_ms, window.until_ms
    return (starts is None or starts <= time_ms) and (ends is None or time_ms < ends)
