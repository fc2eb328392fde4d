"""Identities and a contract of little meaning that the ledger's tests share."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from ledger.contracts import belongs_to, contract, require
from ledger.ledger_transaction import LedgerTransaction
from ledger.states import (
    ColumnValue,
    FungibleState,
    LinearId,
    LinearState,
    OwnableState,
)
from ledger.testing import TestIdentity
from runtime.codec import message
from runtime.party import AbstractParty

NOTARY = TestIdentity("O=Notary,L=Zurich,C=CH")
OTHER_NOTARY = TestIdentity("O=Other Notary,L=Zurich,C=CH")
ALICE = TestIdentity("O=Alice,L=London,C=GB")
BOB = TestIdentity("O=Bob,L=Paris,C=FR")
BANK = TestIdentity("O=Bank,L=New York,C=US")

SALT = b"s" * 32


@contract(name="tests.Things")
class Things:
    """Everything goes, except what is called forbidden or makes it stumble."""

    def verify(self, tx: LedgerTransaction) -> None:
        for thing in tx.outputs_of(Thing):
            require("nothing may be called forbidden", thing.name != "forbidden")
            if thing.name == "stumble":
                raise KeyError("a bug of the contract")


@belongs_to(Things)
@message(name="tests.Thing")
class Thing(OwnableState):
    name: str

    def columns(self) -> Mapping[str, ColumnValue]:
        return {"name": self.name, "length": len(self.name)}


@belongs_to(Things)
@message(name="tests.Coin")
class Coin(FungibleState):
    pass


@belongs_to(Things)
@message(name="tests.Deal")
class Deal(LinearState):
    parties: tuple[AbstractParty, ...]
    note: str = ""

    @property
    def participants(self) -> Sequence[AbstractParty]:
        return self.parties


@message(name="tests.Lonely")
class Lonely(OwnableState):
    """A state that belongs to no contract."""


@message(name="tests.Do")
class Do:
    what: str = "something"


def linear_id(number: int) -> LinearId:
    return LinearId(UUID(int=number))
