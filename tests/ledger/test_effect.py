"""What a transaction does to us, and that nothing else than what we expect of it passes."""

from datetime import UTC, datetime, timedelta

import pytest

from ledger.amounts import Amount
from ledger.effect import FOREVER, Expected, net_effect
from ledger.errors import ProposalRejected, WindowRejected
from ledger.hashing import SecureHash
from ledger.ledger_transaction import Command, LedgerTransaction
from ledger.states import ContractState, StateAndRef, StateRef, TransactionState
from ledger.time_window import TimeWindow, milliseconds
from tests.ledger.builders import coin
from tests.ledger.parties import ALICE, BANK, BOB, NOTARY, Coin, Deal, Do, Thing, linear_id

AT = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LAMP = Thing(owner=ALICE.party, name="lamp")


def state(data: ContractState, encumbrance: int | None = None) -> TransactionState:
    return TransactionState.of(
        data, contract="tests.Things", notary=NOTARY.party, encumbrance=encumbrance
    )


def at(index: int, data: ContractState) -> StateAndRef[ContractState]:
    return StateAndRef(state(data), StateRef(SecureHash.of(b"before"), index))


def transaction(
    inputs: tuple[ContractState, ...] = (),
    outputs: tuple[ContractState | TransactionState, ...] = (),
    commands: tuple[Command[object], ...] = (),
    window: TimeWindow | None = None,
    reads: tuple[ContractState, ...] = (),
) -> LedgerTransaction:
    return LedgerTransaction(
        id=SecureHash.of(b"tx"),
        inputs=tuple(at(index, data) for index, data in enumerate(inputs)),
        outputs=tuple(
            each if isinstance(each, TransactionState) else state(each) for each in outputs
        ),
        commands=commands,
        references=tuple(at(100 + index, data) for index, data in enumerate(reads)),
        notary=NOTARY.party,
        time_window=window,
    )


def refused(expected: Expected, tx: LedgerTransaction) -> str:
    with pytest.raises(ProposalRejected) as caught:
        expected.check(net_effect(tx, [ALICE.key]), AT)
    return str(caught.value)


def test_the_effect_tells_what_goes_what_comes_and_what_else_is_touched() -> None:
    deal = Deal(linear_id=linear_id(1), parties=(ALICE.party, BOB.party))
    mine, theirs = Command[object](Do("a"), (ALICE.key,)), Command[object](Do("b"), (BOB.key,))
    tx = transaction(
        (LAMP, coin(3, BOB.party)),
        (coin(3), deal, coin(1, BOB.party)),
        (mine, theirs),
        TimeWindow(5, 10),
        (Thing(owner=BANK.party, name="rate"),),
    )

    effect = net_effect(tx, [ALICE.key])

    assert [each.data for each in effect.gives] == [LAMP]
    assert [each.data for each in effect.gets] == [coin(3), deal]
    assert [each.ref for each in effect.gets] == [StateRef(tx.id, 0), StateRef(tx.id, 1)]
    assert [each.data for each in effect.others] == [coin(3, BOB.party), coin(1, BOB.party)]
    assert effect.signs == (mine,)
    assert effect.reads == tx.references
    assert effect.until_ms == 10
    assert effect.received(Coin) == {coin(3).amount.token: 3}


def test_the_effect_under_several_keys_is_the_sum() -> None:
    one_time = ALICE.one_time(1)
    tx = transaction((), (coin(3), coin(4, one_time), coin(5, BOB.party)))

    assert net_effect(tx, [ALICE.key, one_time.key]).received(Coin) == {coin(1).amount.token: 7}


def test_what_was_agreed_passes() -> None:
    due = Amount(3, "USD").issued_by(BANK.party)
    tx = transaction(
        (LAMP,),
        (coin(1), coin(2)),
        (Command[object](Do(), (ALICE.key,)),),
        TimeWindow.until(AT + MINUTE),
    )
    agreed = Expected(gives=[at(0, LAMP).ref], gets=[(Coin, due)], signs=[Do], within=MINUTE)

    agreed.check(net_effect(tx, [ALICE.key]), AT)


def test_a_state_that_was_not_given_is_refused() -> None:
    tx = transaction((LAMP, LAMP))

    assert "which we do not give" in refused(Expected(gives=[at(0, LAMP).ref], within=FOREVER), tx)
    Expected(gives=[Thing], within=FOREVER).check(net_effect(tx, [ALICE.key]), AT)


def test_a_command_that_was_not_agreed_is_refused() -> None:
    tx = transaction(commands=(Command[object](Do(), (BOB.key, ALICE.key)),))

    assert "tests.Do, which is not agreed" in refused(Expected(within=FOREVER), tx)


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        ((), "nothing, not 3 USD"),
        ((coin(2),), "2 USD issued by O=Bank"),
        ((coin(4),), "right amount"),
        ((Coin(owner=ALICE.party, amount=Amount(3, "USD").issued_by(BOB.party)),), "by O=Bob"),
        ((Coin(owner=ALICE.party, amount=Amount(3, "USD").issued_by(BANK.party, b"x")),), "amount"),
        ((coin(3), coin(1, product="EUR")), "right amount"),
        ((state(coin(3), 1), state(coin(1, BOB.party), 0)), "nothing, not 3 USD"),
        ((coin(3), state(coin(1), 2), state(coin(1, BOB.party), 1)), "is encumbered"),
        ((coin(3), LAMP), "tests.Thing of ours, which is not agreed"),
    ],
)
def test_an_amount_comes_exactly_and_free_and_alone(
    outputs: tuple[ContractState, ...], reason: str
) -> None:
    due = Amount(3, "USD").issued_by(BANK.party)

    assert reason in refused(Expected(gets=[(Coin, due)], within=FOREVER), transaction((), outputs))


def test_amounts_of_one_token_are_added_up() -> None:
    one, two = (Amount(n, "USD").issued_by(BANK.party) for n in (1, 2))
    expected = Expected(gets=[(Coin, one), (Coin, two)], within=FOREVER)

    expected.check(net_effect(transaction((), (coin(3),)), [ALICE.key]), AT)
    assert "right amount" in refused(expected, transaction((), (coin(2),)))


def test_an_amount_of_nothing_needs_no_state() -> None:
    nothing = Amount(0, "USD").issued_by(BANK.party)

    Expected(gets=[(Coin, nothing)], within=FOREVER).check(
        net_effect(transaction(), [ALICE.key]), AT
    )


def test_states_of_a_class_that_was_named_may_come() -> None:
    tx = transaction((), (LAMP, LAMP))

    Expected(gets=[Thing], within=FOREVER).check(net_effect(tx, [ALICE.key]), AT)
    assert "not agreed" in refused(Expected(gets=[Coin], within=FOREVER), tx)


@pytest.mark.parametrize(
    "window",
    [None, TimeWindow.since(AT), TimeWindow(None, milliseconds(AT + MINUTE) + 1)],
    ids=["none", "without end", "too long"],
)
def test_a_signature_is_no_option_for_ever(window: TimeWindow | None) -> None:
    tx = transaction(window=window)

    with pytest.raises(WindowRejected, match="must end within 0:01:00"):
        Expected(within=MINUTE).check(net_effect(tx, [ALICE.key]), AT)
    Expected(within=FOREVER).check(net_effect(tx, [ALICE.key]), AT)
