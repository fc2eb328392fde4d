"""How to decode the rows of each space of the engine; for a check of a whole store."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from runtime.core import envelopes
from runtime.core.events import JOURNAL, decode
from runtime.engine.inbox import INBOX
from runtime.engine.outbox import OUTBOX, Row
from runtime.engine.result_index import RESULT_INDEX
from runtime.engine.results import (
    CLIENT_IDS,
    HELD,
    RESULTS,
    client_decoder,
    held_decoder,
    result_decoder,
)
from runtime.engine.tombstones import TOMBSTONES, Tombstone

_row_decoder: Final = msgspec.msgpack.Decoder(Row)
_tombstone_decoder: Final = msgspec.msgpack.Decoder(Tombstone)

READERS: Final[Mapping[str, Callable[[bytes, bytes], object]]] = {
    JOURNAL.name: lambda _key, value: decode(value),
    INBOX.name: lambda _key, value: envelopes.decode(value),
    OUTBOX.name: lambda _key, value: envelopes.decode(
        _row_decoder.decode(value).envelope, is_addressed=False
    ),
    CLIENT_IDS.name: lambda _key, value: client_decoder.decode(value),
    RESULTS.name: lambda _key, value: result_decoder.decode(value),
    RESULT_INDEX.name: lambda _key, value: value.decode(),
    HELD.name: lambda _key, value: held_decoder.decode(value),
    TOMBSTONES.name: lambda _key, value: _tombstone_decoder.decode(value),
}
