"""Find what a person means: a flow by the end of its name, one run of it by part of its id."""

import difflib
from collections.abc import Sequence

from runtime.errors import UnknownFlow
from runtime.ids import FlowId
from runtime.operations import FlowRow

_NAMES_SHOWN = 6
# One more than are named when several fit, so that it shows that there are more.
FLOWS_SHOWN = _NAMES_SHOWN + 1

_ID_FORM = "00000000-0000-0000-0000-000000000000"


def flow_name(text: str, names: Sequence[str]) -> str:
    """Return the one name that is ``text`` or ends with it: ``buy`` for ``samples.trade.buy``.

    Raises `UnknownFlow` with the names that come near.
    """
    if text in names:
        return text
    fitting = sorted(name for name in names if name.endswith(f".{text}"))
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UnknownFlow(f"{text!r} may be any of these; write more of it: {_list(fitting)}")
    nearest = _nearest(text, names)
    if nearest:
        raise UnknownFlow(f"this node has no flow {text!r}; did you mean {_list(nearest)}?")
    if names:
        raise UnknownFlow(f"this node has no flow {text!r}; it has {_list(sorted(names))}")
    raise UnknownFlow(f"this node has no flow {text!r}, and no other that could be started")


def first_id_after(text: str) -> str | None:
    """Return an id behind all that begin with ``text``; None if no id begins so.

    A list of the flows before it begins with those: however many are newer, none is looked at.
    """
    begun, rest = text.lower(), _ID_FORM[len(text) :]
    is_beginning = len(text) <= len(_ID_FORM) and all(
        it == "-" if form == "-" else it in "0123456789abcdef"
        for it, form in zip(begun, _ID_FORM, strict=False)
    )
    return begun + rest.replace("0", "f") if text and is_beginning else None


def flow_id(text: str, rows: Sequence[FlowRow], *, is_all: bool = True) -> FlowId:
    """Return the id of the one flow with this id, client id, or beginning or end of an id.

    Raises `UnknownFlow`, also if several fit. Unless it ``is_all``, there are older flows.
    """
    if not text:
        raise UnknownFlow("the id is empty; list the flows with: sennit flow list")
    fitting = [row for row in rows if text in (row.id, row.client_id)] or [
        row for row in rows if row.id.startswith(text) or row.id.endswith(text)
    ]
    if len(fitting) == 1:
        return FlowId(fitting[0].id)
    if fitting:
        ids = _list([row.id for row in fitting])
        raise UnknownFlow(f"{text!r} may be any of these flows; write more of it: {ids}")
    if not is_all:
        raise UnknownFlow(
            f"no flow that you may see has an id that begins with {text!r}, or this client id of "
            f"yours. For ends of ids, and client ids of others, only the newest {len(rows):,} were "
            "looked at: give the beginning of the id"
        )
    raise UnknownFlow(
        f"this node has no flow {text!r} that you may see; list them with: sennit flow list. "
        "A flow that ended without a client id is forgotten after a thousand others, and at a stop"
    )


def _nearest(text: str, names: Sequence[str]) -> list[str]:
    last_part = text.rpartition(".")[2].lower()
    by_last_part: dict[str, list[str]] = {}
    for name in names:
        by_last_part.setdefault(name.rpartition(".")[2].lower(), []).append(name)
    close = difflib.get_close_matches(last_part, by_last_part, n=_NAMES_SHOWN, cutoff=0.6)
    found = [name for part in close for name in sorted(by_last_part[part])]
    return found or difflib.get_close_matches(text, names, n=_NAMES_SHOWN, cutoff=0.6)


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"
