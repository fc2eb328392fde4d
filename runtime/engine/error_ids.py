"""The id of an error, one for all logs and peers that it reaches, and its words.

However the error travels inside a flow, the id travels along.

It hangs on the exception itself, under a private name, so that neither the codec nor a peer sees it
as a part of the error.
"""

from typing import Final

from runtime.core.triage import causes
from runtime.error_codec import message_of
from runtime.errors import FlowException, UnexpectedFlowEnd
from runtime.ids import ErrorId

_NAME: Final = "_sennit_error_id"


def words_of(error: BaseException) -> str:
    """Return class and text of an error, for logs and people."""
    return f"{type(error).__name__}: {message_of(error)}"


def known_id(error: BaseException) -> ErrorId | None:
    """Return the id that ``error``, or what it was raised from, has got before or came with."""
    for cause in causes(error):
        known = vars(cause).get(_NAME)
        if known is not None:
            return ErrorId(known)
        if isinstance(cause, FlowException | UnexpectedFlowEnd) and cause.error_id:
            return ErrorId(cause.error_id)
    return None


def remember_id(error: BaseException, error_id: ErrorId) -> None:
    """Have `known_id` find it."""
    vars(error)[_NAME] = error_id
