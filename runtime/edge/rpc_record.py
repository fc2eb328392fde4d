"""Who intervened, on record: one log line for each verb that changes what a node does."""

import logging

from runtime.rpc_messages import (
    Answer,
    Drain,
    DropUnclaimed,
    ForgetClientId,
    KillFlow,
    Request,
    RetryFlow,
    StopNode,
)

log = logging.getLogger("sennit.operator")


def recorded(user: str, request: Request, answer: Answer) -> Answer:
    """Return ``answer``, after putting on record what ``user`` did, if it was an intervention."""
    match request:
        case RetryFlow() | KillFlow():
            _record(user, type(request).__name__, request.flow_id)
        case DropUnclaimed():
            _record(user, "DropUnclaimed", request.flow_name)
        case ForgetClientId():
            _record(user, "ForgetClientId", request.client_id)
        case Drain():
            _record(user, "Drain", "on" if request.is_on else "off")
        case StopNode():
            _record(user, "StopNode", "")
        case _:
            pass
    return answer


def _record(user: str, verb: str, target: str) -> None:
    log.info("%s by user %s: %s", verb, user, target, extra={"user": user, "verb": verb})
