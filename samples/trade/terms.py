"""What the two sides of a trade say to each other, and what the buyer is willing to do."""

from ledger.amounts import Amount
from ledger.identity import OneTimeIdentity
from runtime import FlowException, Party, message


@message(name="trade.TradeInfo")
class TradeInfo:
    """The seller's terms: the price, whom to pay, and whether both sides stay anonymous."""

    price: Amount
    payee: Party | OneTimeIdentity
    is_anonymous: bool


@message(name="trade.Terms")
class Terms:
    """What a buying node accepts: the class of asset by wire name, and the highest price.

    ``pause_seconds`` is how long both sides sleep, durably, at each of their steps, so that
    somebody can watch.
    """

    asset_type: str = "finance.CommercialPaper"
    price_max: Amount = Amount(10_000, "USD")
    pause_seconds: float = 0.0


class UnacceptablePrice(FlowException):
    """The seller asks for more than the buyer will or can pay; it does not say which."""

    def __init__(self, price: Amount) -> None:
        super().__init__(price)
        self.price = price

    def __str__(self) -> str:
        return f"{self.price} is more than the buyer will or can pay"


class AssetMismatch(FlowException):
    """The seller offers something else than the buyer wants."""

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(expected, actual)
        self.expected = expected
        self.actual = actual

    def __str__(self) -> str:
        return f"the buyer wants a {self.expected}, not a {self.actual}"


class NotTheSellers(FlowException):
    """What is offered, or who is to be paid, is not the seller's."""
