"""Cash: claims on an issuer that can be merged, split and handed on.

Rules, for each issuer, reference and currency on its own:

    issue   nothing in, something out; the issuer signs
    move    as much out as in; every owner of an input signs
    exit    out = in - what the command names; the issuer and every owner of an input sign

and no amount is ever zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ledger.amounts import Amount, Issued
from ledger.builder import TransactionBuilder
from ledger.contracts import belongs_to, contract, require
from ledger.ledger_transaction import Command, InOut, LedgerTransaction
from ledger.states import FungibleState, StateAndRef
from ledger.stores.coins import CoinRequest
from runtime.codec import message, wire_name
from runtime.keys import PublicKey
from runtime.party import AbstractParty, Party


@message(name="finance.IssueCash")
class IssueCash:
    """Brings new cash into being."""


@message(name="finance.MoveCash")
class MoveCash:
    """Hands cash on, split and merged as needed."""


@message(name="finance.ExitCash")
class ExitCash:
    """Takes ``amount`` out of circulation: the issuer has paid it out."""

    amount: Amount


@contract(name="finance.Cash")
class CashContract:
    """Conservation of cash."""

    def verify(self, tx: LedgerTransaction) -> None:
        """Check every issuer's cash on its own."""
        said = _Commands.of(tx)
        for group in tx.group_states(CashState, lambda cash: cash.amount.token):
            _verify_group(said, group)


@belongs_to(CashContract)
@message(name="finance.CashState")
class CashState(FungibleState):
    """So much of somebody's money, in the hands of ``owner``."""

    def __post_init__(self) -> None:
        if not isinstance(self.amount.token, Issued):
            raise ValueError("cash is issued by somebody: use Amount.issued_by(issuer)")


CASH_STATE = wire_name(CashState)


def coin_request(
    amount: Amount, *, notary: Party | None = None, issuers: Sequence[AbstractParty] = ()
) -> CoinRequest:
    """Return what to lock in the vault to be able to pay ``amount``."""
    token = amount.token if isinstance(amount.token, Issued) else None
    return CoinRequest(CASH_STATE, amount.product, amount.quantity, tuple(issuers), notary, token)


def generate_issue(builder: TransactionBuilder, amount: Amount, *, owner: AbstractParty) -> None:
    """Add new cash; the issuer that ``amount`` names has to sign."""
    assert isinstance(amount.token, Issued)
    builder.add_output(CashState(owner=owner, amount=amount))
    builder.add_command(IssueCash(), amount.token.issuer_key)


def generate_spend(
    builder: TransactionBuilder,
    coins: Sequence[StateAndRef[CashState]],
    amount: Amount,
    *,
    to: AbstractParty,
    change_to: AbstractParty,
) -> tuple[PublicKey, ...]:
    """Add a payment of ``amount`` out of ``coins`` and the change; return the keys that must sign.

    ``amount`` may leave the issuer open; then there is an output for each issuer of the coins.
    """
    if isinstance(amount.token, Issued) and any(c.data.amount.token != amount.token for c in coins):
        raise ValueError(f"a payment of {amount} takes no other coins")
    left = amount.quantity
    for token, group in _by_token(coins).items():
        builder.add_input(*group)
        total = sum(coin.data.amount.quantity for coin in group)
        paid = min(left, total)
        left -= paid
        _add_output(builder, Amount(paid, token), to)
        _add_output(builder, Amount(total - paid, token), change_to)
    if left:
        raise ValueError(f"the coins are {left} short of {amount}")
    owners = tuple(dict.fromkeys(coin.data.owner.key for coin in coins))
    builder.add_command(MoveCash(), *owners)
    return owners


def generate_exit(
    builder: TransactionBuilder,
    coins: Sequence[StateAndRef[CashState]],
    amount: Amount,
    *,
    change_to: AbstractParty,
) -> tuple[PublicKey, ...]:
    """Add the exit of ``amount``, which names its issuer, and the change; return who must sign."""
    assert isinstance(amount.token, Issued)
    if any(coin.data.amount.token != amount.token for coin in coins):
        raise ValueError(f"an exit takes coins of {amount.token} only")
    builder.add_input(*coins)
    total = Amount.total((coin.data.amount for coin in coins), amount.token)
    _add_output(builder, total - amount, change_to)
    owners = dict.fromkeys(coin.data.owner.key for coin in coins)
    signers = tuple(dict.fromkeys((amount.token.issuer_key, *owners)))
    builder.add_command(ExitCash(amount), *signers)
    return signers


@dataclass(frozen=True)
class _Commands:
    """What the commands say, looked at once for all kinds of cash in the transaction."""

    issuers: frozenset[PublicKey]
    movers: frozenset[PublicKey]
    is_issue: bool
    is_move: bool
    exits: Mapping[Issued | str, Sequence[Command[ExitCash]]]

    @classmethod
    def of(cls, tx: LedgerTransaction) -> "_Commands":
        issues, moves = tx.commands_of(IssueCash), tx.commands_of(MoveCash)
        exits: dict[Issued | str, list[Command[ExitCash]]] = {}
        for command in tx.commands_of(ExitCash):
            exits.setdefault(command.data.amount.token, []).append(command)
        all_signers = [c.signers for c in moves] + [c.signers for c in tx.commands_of(ExitCash)]
        return cls(
            issuers=frozenset(key for command in issues for key in command.signers),
            movers=frozenset(key for signers in all_signers for key in signers),
            is_issue=bool(issues),
            is_move=bool(moves),
            exits=exits,
        )


def _verify_group(said: _Commands, group: InOut[CashState, Issued | str]) -> None:
    token = group.key
    assert isinstance(token, Issued)
    require(
        "no amount of cash may be zero",
        all(cash.amount for cash in (*group.inputs, *group.outputs)),
    )
    if not group.inputs:
        require("new cash needs an issue command", said.is_issue)
        require("the issuer must sign the issue of cash", token.issuer_key in said.issuers)
        return
    exits = said.exits.get(token, ())
    require("one exit of the same cash in a transaction", len(exits) <= 1)
    require("cash that goes in needs a move or exit command", exits or said.is_move)
    taken_out = exits[0].data.amount if exits else Amount.zero(token)
    if exits:
        require("an exit of nothing is none", taken_out)
        require("the issuer must sign the exit of cash", token.issuer_key in exits[0].signers)
    total_in = Amount.total((cash.amount for cash in group.inputs), token)
    total_out = Amount.total((cash.amount for cash in group.outputs), token)
    require("cash is neither made nor lost", total_in == total_out + taken_out)
    require(
        "every owner of cash that goes in must sign",
        {cash.owner.key for cash in group.inputs} <= said.movers,
    )


def _by_token(
    coins: Sequence[StateAndRef[CashState]],
) -> dict[Issued | str, list[StateAndRef[CashState]]]:
    groups: dict[Issued | str, list[StateAndRef[CashState]]] = {}
    for coin in coins:
        groups.setdefault(coin.data.amount.token, []).append(coin)
    return groups


def _add_output(builder: TransactionBuilder, amount: Amount, owner: AbstractParty) -> None:
    if amount:
        builder.add_output(CashState(owner=owner, amount=amount))
