"""Arguments and results of functions as bytes."""

from decimal import Decimal

from runtime.signatures import Arguments


def sell(buyer: str, price: int = 3, *, limit: Decimal | None = None) -> str:
    return f"{buyer} {price} {limit}"


def test_bound_values_survive_the_round_trip() -> None:
    arguments = Arguments(sell)

    values = arguments.bind(("bank",), {"limit": Decimal("1.5")})

    assert arguments.decode(arguments.encode(values)) == ("bank", 3, Decimal("1.5"))
    assert arguments.call(values) == "bank 3 1.5"
