"""Cash and commercial paper: what their contracts allow, and everything they refuse."""

from datetime import UTC, datetime, timedelta

import pytest

from ledger.amounts import Amount, Issued
from ledger.builder import TransactionBuilder
from ledger.states import StateAndRef, as_type
from ledger.testing import Draft, Ledger
from ledger.time_window import TimeWindow
from runtime.party import AbstractParty, AnonymousParty, Party
from samples.finance import cash, commercial_paper
from samples.finance.cash import CashState, ExitCash, IssueCash, MoveCash
from samples.finance.commercial_paper import (
    CommercialPaper,
    IssuePaper,
    MovePaper,
    RedeemPaper,
)
from tests.ledger.parties import ALICE, BANK, BOB, NOTARY, SALT

NOW = datetime(2030, 1, 1, tzinfo=UTC)
WINDOW = TimeWindow.with_tolerance(NOW, timedelta(seconds=30))


def usd(quantity: int) -> Amount:
    return Amount(quantity, "USD").issued_by(BANK.party)


def coin(quantity: int, owner: AbstractParty = ALICE.party) -> CashState:
    return CashState(owner=owner, amount=usd(quantity))


def draft() -> Draft:
    return Ledger(NOTARY.party).transaction()


# Cash


def test_cash_is_issued_with_the_issuers_signature_only() -> None:
    tx = draft()
    tx.output(coin(100))
    tx.fails_with("no command")
    with tx.tweak() as wrong:
        wrong.command(IssueCash(), ALICE.key)
        wrong.fails_with("the issuer must sign the issue")
    with tx.tweak() as wrong:
        wrong.command(MoveCash(), BANK.key)
        wrong.fails_with("needs an issue command")
    tx.command(IssueCash(), BANK.key)

    tx.verifies()


def test_cash_of_nothing_is_never_issued() -> None:
    tx = draft()
    tx.output(coin(0))
    tx.command(IssueCash(), BANK.key)

    tx.fails_with("may be zero")


def test_cash_without_issuer_is_none() -> None:
    with pytest.raises(ValueError, match="issued by somebody"):
        CashState(owner=ALICE.party, amount=Amount(1, "USD"))


def test_cash_moves_split_and_merged_if_all_owners_sign() -> None:
    tx = draft()
    tx.input(coin(70))
    tx.input(coin(30, BOB.party))
    tx.output(coin(95, BOB.party))
    tx.output(coin(5))
    with tx.tweak() as wrong:
        wrong.command(MoveCash(), ALICE.key)
        wrong.fails_with("every owner")
    with tx.tweak() as wrong:
        wrong.command(IssueCash(), BANK.key)
        wrong.fails_with("needs a move or exit")
    with tx.tweak() as wrong:
        wrong.command(MoveCash(), ALICE.key, BOB.key)
        wrong.output(coin(1))
        wrong.fails_with("neither made nor lost")
    with tx.tweak() as wrong:
        wrong.command(MoveCash(), ALICE.key, BOB.key)
        wrong.input(coin(1))
        wrong.fails_with("neither made nor lost")
    with tx.tweak() as wrong:
        wrong.command(MoveCash(), ALICE.key, BOB.key)
        wrong.output(coin(0))
        wrong.fails_with("may be zero")
    tx.command(MoveCash(), ALICE.key, BOB.key)

    tx.verifies()


def test_an_issue_command_does_not_cover_more_cash_of_one_that_moves() -> None:
    tx = draft()
    tx.input(coin(1))
    tx.output(coin(2))
    tx.command(IssueCash(), BANK.key)
    tx.command(MoveCash(), ALICE.key)

    tx.fails_with("neither made nor lost")


def test_cash_of_one_issuer_does_not_become_that_of_another() -> None:
    tx = draft()
    tx.input(coin(10))
    tx.output(CashState(owner=ALICE.party, amount=Amount(10, "USD").issued_by(BOB.party)))
    tx.command(MoveCash(), ALICE.key)

    tx.fails()


def test_currencies_and_references_are_conserved_on_their_own() -> None:
    other = Amount(10, Issued(BANK.party, b"\x02", "USD"))
    tx = draft()
    tx.input(coin(10))
    tx.input(CashState(owner=ALICE.party, amount=other))
    tx.output(coin(20))
    tx.command(MoveCash(), ALICE.key)

    tx.fails_with("neither made nor lost")


def test_cash_exits_with_the_signatures_of_issuer_and_owners() -> None:
    tx = draft()
    tx.input(coin(100))
    tx.output(coin(60))
    with tx.tweak() as wrong:
        wrong.command(ExitCash(usd(40)), ALICE.key)
        wrong.fails_with("the issuer must sign the exit")
    with tx.tweak() as wrong:
        wrong.command(ExitCash(usd(40)), BANK.key)
        wrong.fails_with("every owner")
    with tx.tweak() as wrong:
        wrong.command(ExitCash(usd(39)), BANK.key, ALICE.key)
        wrong.fails_with("neither made nor lost")
    with tx.tweak() as wrong:
        wrong.command(ExitCash(usd(40)), BANK.key, ALICE.key)
        wrong.command(ExitCash(usd(1)), BANK.key, ALICE.key)
        wrong.fails_with("one exit")
    tx.command(ExitCash(usd(40)), BANK.key, ALICE.key)

    tx.verifies()


def test_an_exit_of_nothing_is_refused() -> None:
    tx = draft()
    tx.input(coin(1))
    tx.output(coin(1))
    tx.command(ExitCash(usd(0)), BANK.key, ALICE.key)

    tx.fails_with("exit of nothing")


def test_an_exit_may_leave_nothing() -> None:
    tx = draft()
    tx.input(coin(40))
    tx.command(ExitCash(usd(40)), BANK.key, ALICE.key)

    tx.verifies()


def coins(ledger: Ledger, *states: CashState) -> list[StateAndRef[CashState]]:
    return [as_type(ledger.issue(state), CashState) for state in states]


def verified(ledger: Ledger, builder: TransactionBuilder) -> list[CashState]:
    tx = ledger.transaction()
    for state in builder.inputs:
        tx.input(state)
    wire = builder.to_wire(SALT)
    for output in wire.outputs:
        tx.output(output.data)
    for command in wire.commands:
        tx.command(command.data, *command.signers)
    if builder.time_window:
        tx.time_window(builder.time_window)
    tx.verifies()
    return [state.data for state in wire.outputs if isinstance(state.data, CashState)]


def test_a_spend_pays_exactly_and_returns_the_change() -> None:
    ledger, builder = Ledger(NOTARY.party), TransactionBuilder(NOTARY.party)
    change_to = ALICE.one_time(1)

    signers = cash.generate_spend(
        builder,
        coins(ledger, coin(60), coin(50, ALICE.one_time(2))),
        Amount(95, "USD"),
        to=BOB.party,
        change_to=change_to,
    )

    assert verified(ledger, builder) == [coin(95, BOB.party), coin(15, change_to)]
    assert signers == (ALICE.key, ALICE.one_time(2).key)


def test_a_spend_of_everything_leaves_no_change() -> None:
    ledger, builder = Ledger(NOTARY.party), TransactionBuilder(NOTARY.party)

    cash.generate_spend(
        builder, coins(ledger, coin(95)), usd(95), to=BOB.party, change_to=ALICE.party
    )

    assert verified(ledger, builder) == [coin(95, BOB.party)]


def test_a_spend_of_coins_of_two_issuers_keeps_them_apart() -> None:
    ledger, builder = Ledger(NOTARY.party), TransactionBuilder(NOTARY.party)
    foreign = CashState(owner=ALICE.party, amount=Amount(50, "USD").issued_by(BOB.party))

    cash.generate_spend(
        builder,
        coins(ledger, coin(50), foreign),
        Amount(70, "USD"),
        to=BOB.party,
        change_to=ALICE.party,
    )

    outputs = verified(ledger, builder)
    paid = dict.fromkeys((ALICE.party, BOB.party), 0)
    for state in outputs:
        assert isinstance(state, CashState)
        assert isinstance(state.owner, Party)
        paid[state.owner] += state.amount.quantity
    assert paid == {BOB.party: 70, ALICE.party: 30}


def test_a_payment_in_claims_on_one_issuer_takes_no_others() -> None:
    ledger = Ledger(NOTARY.party)
    foreign = CashState(owner=ALICE.party, amount=Amount(50, "USD").issued_by(BOB.party))

    with pytest.raises(ValueError, match="takes no other coins"):
        cash.generate_spend(
            TransactionBuilder(NOTARY.party),
            coins(ledger, coin(50), foreign),
            usd(70),
            to=BOB.party,
            change_to=ALICE.party,
        )


def test_a_spend_of_too_few_coins_is_refused() -> None:
    ledger, builder = Ledger(NOTARY.party), TransactionBuilder(NOTARY.party)

    with pytest.raises(ValueError, match="5 short"):
        cash.generate_spend(
            builder, coins(ledger, coin(90)), usd(95), to=BOB.party, change_to=ALICE.party
        )


def test_issue_and_exit_are_generated_as_the_contract_wants_them() -> None:
    ledger = Ledger(NOTARY.party)
    issue, leave = TransactionBuilder(NOTARY.party), TransactionBuilder(NOTARY.party)

    cash.generate_issue(issue, usd(100), owner=ALICE.party)
    signers = cash.generate_exit(leave, coins(ledger, coin(100)), usd(30), change_to=ALICE.party)

    assert verified(ledger, issue) == [coin(100)]
    assert verified(ledger, leave) == [coin(70)]
    assert signers == (BANK.key, ALICE.key)


def test_an_exit_takes_coins_of_its_issuer_only() -> None:
    ledger = Ledger(NOTARY.party)
    foreign = CashState(owner=ALICE.party, amount=Amount(50, "USD").issued_by(BOB.party))

    with pytest.raises(ValueError, match="only"):
        cash.generate_exit(
            TransactionBuilder(NOTARY.party),
            coins(ledger, foreign),
            usd(30),
            change_to=ALICE.party,
        )


def test_a_request_for_coins_says_what_to_lock() -> None:
    of_any = cash.coin_request(Amount(5, "USD"), notary=NOTARY.party)
    of_bank = cash.coin_request(usd(5))

    assert (of_any.issuers, of_any.notary, of_any.quantity) == ((), NOTARY.party, 5)
    assert of_bank.token == usd(5).token
    assert of_bank.state_type == "finance.CashState"


# Commercial paper


def paper(
    owner: AbstractParty = ALICE.party,
    maturity: datetime = NOW + timedelta(days=30),
    face_value: Amount | None = None,
    reference: bytes = b"1",
) -> CommercialPaper:
    return CommercialPaper(
        owner=owner,
        issuer=BANK.party,
        reference=reference,
        face_value=usd(100) if face_value is None else face_value,
        maturity=maturity,
    )


def test_paper_is_issued_by_its_issuer_before_it_matures() -> None:
    tx = draft()
    tx.output(paper())
    with tx.tweak() as wrong:
        wrong.command(IssuePaper(), BANK.key)
        wrong.fails_with("needs a time window")
    with tx.tweak() as wrong:
        wrong.command(IssuePaper(), BANK.key)
        wrong.time_window(TimeWindow.since(NOW))
        wrong.fails_with("with an end")
    tx.time_window(WINDOW)
    with tx.tweak() as wrong:
        wrong.command(IssuePaper(), ALICE.key)
        wrong.fails_with("the issuer must sign")
    with tx.tweak() as wrong:
        wrong.command(IssuePaper(), BANK.key)
        wrong.output(paper(BOB.party))
        wrong.fails_with("one paper of its kind")
    tx.command(IssuePaper(), BANK.key)
    with tx.tweak() as wrong:
        wrong.input(paper())
        wrong.fails_with("consumes no paper")
    with tx.tweak() as wrong:
        wrong.command(MovePaper(), BANK.key)
        wrong.fails_with("one command")

    tx.verifies()


def test_paper_worth_nothing_or_matured_is_not_issued() -> None:
    for wrong, reason in (
        (paper(face_value=usd(0)), "more than nothing"),
        (paper(maturity=NOW), "matures after its issue"),
    ):
        tx = draft()
        tx.output(wrong)
        tx.time_window(WINDOW)
        tx.command(IssuePaper(), BANK.key)

        tx.fails_with(reason)


def test_a_paper_states_its_time_zone_and_whose_money_it_promises() -> None:
    with pytest.raises(ValueError, match="time zone"):
        paper(maturity=datetime(2030, 1, 1))
    with pytest.raises(ValueError, match="issued by somebody"):
        paper(face_value=Amount(1, "USD"))


def test_paper_moves_with_nothing_changed_but_the_owner() -> None:
    tx = draft()
    tx.input(paper())
    with tx.tweak() as wrong:
        wrong.command(MovePaper(), ALICE.key)
        wrong.fails_with("nothing but the owner")
    with tx.tweak() as wrong:
        wrong.output(paper(BOB.party, face_value=usd(1_000)))
        wrong.command(MovePaper(), ALICE.key)
        wrong.fails_with("nothing but the owner")
    tx.output(paper(BOB.party))
    with tx.tweak() as wrong:
        wrong.command(MovePaper(), BOB.key)
        wrong.fails_with("the owner must sign")
    with tx.tweak() as wrong:
        wrong.output(paper(BOB.party))
        wrong.command(MovePaper(), ALICE.key)
        wrong.fails_with("nothing but the owner")
    tx.command(MovePaper(), ALICE.key)

    tx.verifies()


def redemption(*, cash_out: int, window: TimeWindow, maturity: datetime = NOW) -> Draft:
    tx = draft()
    tx.input(paper(maturity=maturity))
    tx.input(coin(150, BANK.party))
    tx.output(coin(cash_out))
    tx.output(coin(150 - cash_out, BANK.party))
    tx.command(MoveCash(), BANK.key)
    tx.time_window(window)
    return tx


def test_paper_is_redeemed_for_its_face_value_after_it_matured() -> None:
    after = TimeWindow.since(NOW)
    tx = redemption(cash_out=100, window=after)
    with tx.tweak() as wrong:
        wrong.command(RedeemPaper(), BANK.key)
        wrong.fails_with("the owner must sign the redemption")
    with tx.tweak() as wrong:
        wrong.output(paper(maturity=NOW))
        wrong.command(RedeemPaper(), ALICE.key)
        wrong.fails_with("makes no paper")
    tx.command(RedeemPaper(), ALICE.key)

    tx.verifies()


def test_paper_is_not_redeemed_early_or_for_less() -> None:
    for wrong, reason in (
        (redemption(cash_out=99, window=TimeWindow.since(NOW)), "face value in cash"),
        (redemption(cash_out=100, window=TimeWindow.until(NOW)), "with a beginning"),
        (
            redemption(
                cash_out=100, window=TimeWindow.since(NOW), maturity=NOW + timedelta(days=1)
            ),
            "after it matured",
        ),
    ):
        wrong.command(RedeemPaper(), ALICE.key)

        wrong.fails_with(reason)


def test_a_redemption_makes_no_paper_out_of_nothing() -> None:
    tx = draft()
    tx.output(paper())
    tx.time_window(WINDOW)
    tx.command(RedeemPaper(), ALICE.key)

    tx.fails_with("consumes one paper")


def test_two_papers_are_not_redeemed_for_the_cash_of_one() -> None:
    tx = redemption(cash_out=100, window=TimeWindow.since(NOW))
    tx.input(paper(maturity=NOW, reference=b"2"))
    tx.command(RedeemPaper(), ALICE.key)

    tx.fails_with("face value in cash")


def test_an_owner_is_not_paid_with_its_own_cash() -> None:
    tx = draft()
    tx.input(paper(maturity=NOW))
    tx.input(coin(100))
    tx.output(coin(100))
    tx.time_window(TimeWindow.since(NOW))
    tx.command(MoveCash(), ALICE.key)
    tx.command(RedeemPaper(), ALICE.key)

    tx.fails_with("face value in cash")


def test_cash_that_the_owner_pays_on_does_not_count_as_received() -> None:
    tx = draft()
    tx.input(paper(maturity=NOW))
    tx.input(coin(100))
    tx.output(coin(100, BOB.party))
    tx.time_window(TimeWindow.since(NOW))
    tx.command(MoveCash(), ALICE.key)
    tx.command(RedeemPaper(), ALICE.key)

    tx.fails_with("face value in cash")


def test_paper_is_generated_as_the_contract_wants_it() -> None:
    ledger = Ledger(NOTARY.party)
    issue = TransactionBuilder(NOTARY.party)
    issue.time_window = WINDOW
    move = TransactionBuilder(NOTARY.party)
    redeem = TransactionBuilder(NOTARY.party)
    redeem.time_window = TimeWindow.since(NOW)
    buyer = AnonymousParty(BOB.one_time(1).key)

    commercial_paper.generate_issue(issue, paper())
    held = as_type(ledger.issue(paper()), CommercialPaper)
    commercial_paper.generate_move(move, held, to=buyer)
    due = as_type(ledger.issue(paper(maturity=NOW)), CommercialPaper)
    signers = commercial_paper.generate_redeem(
        redeem, due, coins(ledger, coin(150, BANK.party)), change_to=BANK.party
    )

    verified(ledger, issue)
    verified(ledger, move)
    assert verified(ledger, redeem) == [coin(100), coin(50, BANK.party)]
    assert move.outputs[0].data == paper(buyer)
    assert signers == (BANK.key,)


def test_the_vault_can_find_paper_by_its_terms() -> None:
    assert paper().columns() == {
        "face_value": 100,
        "currency": "USD",
        "maturity": 1_896_048_000_000,
        "issuer": "O=Bank,L=New York,C=US",
    }
