"""Verification: one error class for each rule that a transaction can break."""

import pytest

from ledger.contracts import belongs_to, contract, contract_named, contract_of
from ledger.errors import (
    ConstraintUnknown,
    ContractMismatch,
    ContractRejected,
    ContractUnknown,
    DuplicateState,
    EncumbranceBroken,
    InsufficientBalance,
    NoCommands,
    NotaryConflict,
    NotaryMismatch,
    NotaryMissing,
    NothingDone,
    ParticipantsUnknown,
    ProposalRejected,
    StateTypeUnknown,
    TransactionVerificationError,
)
from ledger.hashing import SecureHash
from ledger.ledger_transaction import Command, LedgerTransaction
from ledger.states import ContractState, StateAndRef, StateRef, TransactionState
from ledger.testing import Draft, Ledger, TestIdentity
from ledger.time_window import TimeWindow
from ledger.uniqueness import Conflict, ConsumedState
from ledger.verification import verify
from runtime.codec import Packed, message, pack
from runtime.errors import MisuseError
from runtime.party import Party
from tests.ledger.parties import (
    ALICE,
    BOB,
    NOTARY,
    OTHER_NOTARY,
    Coin,
    Deal,
    Do,
    Lonely,
    Thing,
    Things,
    linear_id,
)

LAMP = Thing(owner=ALICE.party, name="lamp")
COMMAND = Command[object](Do(), (ALICE.key,))
ID = SecureHash.of(b"tx")


def state(
    data: ContractState = LAMP,
    *,
    contract: str = "tests.Things",
    notary: TestIdentity = NOTARY,
    encumbrance: int | None = None,
    constraint: str = "always",
) -> TransactionState:
    return TransactionState.of(
        data,
        contract=contract,
        notary=notary.party,
        encumbrance=encumbrance,
        constraint=constraint,
    )


def at(index: int, made: TransactionState, tx: bytes = b"before") -> StateAndRef[ContractState]:
    return StateAndRef(made, StateRef(SecureHash.of(tx), index))


def rejected(tx: LedgerTransaction) -> TransactionVerificationError:
    with pytest.raises(TransactionVerificationError) as caught:
        verify(tx)
    return caught.value


def draft() -> Draft:
    return Ledger(NOTARY.party).transaction()


def test_a_transaction_that_keeps_all_rules_verifies() -> None:
    tx = draft()
    tx.input(LAMP)
    tx.reference(LAMP)
    tx.output(LAMP.with_owner(BOB.party))
    tx.command(Do(), ALICE.key)
    tx.time_window(TimeWindow(1, 2))
    tx.attachment(b"text")

    tx.verifies()


def test_a_transaction_without_commands_is_refused() -> None:
    tx = LedgerTransaction(id=ID, inputs=(), outputs=(state(),), commands=())

    assert type(rejected(tx)) is NoCommands


def test_a_transaction_that_does_nothing_is_refused() -> None:
    tx = LedgerTransaction(id=ID, inputs=(), outputs=(), commands=(COMMAND,))

    assert type(rejected(tx)) is NothingDone


def test_a_state_twice_among_the_inputs_is_refused() -> None:
    tx = LedgerTransaction(
        id=ID, inputs=(at(0, state()),) * 2, outputs=(), commands=(COMMAND,), notary=NOTARY.party
    )

    assert type(rejected(tx)) is DuplicateState


def test_an_input_that_is_a_reference_too_is_refused() -> None:
    tx = LedgerTransaction(
        id=ID,
        inputs=(at(0, state()),),
        references=(at(0, state()),),
        outputs=(),
        commands=(COMMAND,),
        notary=NOTARY.party,
    )

    assert type(rejected(tx)) is DuplicateState


def test_inputs_and_time_windows_need_a_notary() -> None:
    spends = LedgerTransaction(id=ID, inputs=(at(0, state()),), outputs=(), commands=(COMMAND,))
    timed = LedgerTransaction(
        id=ID,
        inputs=(),
        outputs=(state(),),
        commands=(COMMAND,),
        time_window=TimeWindow(1, 2),
    )

    assert type(rejected(spends)) is NotaryMissing
    assert type(rejected(timed)) is NotaryMissing


def test_an_issue_needs_no_notary() -> None:
    verify(LedgerTransaction(id=ID, inputs=(), outputs=(state(),), commands=(COMMAND,)))


@pytest.mark.parametrize("where", ["inputs", "references", "outputs"])
def test_a_state_of_another_notary_is_refused(where: str) -> None:
    foreign = state(notary=OTHER_NOTARY)
    tx = LedgerTransaction(
        id=ID,
        inputs=(at(0, foreign if where == "inputs" else state()),),
        references=(at(1, foreign if where == "references" else state()),),
        outputs=(foreign if where == "outputs" else state(),),
        commands=(COMMAND,),
        notary=NOTARY.party,
    )

    assert type(rejected(tx)) is NotaryMismatch


def test_an_encumbered_input_needs_its_encumbrance() -> None:
    one, other = at(0, state(encumbrance=1)), at(1, state(encumbrance=0))
    alone = LedgerTransaction(
        id=ID, inputs=(one,), outputs=(), commands=(COMMAND,), notary=NOTARY.party
    )
    together = LedgerTransaction(
        id=ID, inputs=(one, other), outputs=(), commands=(COMMAND,), notary=NOTARY.party
    )

    assert type(rejected(alone)) is EncumbranceBroken
    verify(together)


@pytest.mark.parametrize(
    ("encumbrances", "is_valid"),
    [
        ((1, 0), True),
        ((1, 2, 0), True),
        ((1, 0, None, 4, 3), True),
        ((0,), False),
        ((1,), False),
        ((-1, None), False),
        ((1, None), False),
        ((2, 2, 0), False),
    ],
)
def test_encumbrances_of_outputs_must_form_cycles(
    encumbrances: tuple[int | None, ...], is_valid: bool
) -> None:
    outputs = tuple(state(encumbrance=target) for target in encumbrances)
    tx = LedgerTransaction(id=ID, inputs=(), outputs=outputs, commands=(COMMAND,))

    if is_valid:
        verify(tx)
    else:
        assert type(rejected(tx)) is EncumbranceBroken


def test_a_constraint_that_nobody_checks_is_refused() -> None:
    tx = LedgerTransaction(
        id=ID, inputs=(), outputs=(state(constraint="hash:1234"),), commands=(COMMAND,)
    )

    assert type(rejected(tx)) is ConstraintUnknown


def test_a_state_of_a_type_that_is_not_installed_is_refused() -> None:
    foreign = TransactionState(Packed("acme.Unknown", b"\x80"), "acme.C", NOTARY.party)
    no_state = TransactionState(pack(Do()), "tests.Things", NOTARY.party)

    for wrong in (foreign, no_state):
        tx = LedgerTransaction(id=ID, inputs=(), outputs=(wrong,), commands=(COMMAND,))
        error = rejected(tx)
        assert type(error) is StateTypeUnknown
        assert wrong.state_type in str(error)


def test_a_state_of_a_class_without_contract_is_refused() -> None:
    tx = LedgerTransaction(
        id=ID, inputs=(), outputs=(state(Lonely(owner=ALICE.party)),), commands=(COMMAND,)
    )

    assert type(rejected(tx)) is ContractUnknown


def test_a_state_under_a_contract_that_it_does_not_belong_to_is_refused() -> None:
    tx = LedgerTransaction(
        id=ID, inputs=(), outputs=(state(contract="tests.Other"),), commands=(COMMAND,)
    )

    assert type(rejected(tx)) is ContractMismatch


@belongs_to("tests.NotInstalled")
@message(name="tests.Orphan")
class Orphan(ContractState):
    pass


def test_a_contract_that_is_not_installed_is_named() -> None:
    tx = LedgerTransaction(
        id=ID,
        inputs=(),
        outputs=(state(Orphan(), contract="tests.NotInstalled"),),
        commands=(COMMAND,),
    )

    error = rejected(tx)

    assert type(error) is ContractUnknown
    assert "tests.NotInstalled" in str(error)


def test_a_contract_says_no_by_name() -> None:
    tx = draft()
    tx.output(Thing(owner=ALICE.party, name="forbidden"))
    tx.command(Do(), ALICE.key)

    error = tx.fails_with("nothing may be called forbidden")

    assert isinstance(error, ContractRejected)
    assert error.contract == "tests.Things"
    assert ContractRejected(*error.args).tx_id == error.tx_id


def test_a_contract_that_stumbles_has_rejected() -> None:
    tx = draft()
    tx.output(Thing(owner=ALICE.party, name="stumble"))
    tx.command(Do(), ALICE.key)

    assert isinstance(tx.fails_with("failed with KeyError"), ContractRejected)


def test_contracts_of_references_are_not_run() -> None:
    tx = draft()
    tx.reference(Thing(owner=ALICE.party, name="forbidden"))
    tx.output(LAMP)
    tx.command(Do(), ALICE.key)

    tx.verifies()


def test_a_contract_sees_states_by_type_and_group() -> None:
    ledger = Ledger(NOTARY.party)
    first = linear_id(1)
    inputs = [LAMP, Deal(linear_id=first, parties=(ALICE.party,))]
    builder = ledger.transaction()
    for consumed in inputs:
        builder.input(consumed)
    builder.reference(LAMP)
    builder.output(Deal(linear_id=first, parties=(BOB.party,)))
    builder.output(Deal(linear_id=linear_id(2), parties=(BOB.party,)))
    builder.command(Do(), ALICE.key)
    wire = builder.verifies()
    tx = wire.resolve(ledger.states.__getitem__, ledger.attachments.__getitem__)

    assert tx.inputs_of(Thing) == [LAMP]
    assert tx.input_refs_of(Thing)[0].ref == wire.inputs[0]
    assert tx.references_of(Thing) == [LAMP]
    assert tx.outputs_of(Coin) == []
    assert tx.output_refs_of(Deal)[1].ref == StateRef(wire.id, 1)
    assert tx.command(Do).signers == (ALICE.key,)
    groups = tx.group_states(Deal, lambda deal: deal.linear_id)
    assert [(g.key, len(g.inputs), len(g.outputs)) for g in groups] == [
        (first, 1, 1),
        (linear_id(2), 0, 1),
    ]


def test_a_contract_asks_for_its_one_command() -> None:
    tx = LedgerTransaction(id=ID, inputs=(), outputs=(), commands=(COMMAND, COMMAND))

    with pytest.raises(ContractRejected, match="one command Do, not 2"):
        tx.command(Do)


def test_two_contracts_of_one_name_are_refused_and_the_same_again_is_not() -> None:
    class Elsewhere:
        def verify(self, tx: LedgerTransaction) -> None: ...

    with pytest.raises(MisuseError, match="two contracts"):
        contract(name="tests.Things")(Elsewhere)
    contract(name="tests.Things")(Things)

    assert type(contract_named("tests.Things")) is Things


def test_a_class_that_is_no_contract_owns_no_states() -> None:
    class NoContract:
        def verify(self, tx: LedgerTransaction) -> None: ...

    with pytest.raises(MisuseError, match="is no contract"):
        belongs_to(NoContract)


def test_a_derived_state_belongs_to_the_contract_of_its_base() -> None:
    @message(name="tests.SpecialThing")
    class SpecialThing(Thing):
        pass

    assert contract_of(SpecialThing) == "tests.Things"


def test_the_helper_says_when_what_should_fail_verifies() -> None:
    tx = draft()
    tx.output(LAMP, label="lamp")
    with tx.tweak() as wrong:
        wrong.fails_with("no command")
    tx.command(Do(), ALICE.key)

    with pytest.raises(AssertionError, match="it should fail"):
        tx.fails()
    with tx.tweak() as wrong:
        wrong.output(Thing(owner=ALICE.party, name="forbidden"))
        with pytest.raises(AssertionError, match="but not with"):
            wrong.fails_with("something else")


def test_the_helper_follows_labels_from_transaction_to_transaction() -> None:
    ledger = Ledger(NOTARY.party)
    first = ledger.transaction()
    first.output(LAMP, label="lamp")
    first.command(Do(), ALICE.key)
    made = first.verifies()
    second = ledger.transaction()
    second.input("lamp")
    second.command(Do(), ALICE.key)

    assert second.verifies().inputs == (StateRef(made.id, 0),)
    assert ledger.state("lamp").data == LAMP
    with pytest.raises(MisuseError, match="no output"):
        ledger.state("chair")
    with pytest.raises(MisuseError, match="does not hold key"):
        ALICE.sign(BOB.key, b"")


@belongs_to(Things)
@message(name="tests.Fickle")
class Fickle(ContractState):
    """A state whose participants can't be told, or are none."""

    names: tuple[str, ...] = ()

    @property
    def participants(self) -> tuple[Party, ...]:
        return (self.names[7],) if len(self.names) < 2 else self.names  # type: ignore[return-value]


@pytest.mark.parametrize(("names", "reason"), [((), "IndexError"), (("a", "b"), "is no party")])
def test_a_state_that_can_not_tell_who_takes_part_is_refused(
    names: tuple[str, ...], reason: str
) -> None:
    draft = Ledger(NOTARY.party).transaction()
    draft.output(Fickle(names=names))
    draft.command(Do(), ALICE.key)

    error = draft.fails_with(reason)

    assert isinstance(error, ParticipantsUnknown)


def test_what_an_error_says_is_bounded() -> None:
    many = tuple(ConsumedState(StateRef(ID, index), ID, "INPUT") for index in range(10_000))
    errors = [
        ContractRejected("x" * 10**6, "y" * 10**6),
        ConstraintUnknown("ab", "x" * 10**6),
        ProposalRejected("x" * 10**6),
        InsufficientBalance(1, "x" * 10**6),
        NotaryConflict(Conflict(ID, many)),
    ]

    for error in errors:
        assert len(str(error)) < 3_000, type(error)
        assert all(len(arg) < 3_000 for arg in error.args if isinstance(arg, str)), type(error)
    assert "and 9995 more" in str(errors[-1])
    assert "more" not in str(NotaryConflict(Conflict(ID, many[:5])))
