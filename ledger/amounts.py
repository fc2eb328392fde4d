"""Amount and Issued: money and goods as whole numbers of the smallest unit, never fractions.

Arithmetic refuses to mix tokens, to go below zero and to leave 64 bits, so that a sum that a
contract compares is always the sum that was meant.
"""

from collections.abc import Iterable
from typing import Final

from runtime.codec import message
from runtime.keys import PublicKey
from runtime.party import AbstractParty

# Signed 64 bits: what every database and every peer in another language can hold.
QUANTITY_MAX: Final = (1 << 63) - 1

ISSUER_REFERENCE_BYTES_MAX: Final = 512


@message(name="ledger.Issued")
class Issued:
    """A product as a claim on who issued it: two issuers' dollars are not the same thing.

    ``reference`` is the issuer's own name for the deposit, opaque to everybody else.
    """

    issuer: AbstractParty
    reference: bytes
    product: str

    def __post_init__(self) -> None:
        if len(self.reference) > ISSUER_REFERENCE_BYTES_MAX:
            raise ValueError(
                f"an issuer's reference has at most {ISSUER_REFERENCE_BYTES_MAX} bytes"
            )

    @property
    def issuer_key(self) -> PublicKey:
        """Return the key that must sign an issue and an exit."""
        return self.issuer.key

    def __str__(self) -> str:
        return f"{self.product} issued by {self.issuer}"


@message(name="ledger.Amount")
class Amount:
    """So many of the smallest units of a token: a plain currency code, or an issued one."""

    quantity: int
    token: Issued | str

    def __post_init__(self) -> None:
        if not 0 <= self.quantity <= QUANTITY_MAX:
            raise ValueError(f"a quantity is from 0 to {QUANTITY_MAX}, not {self.quantity}")

    @classmethod
    def zero(cls, token: Issued | str) -> "Amount":
        """Return nothing of ``token``."""
        return cls(0, token)

    @classmethod
    def total(cls, amounts: "Iterable[Amount]", token: Issued | str) -> "Amount":
        """Return the sum of ``amounts``, each of which must be of ``token``."""
        total = cls.zero(token)
        for amount in amounts:
            total = total + amount
        return total

    @property
    def product(self) -> str:
        """Return what it is an amount of, whoever issued it."""
        return self.token.product if isinstance(self.token, Issued) else self.token

    def without_issuer(self) -> "Amount":
        """Return the same quantity of the bare product."""
        return Amount(self.quantity, self.product)

    def issued_by(self, issuer: AbstractParty, reference: bytes = b"\x01") -> "Amount":
        """Return the same quantity as a claim on ``issuer``."""
        return Amount(self.quantity, Issued(issuer, reference, self.product))

    def __add__(self, other: "Amount") -> "Amount":
        self._check_same_token(other)
        return Amount(self.quantity + other.quantity, self.token)

    def __sub__(self, other: "Amount") -> "Amount":
        self._check_same_token(other)
        return Amount(self.quantity - other.quantity, self.token)

    def __mul__(self, factor: int) -> "Amount":
        return Amount(self.quantity * factor, self.token)

    def __lt__(self, other: "Amount") -> bool:
        self._check_same_token(other)
        return self.quantity < other.quantity

    def __le__(self, other: "Amount") -> bool:
        return not other < self

    def __gt__(self, other: "Amount") -> bool:
        return other < self

    def __ge__(self, other: "Amount") -> bool:
        return not self < other

    def __bool__(self) -> bool:
        return self.quantity > 0

    def split(self, parts: int) -> "list[Amount]":
        """Return ``parts`` amounts that differ by one unit at most and sum up to this one."""
        if parts < 1:
            raise ValueError(f"can't split into {parts} parts")
        share, rest = divmod(self.quantity, parts)
        return [Amount(share + (1 if part < rest else 0), self.token) for part in range(parts)]

    def __str__(self) -> str:
        return f"{self.quantity} {self.token}"

    def _check_same_token(self, other: "Amount") -> None:
        if self.token != other.token:
            raise ValueError(f"{self} and {other} are not of the same token")
