"""Resolved transaction and contracts -> verdict. Pure: same transaction, same verdict, everywhere.

Order: the structure, then the notary, encumbrances, constraints, then every contract of inputs and
outputs, each once, in order of its name. The contracts of references are not run. Signatures are
checked apart (`SignedTransaction.verify_signatures_except`).
"""

from collections.abc import Iterable, Sequence

from ledger.contracts import contract_named, contract_of
from ledger.errors import (
    ConstraintUnknown,
    ContractMismatch,
    ContractRejected,
    ContractUnknown,
    DuplicateState,
    EncumbranceBroken,
    NoCommands,
    NotaryMismatch,
    NotaryMissing,
    NothingDone,
    ParticipantsUnknown,
    StateTypeUnknown,
)
from ledger.ledger_transaction import LedgerTransaction
from ledger.states import ALWAYS_ACCEPT, ContractState, TransactionState, parties_in
from runtime.errors import MisuseError, SennitError
from runtime.party import AnonymousParty, Party


def verify(tx: LedgerTransaction) -> None:
    """Return if ``tx`` is valid; raise a `TransactionVerificationError` that names the rule."""
    _check_structure(tx)
    _check_notary(tx)
    _check_encumbrances(tx)
    _check_states(tx)
    _run_contracts(tx)


def _check_structure(tx: LedgerTransaction) -> None:
    if not tx.commands:
        raise NoCommands(str(tx.id), "it has no command")
    if not tx.inputs and not tx.outputs:
        raise NothingDone(str(tx.id), "it has neither inputs nor outputs")
    seen = set()
    for state in (*tx.inputs, *tx.references):
        if state.ref in seen:
            raise DuplicateState(str(tx.id), f"state {state.ref} is asked for twice")
        seen.add(state.ref)


def _check_notary(tx: LedgerTransaction) -> None:
    if tx.notary is None:
        if tx.inputs or tx.references or tx.time_window:
            raise NotaryMissing(
                str(tx.id), "it has inputs, references or a time window, but no notary"
            )
        return
    for state in _all_states(tx):
        if state.notary != tx.notary:
            raise NotaryMismatch(
                str(tx.id), f"a state belongs to notary {state.notary}, it to {tx.notary}"
            )


def _check_encumbrances(tx: LedgerTransaction) -> None:
    consumed = {state.ref for state in tx.inputs}
    for state in tx.inputs:
        if state.state.encumbrance is not None:
            ref = type(state.ref)(state.ref.txhash, state.state.encumbrance)
            if ref not in consumed:
                raise EncumbranceBroken(
                    str(tx.id), f"{state.ref} can be consumed only together with {ref}"
                )
    _check_encumbrance_cycles(tx)


def _check_encumbrance_cycles(tx: LedgerTransaction) -> None:
    targets = {
        index: state.encumbrance
        for index, state in enumerate(tx.outputs)
        if state.encumbrance is not None
    }
    for index, target in targets.items():
        if target == index or not 0 <= target < len(tx.outputs):
            raise EncumbranceBroken(
                str(tx.id), f"output {index} can't be encumbered by output {target}"
            )
    # A permutation without fixed points is a set of cycles, so that no part can go alone.
    if sorted(targets) != sorted(targets.values()):
        raise EncumbranceBroken(str(tx.id), "the encumbrances of its outputs form no cycles")


def _check_states(tx: LedgerTransaction) -> None:
    for state in _all_states(tx):
        if state.constraint != ALWAYS_ACCEPT:
            raise ConstraintUnknown(str(tx.id), f"constraint {state.constraint[:64]!r} of a state")
        _check_contract(tx, state, _decoded(tx, state))
        _check_participants(tx, state)


def _check_participants(tx: LedgerTransaction, state: TransactionState) -> None:
    """Refuse a state that can't tell who takes part in it: nobody would know whom to tell of it."""
    try:
        parties = parties_in(state.data)
    except Exception as error:
        raise ParticipantsUnknown(
            str(tx.id), f"the participants of a {state.state_type}: {type(error).__name__}: {error}"
        ) from error
    if not all(isinstance(party, Party | AnonymousParty) for party in parties):
        raise ParticipantsUnknown(str(tx.id), f"a participant of a {state.state_type} is no party")


def _check_contract(tx: LedgerTransaction, state: TransactionState, data: ContractState) -> None:
    try:
        owner = contract_of(type(data))
    except MisuseError as error:
        raise ContractUnknown(str(tx.id), str(error)) from error
    if owner != state.contract:
        raise ContractMismatch(
            str(tx.id), f"a {state.state_type} belongs to {owner}, not to {state.contract[:200]!r}"
        )


def _run_contracts(tx: LedgerTransaction) -> None:
    for name in sorted({state.contract for state in _inputs_and_outputs(tx)}):
        contract = contract_named(name)
        if contract is None:
            raise ContractUnknown(str(tx.id), f"contract {name[:200]!r} is not installed here")
        try:
            contract.verify(tx)
        except ContractRejected as error:
            raise ContractRejected(error.reason, name, str(tx.id)) from error
        except Exception as error:
            # Whatever a contract trips over in a peer's transaction is a verdict, not an accident.
            raise ContractRejected(
                f"it failed with {type(error).__name__}: {error}", name, str(tx.id)
            ) from error


def _decoded(tx: LedgerTransaction, state: TransactionState) -> ContractState:
    try:
        return state.data
    except (SennitError, TypeError, ValueError) as error:
        raise StateTypeUnknown(str(tx.id), f"state {state.state_type[:200]!r}: {error}") from error


def _inputs_and_outputs(tx: LedgerTransaction) -> Iterable[TransactionState]:
    return (*(state.state for state in tx.inputs), *tx.outputs)


def _all_states(tx: LedgerTransaction) -> Sequence[TransactionState]:
    return (*_inputs_and_outputs(tx), *(state.state for state in tx.references))
