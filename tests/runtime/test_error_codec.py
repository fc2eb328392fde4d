"""Errors survive the way to a peer and into the journal."""

from runtime.error_codec import decode_error, encode_error, pack_error, unpack_error
from runtime.errors import FlowException


class TooExpensive(FlowException):
    def __init__(self, price: int) -> None:
        super().__init__(price)
        self.price = price


def test_a_flow_exception_crosses_with_its_class_and_fields() -> None:
    arrived = unpack_error(pack_error(TooExpensive(7)), peer="O=Bank")

    assert isinstance(arrived, TooExpensive)
    assert arrived.price == 7
    assert arrived.peer == "O=Bank"


def test_a_builtin_exception_is_kept_as_an_outcome() -> None:
    arrived = decode_error(encode_error(ValueError("no", 3)))

    assert type(arrived) is ValueError
    assert arrived.args == ("no", 3)
