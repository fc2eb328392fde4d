"""Signed transactions for the tests of stores and queries."""

from hashlib import sha256
from itertools import count

from ledger.amounts import Amount
from ledger.builder import TransactionBuilder
from ledger.states import ContractState, StateAndRef, StateRef
from ledger.stores.recording import StatesToRecord, record
from ledger.stores.rows import Rows
from ledger.stores.vault import vault_row
from ledger.testing import TestIdentity
from ledger.transactions import SignedTransaction
from runtime.party import AbstractParty
from tests.ledger.parties import ALICE, BANK, NOTARY, Coin, Do

_salts = count()


def coin(quantity: int, owner: AbstractParty = ALICE.party, product: str = "USD") -> Coin:
    return Coin(owner=owner, amount=Amount(quantity, product).issued_by(BANK.party))


def transaction(
    *outputs: ContractState,
    inputs: tuple[StateAndRef[ContractState], ...] = (),
    notary: TestIdentity = NOTARY,
) -> SignedTransaction:
    builder = TransactionBuilder(notary.party)
    builder.add_input(*inputs)
    for state in outputs:
        builder.add_output(state)
    builder.add_command(Do(), ALICE.key)
    salt = sha256(b"%d" % next(_salts)).digest()
    return builder.sign(salt, [ALICE.key], ALICE.sign)


def keep(
    rows: Rows,
    signed: SignedTransaction,
    *,
    now_ms: int = 1_000,
    states: StatesToRecord = StatesToRecord.ONLY_RELEVANT,
) -> list[StateAndRef[ContractState]]:
    """Record as Alice and return the outputs that came into the vault."""
    record(rows, signed, identity=ALICE.key, now_ms=now_ms, states=states)
    refs = [StateRef(signed.id, index) for index in range(len(signed.transaction.outputs))]
    return [
        StateAndRef(row.state, ref) for ref in refs if (row := vault_row(rows, ref)) is not None
    ]
