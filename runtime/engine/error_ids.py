"""The id of an error, one for all logs and peers that it reaches, and its words.

However the error travels inside a flow, the id travels along.
"""

from runtime.core.envelopes import NAME_CHARACTERS_MAX
from runtime.error_codec import class_name_of, message_of, well_formed
from runtime.errors import causes, error_id_of, note_origin
from runtime.ids import ErrorId


def words_of(error: BaseException) -> str:
    """Return class and text of an error, for logs and people."""
    return f"{class_name_of(error)}: {message_of(error)}"


def known_id(error: BaseException) -> ErrorId | None:
    """Return the id that ``error``, or what it was raised from, has got before or came with."""
    for cause in causes(error):
        known = error_id_of(cause)
        # What an author has put there need not be fit for the journal and for peers.
        if known and len(known) <= NAME_CHARACTERS_MAX and known == well_formed(known):
            return ErrorId(known)
    return None


def remember_id(error: BaseException, error_id: ErrorId) -> None:
    """Have `known_id` find it."""
    note_origin(error, error_id=error_id)
