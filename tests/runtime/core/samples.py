"""One of each event and envelope, for round trips and for the golden bytes."""

from typing import Final

from runtime.core.envelopes import Accept, Ack, AnyEnvelope, Data, End, Error, Gone, Open, Refuse
from runtime.core.events import (
    Accepted,
    AnyEvent,
    Clocked,
    Closed,
    DeadlineSet,
    Ended,
    Entered,
    Left,
    Opened,
    Origin,
    PeerRead,
    Received,
    Sent,
    SessionOver,
    Slept,
    Started,
    StepAttempted,
    StepIntended,
    Stepped,
    TimedOut,
)
from runtime.ids import ErrorId, PeerName, SessionId

OURS: Final = SessionId(b"o" * 16)
PEERS: Final = SessionId(b"p" * 16)
BOB: Final = PeerName("O=Bob,L=London,C=GB")
ERROR_ID: Final = ErrorId("0123456789abcdef")
TIME: Final = 1_767_225_600_000

ENVELOPES: Final[dict[str, AnyEnvelope]] = {
    "open": Open(OURS, "trade.sell", 3, "trade", "1.2", b"", "str", b"\xa2hi"),
    "open without payload": Open(OURS, "trade.sell", 3, "trade", "1.2", b"", "", b""),
    "open beside another": Open(OURS, "trade.sell", 3, "trade", "1.2", b"", "", b"", PEERS),
    "accept": Accept(PEERS, OURS, 3, "trade", "1.3"),
    "refuse": Refuse(PEERS, OURS, "trade.sell has no responder here", ERROR_ID),
    "data": Data(PEERS, 7, "str", b"\xa2hi"),
    "error": Error(PEERS, 8, None, ERROR_ID),
    "error with exception": Error(PEERS, 8, b"\x95packed", ERROR_ID),
    "end": End(PEERS, 9),
    "acknowledgement": Ack(PEERS, 9),
    "gone": Gone(PEERS, OURS, ERROR_ID),
    "gone without address": Gone(SessionId(b""), OURS, ERROR_ID),
}

_ORIGIN: Final = Origin(BOB, PEERS, "trade.sell", 3, "trade", "1.2")

EVENTS: Final[dict[str, AnyEvent]] = {
    "started": Started(TIME, "", "trade.sell", 3, b"\x91\x01", b"s" * 16, "anna", "order-17", None),
    "started for a peer": Started(TIME, "", "trade.buy", 3, b"", b"s" * 16, BOB, None, _ORIGIN),
    "stepped": Stepped(TIME, "", "trade.charge", b"\x91\x01", b"\xc0"),
    "stepped and failed": Stepped(TIME, "3/", "trade.charge", b"\x91\x01", b"\x95error", True),
    "step attempted": StepAttempted(TIME, "", "trade.charge", b"\x91\x01", 2, "down", TIME + 1000),
    "step intended": StepIntended(TIME, "", "trade.charge", b"\x91\x01"),
    "opened": Opened(TIME, "", 1, BOB, "trade.sell", 3),
    "sent": Sent(TIME, "", 1, 0, "str", b"\xa2hi"),
    "received": Received(TIME, "", 1, 1, b"envelope"),
    "accepted": Accepted(TIME, "", 1, PEERS, 3, "trade", "1.3"),
    "slept": Slept(TIME, "", TIME + 5000),
    "clocked": Clocked(TIME, ""),
    "deadline set": DeadlineSet(TIME, "", TIME + 5000),
    "timed out": TimedOut(TIME, "", TIME + 5000, "sleep"),
    "closed": Closed(TIME, "", 1),
    "closing refused": Closed(TIME, "", 1, True),
    "entered": Entered(TIME, "", "trade.pay", 1, b"\x91\x01"),
    "left": Left(TIME, "3/", "trade.pay", False),
    "left by an error": Left(TIME, "3/", "trade.pay", True, ERROR_ID),
    "ended": Ended(TIME, "", False, b"\xc0", None),
    "peer read": PeerRead(TIME, "", 1),
    "session over": SessionOver(TIME, "", 1, BOB, 4_096),
}
