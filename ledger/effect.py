"""What a transaction does to us, and whether that is what we expect of it.

``net_effect`` says it in four lists: what of ours goes, what comes to us, what we would sign for,
what else is touched; and until when it can still happen. `Expected` refuses whatever goes beyond
what the caller has named, so a proposal can't slip anything in beside what was agreed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ledger.amounts import Amount, Issued
from ledger.errors import ProposalRejected, WindowRejected
from ledger.ledger_transaction import Command, LedgerTransaction
from ledger.states import ContractState, FungibleState, StateAndRef, StateRef, parties_in
from ledger.time_window import milliseconds
from runtime.codec import wire_name
from runtime.keys import PublicKey

FOREVER: Final = timedelta.max
"""For `Expected.within`: we accept that the proposer may have it notarised whenever it likes."""

Gain = type[ContractState] | tuple[type[FungibleState], Amount]
"""What may come to us: any states of a class, or exactly an amount in unencumbered states of one.

The amount names its issuer, where there is one.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetEffect:
    """What a transaction does to those whose keys were asked about."""

    gives: tuple[StateAndRef[ContractState], ...]
    """The states of ours that it consumes."""

    gets: tuple[StateAndRef[ContractState], ...]
    """The states that it makes and that are ours: we own them or take part in them."""

    signs: tuple[Command[object], ...]
    """The commands that ask for a signature of ours."""

    others: tuple[StateAndRef[ContractState], ...]
    """What else it consumes or makes."""

    reads: tuple[StateAndRef[ContractState], ...]
    """What it only refers to."""

    until_ms: int | None
    """When its time window ends, so that it can't be notarised any more; None if never."""

    def received(self, kind: type[FungibleState]) -> Mapping[Issued | str, int]:
        """Return how much comes to us in unencumbered states of ``kind``, by token and issuer."""
        totals: dict[Issued | str, int] = {}
        for each in self.gets:
            data = each.data
            if type(data) is kind and each.state.encumbrance is None:
                totals[data.amount.token] = totals.get(data.amount.token, 0) + data.amount.quantity
        return totals


def net_effect(transaction: LedgerTransaction, us: Collection[PublicKey]) -> NetEffect:
    """Return what ``transaction`` does to the holder of the keys ``us``."""
    keys = frozenset(us)
    outputs = [transaction.output_ref(index) for index in range(len(transaction.outputs))]
    window = transaction.time_window
    return NetEffect(
        gives=tuple(state for state in transaction.inputs if _concerns(state, keys)),
        gets=tuple(state for state in outputs if _concerns(state, keys)),
        signs=tuple(c for c in transaction.commands if not keys.isdisjoint(c.signers)),
        others=tuple(
            state for state in (*transaction.inputs, *outputs) if not _concerns(state, keys)
        ),
        reads=transaction.references,
        until_ms=None if window is None else window.until_ms,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """All that a transaction may do to us. What is not named is refused.

    Whoever names a class instead of a state or an amount has to look at what is in these states.

    ``within``: so long after we sign, the time window must have ended. Without a window, whoever
    has our signature could wait for as long as the deal becomes better for them.
    """

    within: timedelta
    gives: Collection[StateRef | type[ContractState]] = ()
    gets: Sequence[Gain] = ()
    signs: Collection[type] = ()

    def check(self, effect: NetEffect, at: datetime) -> None:
        """Return if ``effect``, signed at ``at``, is what was named; else `ProposalRejected`."""
        self._check_end(effect, at)
        for state in effect.gives:
            if state.ref not in self.gives and type(state.data) not in self.gives:
                raise ProposalRejected(f"it consumes {state.ref} of ours, which we do not give")
        for command in effect.signs:
            if type(command.data) not in self.signs:
                name = wire_name(type(command.data))
                raise ProposalRejected(f"it wants us to sign {name}, which is not agreed")
        self._check_gains(effect)

    def _check_end(self, effect: NetEffect, at: datetime) -> None:
        if self.within == FOREVER:
            return
        if effect.until_ms is None or effect.until_ms > milliseconds(at + self.within):
            raise WindowRejected(f"its time window must end within {self.within}")

    def _check_gains(self, effect: NetEffect) -> None:
        classes = {gain for gain in self.gets if isinstance(gain, type)}
        amounts = [gain for gain in self.gets if isinstance(gain, tuple)]
        owed: dict[type[FungibleState], dict[Issued | str, int]] = {}
        for kind, amount in amounts:
            of_kind = owed.setdefault(kind, {})
            of_kind[amount.token] = of_kind.get(amount.token, 0) + amount.quantity
        for kind, totals in owed.items():
            received = effect.received(kind)
            if received != {token: quantity for token, quantity in totals.items() if quantity}:
                got = (
                    ", ".join(f"{count} {token}" for token, count in received.items()) or "nothing"
                )
                due = ", ".join(f"{count} {token}" for token, count in totals.items())
                raise ProposalRejected(
                    f"it is not sending us the right amount of {wire_name(kind)}: {got}, not {due}"
                )
        for state in effect.gets:
            _check_gain(state, classes, owed)


def _check_gain(
    state: StateAndRef[ContractState],
    classes: Collection[type],
    owed: Collection[type[FungibleState]],
) -> None:
    kind = type(state.data)
    if kind in classes:
        return
    if kind not in owed:
        raise ProposalRejected(f"it makes a {wire_name(kind)} of ours, which is not agreed")
    if state.state.encumbrance is not None:
        raise ProposalRejected(f"it brings us a {wire_name(kind)} that is encumbered")


def _concerns(state: StateAndRef[ContractState], keys: frozenset[PublicKey]) -> bool:
    return not keys.isdisjoint(party.key for party in parties_in(state.data))
