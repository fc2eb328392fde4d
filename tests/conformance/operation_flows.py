"""The flows that the operations of nodes with an engine are tested with."""

from runtime import FlowException, HoldForOperator, flow, sleep


class TooExpensive(FlowException):
    """We don't pay that."""


tries: dict[str, int] = {}


@flow
def add(left: int, right: int) -> int:
    return left + right


@flow
def refuse(price: int) -> None:
    raise TooExpensive(price)


@flow
def wait() -> None:
    sleep(1_000_000)


@flow
def hold() -> str:
    """Be broken, until somebody tries again."""
    tries["hold"] = tries.get("hold", 0) + 1
    if tries["hold"] == 1:
        raise HoldForOperator("broken")
    return "repaired"
