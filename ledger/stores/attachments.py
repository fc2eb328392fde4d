"""Attachments by the SHA-256 of their content, as any tool prints it.

space ledger.attachments   SHA-256(32) -> the content
"""

from typing import Final

from ledger.errors import AttachmentInvalid, AttachmentUnknown
from ledger.hashing import SecureHash
from ledger.ledger_transaction import Attachment
from ledger.stores.rows import ReadRows, Rows
from runtime.limits import MESSAGE_BYTES_MAX, MIB
from runtime.ports import Space

ATTACHMENTS: Final = Space("ledger.attachments")

# An attachment travels in one message.
ATTACHMENT_BYTES_MAX: Final = 8 * MIB
assert ATTACHMENT_BYTES_MAX < MESSAGE_BYTES_MAX


def add_attachment(rows: Rows, content: bytes) -> SecureHash:
    """Keep ``content`` and return its name; the same content again is no error."""
    if len(content) > ATTACHMENT_BYTES_MAX:
        raise AttachmentInvalid(
            f"an attachment has {ATTACHMENT_BYTES_MAX} bytes at most, not {len(content)}"
        )
    name = SecureHash.of(content)
    if rows.get(ATTACHMENTS, name.digest) is None:
        rows.put(ATTACHMENTS, name.digest, content)
    return name


def has_attachment(rows: ReadRows, name: SecureHash) -> bool:
    """Tell whether the content of that name is here."""
    return rows.get(ATTACHMENTS, name.digest) is not None


def attachment(rows: ReadRows, name: SecureHash) -> Attachment:
    """Return an attachment; raises `AttachmentUnknown`."""
    content = rows.get(ATTACHMENTS, name.digest)
    if content is None:
        raise AttachmentUnknown(f"attachment {name} is not in the store")
    return Attachment(name, content)
