"""Work that is linear in a transaction's size: nothing is decoded, read or looked through again."""

from collections import Counter

import pytest

from ledger import states, transactions
from ledger.amounts import Amount
from ledger.builder import TransactionBuilder
from ledger.components import Group
from ledger.hashing import SecureHash
from ledger.ledger_transaction import Attachment, LedgerTransaction
from ledger.states import ContractState, StateRef, TransactionState
from ledger.stores.checking import check_transaction
from ledger.stores.recording import record
from ledger.stores.transactions import TRANSACTIONS, add_verified
from ledger.testing import Ledger
from ledger.transactions import (
    CACHED_BYTES_MAX,
    CACHED_MAX,
    SignedTransaction,
    WireParts,
    WireTransaction,
)
from runtime import codec
from runtime.codec import Packed, encode, pack
from runtime.ports import Space
from samples.finance.cash import CashState, ExitCash, MoveCash
from tests.ledger.builders import coin, transaction
from tests.ledger.memory_rows import MemoryRows
from tests.ledger.parties import ALICE, BANK, NOTARY, SALT, Do, Thing


class CountingRows(MemoryRows):
    """Counts what is read, by space."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = Counter[str]()

    def get(self, space: Space, key: bytes) -> bytes | None:
        self.reads[space.name] += 1
        return super().get(space, key)


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that grows by each wire transaction that is decoded from now on."""
    decoded: list[object] = []
    real = codec.decode

    def counting(body: bytes, kind: type[object]) -> object:
        if kind is WireParts:
            decoded.append(kind)
        return real(body, kind)

    monkeypatch.setattr(transactions, "decode", counting)
    monkeypatch.setattr(transactions, "decoded_ones", transactions.Decoded())
    return decoded


def test_a_wide_transaction_is_decoded_once_to_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = transaction(*[coin(1 + number) for number in range(500)])
    assert len(wide.wire) > 64 * 1024
    decoded = count_decoded(monkeypatch)

    record(MemoryRows(), wide, identity=ALICE.key, now_ms=1)

    assert len(decoded) == 1


def test_the_maker_of_many_inputs_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, wide = CountingRows(), transaction(*[coin(1 + number) for number in range(500)])
    add_verified(rows, wide)
    inputs = tuple(wide.transaction.output_ref(index) for index in range(500))
    spending = transaction(coin(500), inputs=inputs)
    rows.reads.clear()
    decoded = count_decoded(monkeypatch)

    check_transaction(rows, spending, notaries=[NOTARY.party], allowed_missing=[NOTARY.key])

    assert rows.reads[TRANSACTIONS.name] == 1
    assert len(decoded) == 2


def test_what_is_kept_decoded_is_bounded() -> None:
    kept = transactions.Decoded()

    for number in range(CACHED_MAX + 10):
        kept.of(b"%d" % number)
    assert len(kept) == CACHED_MAX
    for number in range(6):
        kept.of(bytes([number]) * (CACHED_BYTES_MAX // 4))

    assert kept.size_bytes == len(kept) * (CACHED_BYTES_MAX // 4) <= CACHED_BYTES_MAX
    assert kept.of(b"\5" * (CACHED_BYTES_MAX // 4)) is kept.of(b"\5" * (CACHED_BYTES_MAX // 4))
    assert kept.of(bytes(CACHED_BYTES_MAX)) is not kept.of(bytes(CACHED_BYTES_MAX))


def test_facts_that_are_kept_decoded_are_bounded_in_bytes() -> None:
    kept = states.DecodedStates()

    def fact(number: int, size: int) -> Packed:
        return pack(Thing(owner=ALICE.party, name=f"{number} {'x' * size}"))

    for number in range(states.CACHED_MAX + 10):
        kept.of(fact(number, 1))
    assert len(kept) == states.CACHED_MAX
    for number in range(10):
        kept.of(fact(number, states.CACHED_BYTES_MAX // 4))

    assert 0 < len(kept) < 5
    assert kept.size_bytes <= states.CACHED_BYTES_MAX
    last = fact(9, states.CACHED_BYTES_MAX // 4)
    assert kept.of(last) is kept.of(last)
    huge = fact(0, states.CACHED_BYTES_MAX)
    assert kept.of(huge) is not kept.of(huge)
    assert kept.of(last) is kept.of(last)


def test_commands_are_looked_through_once_for_all_kinds_of_cash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draft = Ledger(NOTARY.party).transaction()
    for number in range(30):
        cash = CashState(
            owner=ALICE.party, amount=Amount(5, "USD").issued_by(BANK.party, b"%d" % number)
        )
        draft.input(cash)
        draft.output(cash.with_amount(Amount(4, cash.amount.token)))
        draft.command(ExitCash(Amount(1, cash.amount.token)), BANK.key)
    draft.command(MoveCash(), ALICE.key)
    asked: list[type] = []
    real = LedgerTransaction.commands_of

    def counting(tx: LedgerTransaction, kind: type) -> object:
        asked.append(kind)
        return real(tx, kind)

    monkeypatch.setattr(LedgerTransaction, "commands_of", counting)
    draft.verifies()

    assert len(asked) < 10


def test_an_attachment_that_is_named_often_is_read_once() -> None:
    name, read = SecureHash.of(b"text"), list[SecureHash]()
    builder = TransactionBuilder(NOTARY.party)
    builder.add_output(Thing(owner=ALICE.party, name="lamp"))
    builder.add_command(Do(), ALICE.key)
    groups = [list(builder.to_wire(SALT).components(group)) for group in Group]
    groups[Group.ATTACHMENTS] = [encode(name)] * 50
    wire = WireTransaction.of(groups, SALT)

    def attachment_of(wanted: SecureHash) -> Attachment:
        read.append(wanted)
        return Attachment(wanted, b"text")

    def no_state(ref: StateRef) -> TransactionState:
        raise KeyError(ref)

    resolved = wire.resolve(no_state, attachment_of)

    assert read == [name]
    assert [each.content for each in resolved.attachments] == [b"text"]


def test_signing_with_many_keys_decodes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    things: list[ContractState] = [Thing(owner=ALICE.party, name=str(n)) for n in range(10)]
    signed = SignedTransaction(transaction(*things).wire)
    decoded = count_decoded(monkeypatch)

    signed.signed_by([ALICE.key] * 20, ALICE.sign)

    assert len(decoded) == 1
