"""TimeWindow: when a notary may put its time stamp to a transaction.

``[from_ms, until_ms)`` in milliseconds since 1970 UTC; an end may be open, not both.
"""

from datetime import datetime, timedelta

from runtime.codec import message


@message(name="ledger.TimeWindow")
class TimeWindow:
    """The notary signs only while its clock is inside ``[from_ms, until_ms)``."""

    from_ms: int | None = None
    until_ms: int | None = None

    def __post_init__(self) -> None:
        if self.from_ms is None and self.until_ms is None:
            raise ValueError("a time window needs a beginning or an end")
        if self.from_ms is not None and self.until_ms is not None and self.from_ms >= self.until_ms:
            raise ValueError(f"a time window ends after it begins, not {self}")

    @classmethod
    def between(cls, start: datetime, end: datetime) -> "TimeWindow":
        """Return the window that begins with ``start`` and ends before ``end``."""
        return cls(milliseconds(start), milliseconds(end))

    @classmethod
    def since(cls, start: datetime) -> "TimeWindow":
        """Return the window that begins with ``start`` and never ends."""
        return cls(milliseconds(start), None)

    @classmethod
    def until(cls, end: datetime) -> "TimeWindow":
        """Return the window that ends before ``end``."""
        return cls(None, milliseconds(end))

    @classmethod
    def with_tolerance(cls, time: datetime, tolerance: timedelta) -> "TimeWindow":
        """Return the window that reaches ``tolerance`` to both sides of ``time``."""
        return cls.between(time - tolerance, time + tolerance)

    def contains_ms(self, time_ms: int) -> bool:
        """Tell whether ``time_ms`` is inside."""
        begun = self.from_ms is None or self.from_ms <= time_ms
        ended = self.until_ms is not None and self.until_ms <= time_ms
        return begun and not ended

    def __str__(self) -> str:
        return f"[{self.from_ms}, {self.until_ms}) ms"


def milliseconds(time: datetime) -> int:
    """Return milliseconds since 1970 UTC, rounded down; ``time`` must know its time zone."""
    if time.tzinfo is None:
        raise ValueError(f"{time} has no time zone; use datetime.now(UTC) or a flow's now()")
    return (time - _EPOCH) // timedelta(milliseconds=1)


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
