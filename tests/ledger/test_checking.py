"""Checking a transaction against the store: all that it refers to has to be there, verified."""

import pytest

from ledger.components import Group
from ledger.errors import (
    AttachmentMissing,
    ContractRejected,
    NotaryUnknown,
    SignaturesMissing,
    TransactionMalformed,
    TransactionUnknown,
)
from ledger.hashing import SecureHash
from ledger.states import ContractState, StateAndRef, StateRef
from ledger.stores.attachments import add_attachment
from ledger.stores.checking import check_transaction, states_at
from ledger.stores.transactions import add_unverified, add_verified
from ledger.testing import Ledger
from ledger.transactions import SignedTransaction, WireTransaction
from tests.ledger.builders import coin, transaction
from tests.ledger.memory_rows import MemoryRows
from tests.ledger.parties import ALICE, NOTARY, OTHER_NOTARY, SALT, Do, Thing

NOTARIES = [NOTARY.party]


def test_a_transaction_whose_history_is_verified_checks_out() -> None:
    rows, first = MemoryRows(), transaction(coin(1))
    add_verified(rows, first)
    second = transaction(coin(1), inputs=(first.transaction.output_ref(0),))

    checked = check_transaction(rows, second, notaries=NOTARIES, allowed_missing=[NOTARY.key])

    assert checked.inputs[0].data == coin(1)
    with pytest.raises(SignaturesMissing):
        check_transaction(rows, second, notaries=NOTARIES)


def test_what_is_not_verified_is_not_built_upon() -> None:
    rows, first = MemoryRows(), transaction(coin(1))
    second = transaction(coin(1), inputs=(first.transaction.output_ref(0),))

    for _ in range(2):
        with pytest.raises(TransactionUnknown, match="not verified"):
            check_transaction(rows, second, notaries=NOTARIES, allowed_missing=[NOTARY.key])
        add_unverified(rows, first)


def test_an_output_that_does_not_exist_is_named() -> None:
    rows, first = MemoryRows(), transaction(coin(1))
    add_verified(rows, first)

    with pytest.raises(TransactionMalformed, match="no output 1"):
        states_at(rows, [StateRef(first.id, 1)])


def test_a_notary_of_nobody_is_refused() -> None:
    rows = MemoryRows()
    signed = transaction(coin(1), notary=OTHER_NOTARY)

    with pytest.raises(NotaryUnknown, match="O=Other Notary"):
        check_transaction(rows, signed, notaries=NOTARIES)


def test_an_attachment_has_to_be_there() -> None:
    rows = MemoryRows()
    draft = Ledger(NOTARY.party).transaction()
    draft.output(Thing(owner=ALICE.party, name="lamp"))
    draft.attachment(b"text")
    draft.command(Do(), ALICE.key)
    signed = SignedTransaction(draft.wire().encoded).signed_by([ALICE.key], ALICE.sign)

    with pytest.raises(AttachmentMissing, match="not in the store"):
        check_transaction(rows, signed, notaries=NOTARIES)
    assert add_attachment(rows, b"text") == SecureHash.of(b"text")

    assert check_transaction(rows, signed, notaries=NOTARIES).attachments[0].content == b"text"


def test_a_state_is_taken_from_the_store_and_not_from_the_peer() -> None:
    rows, first = MemoryRows(), transaction(coin(1))
    add_verified(rows, first)
    claimed = StateAndRef[ContractState](
        transaction(coin(1_000_000)).transaction.outputs[0], StateRef(first.id, 0)
    )

    assert [state.data for state in states_at(rows, [claimed.ref])] == [coin(1)]


def test_a_state_that_a_stranger_watches_over_is_refused_even_if_nothing_is_notarised() -> None:
    rows = MemoryRows()
    groups = [
        list(transaction(coin(1), notary=OTHER_NOTARY).transaction.components(group))
        for group in Group
    ]
    groups[Group.NOTARY] = []
    signed = SignedTransaction(WireTransaction.of(groups, SALT).encoded)
    signed = signed.signed_by([ALICE.key], ALICE.sign)

    with pytest.raises(NotaryUnknown, match="O=Other Notary"):
        check_transaction(rows, signed, notaries=NOTARIES)


def test_a_transaction_that_its_contract_rejects_does_not_check_out() -> None:
    signed = transaction(Thing(owner=ALICE.party, name="forbidden"))

    with pytest.raises(ContractRejected, match="nothing may be called forbidden"):
        check_transaction(MemoryRows(), signed, notaries=NOTARIES)
