"""Contracts: pure functions that judge a transaction, found by their name.

    @contract(name="acme.Bond")
    class BondContract:
        def verify(self, tx: LedgerTransaction) -> None:
            require("a bond has one owner", ...)

    @belongs_to(BondContract)
    @message
    class Bond(OwnableState): ...

A contract sees a `LedgerTransaction` and nothing else: no clock, no store, no randomness. Every
party and every validating notary runs it and must come to the same verdict.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from ledger.errors import ContractRejected
from ledger.ledger_transaction import LedgerTransaction
from ledger.states import ContractState
from runtime.errors import MisuseError


class Contract(Protocol):
    """What a contract class has to have; it is built without arguments."""

    def verify(self, tx: LedgerTransaction) -> None:
        """Return if ``tx`` keeps the contract's rules; raise `ContractRejected` otherwise."""


C = TypeVar("C", bound=type[Contract])
S = TypeVar("S", bound=type[ContractState])

_contracts: dict[str, Contract] = {}
_names: dict[type, str] = {}
_contract_of_state: dict[type, str] = {}


def contract(*, name: str) -> Callable[[C], C]:
    """Register a class as the contract of that name. The name stands in every state for ever."""

    def register(cls: C) -> C:
        known = _contracts.get(name)
        if known is not None and not _is_same_class(type(known), cls):
            raise MisuseError(f"two contracts are called {name!r}: {type(known)} and {cls}")
        _contracts[name] = cls()
        _names[cls] = name
        return cls

    return register


def belongs_to(owner: type[Contract] | str) -> Callable[[S], S]:
    """Say which contract, by class or by name, governs a state class and those derived from it."""
    name = owner if isinstance(owner, str) else _names.get(owner)
    if name is None:
        raise MisuseError(f"{owner} is no contract; mark it with @contract(name=...)")

    def register(cls: S) -> S:
        _contract_of_state[cls] = name
        return cls

    return register


def contract_named(name: str) -> Contract | None:
    """Return the contract installed under ``name``."""
    return _contracts.get(name)


def contract_of(state: type[ContractState]) -> str:
    """Return the name of the contract that a state class belongs to."""
    for cls in state.__mro__:
        if cls in _contract_of_state:
            return _contract_of_state[cls]
    raise MisuseError(f"{state} has no contract; mark it with @belongs_to(...)")


def require(message: str, condition: object) -> None:
    """Reject the transaction, saying ``message``, unless ``condition`` is true."""
    if not condition:
        raise ContractRejected(message)


def _is_same_class(known: type, cls: type) -> bool:
    # A module that is loaded again brings the same contract once more.
    return (known.__module__, known.__qualname__) == (cls.__module__, cls.__qualname__)
