"""What is kept of flows beside their journals: results, holds, client ids.

    space client_ids   key: client id (UTF-8)          value: msgpack array, see `Client`
                       if that is too long for a key: 0xff | its BLAKE2b-256
    space results      key: flow id (16 bytes)         value: msgpack array, see `Result`
    space held         key: flow id (16 bytes)         value: msgpack array, see `Held`

A client id and a result go when they are forgotten, a hold when the flow is retried or ends.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

import msgspec

from runtime import checks
from runtime.engine.error_ids import words_of
from runtime.engine.status import COMPLETED
from runtime.errors import ClientIdInvalid, SennitError
from runtime.ids import ErrorId
from runtime.limits import CLIENT_ID_CHARACTERS_MAX
from runtime.outcome_codec import decode_flow_error
from runtime.ports import KEY_BYTES_MAX, Space

CLIENT_IDS: Final = Space("client_ids")
RESULTS: Final = Space("results")
HELD: Final = Space("held")


class Result(msgspec.Struct, array_like=True, frozen=True):
    """How a flow ended: its encoded result, or the packed error if its status is not completed."""

    flow: str
    version: int
    user: str
    client_id: str | None
    started: int
    ended: int
    status: str
    outcome: bytes
    error_id: ErrorId | None

    @property
    def failed(self) -> bool:
        """Whether it ended with an error."""
        return self.status != COMPLETED

    def words(self) -> str:
        """Return how it failed, in words; nothing if it did not."""
        if not self.failed:
            return ""
        try:
            return words_of(decode_flow_error(self.outcome))
        except SennitError as unreadable:
            return words_of(unreadable)


class Held(msgspec.Struct, array_like=True, frozen=True):
    """Why a flow is held. ``is_by_code`` if other code may cure it: it is tried at each start."""

    reason: str
    error: str
    error_id: ErrorId
    since: int
    is_by_code: bool


encode_row: Final = msgspec.msgpack.Encoder().encode
result_decoder: Final[msgspec.msgpack.Decoder[Result]] = msgspec.msgpack.Decoder(Result)
held_decoder: Final[msgspec.msgpack.Decoder[Held]] = msgspec.msgpack.Decoder(Held)


class Client(msgspec.Struct, array_like=True, frozen=True):
    """Whose a client id is, and which flow it stands for: its id, and what was asked for.

    ``arguments`` tells them from others, see `runtime.signatures.Arguments.identity`. It stays when
    the flow has ended, so that a repeat with others is known as one.
    """

    flow: bytes
    user: str
    name: str
    arguments: bytes


client_decoder: Final[msgspec.msgpack.Decoder[Client]] = msgspec.msgpack.Decoder(Client)


def client_key(client_id: str) -> bytes:
    """Return the row key of a client id; raises `ClientIdInvalid` for one that can't be used."""
    checks.instance(client_id, str, "client_id", 'a text, like "order-17"')
    if not client_id or len(client_id) > CLIENT_ID_CHARACTERS_MAX:
        raise ClientIdInvalid(
            f"a client id has 1 to {CLIENT_ID_CHARACTERS_MAX} characters, this one {len(client_id)}"
        )
    try:
        key = client_id.encode()
    except UnicodeEncodeError as error:
        raise ClientIdInvalid(f"a client id is text that can be encoded: {error}") from error
    if len(key) <= KEY_BYTES_MAX:
        return key
    # No text in UTF-8 begins with 0xff.
    return b"\xff" + blake2b(key, digest_size=32).digest()


class Outcome:
    """Implements `runtime.handle.FlowEnd`, from memory or from a row."""

    def __init__(
        self,
        *,
        value: object = None,
        error: BaseException | None = None,
        row: Result | None = None,
        decode_result: Callable[[bytes], object] | None = None,
    ) -> None:
        self._value = value
        self._error = error
        self._row = row
        self._decode_result = decode_result

    def value(self) -> object:
        """See `runtime.handle.FlowEnd`."""
        if self._error is not None:
            raise self._error
        if self._row is None:
            return self._value
        if self._row.failed:
            raise decode_flow_error(self._row.outcome)
        assert self._decode_result is not None
        return self._decode_result(self._row.outcome)
