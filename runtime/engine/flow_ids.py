"""Flow ids: UUIDv7, so that they sort by the time of the start, in text and as bytes."""

from typing import Final
from uuid import UUID

from runtime.ids import FlowId

KEY_CHANCE_BYTES: Final = 10


def new_key(now_ms: int, chance: bytes) -> bytes:
    """Return the 16 bytes of a new id. RFC 9562, version 7.

    Of ``chance``, which are `KEY_CHANCE_BYTES` random bytes, six bits are not used.
    """
    value = (now_ms & (1 << 48) - 1) << 80 | int.from_bytes(chance, "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return value.to_bytes(16, "big")


def flow_id_at(key: bytes) -> FlowId:
    """Return the text form of an id's bytes."""
    digits = key.hex()
    return FlowId(f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}")


def key_of(flow_id: str) -> bytes:
    """Return the bytes of an id in text form; raises ValueError if it is none."""
    try:
        return UUID(flow_id).bytes
    except (AttributeError, TypeError):
        raise ValueError(f"a flow id is text, not {type(flow_id).__name__}") from None


def journal_end(key: bytes) -> bytes:
    """Return a key behind all that the journal of the flow can have."""
    return key + b"\xff\xff\xff\xff\xff"
