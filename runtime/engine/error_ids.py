"""The id of an error, one for all logs and peers that it reaches, and its words.

However the error travels inside a flow, the id travels along.
"""

from contextlib import suppress
from typing import Final

from runtime.error_codec import class_name_of, message_of, well_formed
from runtime.errors import FlowFailed, causes, error_id_of, note_origin
from runtime.ids import ErrorId, FlowId
from runtime.limits import NAME_CHARACTERS_MAX

_FLOW: Final = "_sennit_flow"
_NOTE: Final = "_sennit_note"


def words_of(error: BaseException) -> str:
    """Return class and text of an error, for logs and people, who see its id beside it."""
    if isinstance(error, FlowFailed):
        # A stand-in: the same words as those of the error in whose place it is.
        return well_formed(f"{error.original_class.rpartition('.')[2]}: {error.message}")
    return f"{class_name_of(error)}: {message_of(error)}"


def known_id(error: BaseException, flow_id: FlowId) -> ErrorId | None:
    """Return the id that ``error``, or what it was raised from, has got in this flow or came with.

    The code of a flow may raise one exception object again and again, in one flow after another.
    """
    for cause in causes(error):
        known = error_id_of(cause)
        # What an author has put there need not be fit for the journal and for peers.
        if (
            known
            and len(known) <= NAME_CHARACTERS_MAX
            and known == well_formed(known)
            and vars(cause).get(_FLOW, flow_id) == flow_id
        ):
            return ErrorId(known)
    return None


def remember_id(error: BaseException, flow_id: FlowId, error_id: ErrorId) -> None:
    """Have `known_id` find it in this flow."""
    note_origin(error, error_id=error_id)
    vars(error)[_FLOW] = flow_id


def note(error: BaseException, text: str) -> None:
    """Add a note for whoever sees the traceback, in the place of the one of an earlier flow.

    No effect on an exception whose author has put something else in the place of its notes.
    """
    with suppress(Exception):
        notes: list[str] = getattr(error, "__notes__", [])
        earlier = vars(error).get(_NOTE)
        if earlier in notes:
            notes.remove(earlier)
        vars(error)[_NOTE] = text
        error.add_note(text)
