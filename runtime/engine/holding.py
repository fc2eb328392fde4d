"""Flows that are held before they run: those that an operator names, and one that ends the node.

The engine notes which flow has the loop. Only what is not resumed after a mere commit is noted: a
flow that has just begun, or was woken, or goes on in a step. That leaves the fastest path as it is,
and misses nothing for long: at the next start the replay leads to the same place without a commit.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.core.flow_machine import Status
from runtime.core.suspicion import after_end
from runtime.engine.flow_ids import flow_id_at
from runtime.errors import ConfigurationError, HoldForOperator
from runtime.ids import FlowId
from runtime.limits import HOLD_AFTER_CRASHES
from runtime.ports import RunNote, Suspicion

if TYPE_CHECKING:
    from runtime.engine.flow_run import FlowRun
    from runtime.engine.manager import FlowManager

log = logging.getLogger("sennit.recovery")


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldAtStart:
    """Whom to hold: ``flows`` by id, beginning or end of it, or client id; all; a suspect.

    ``after_crashes`` ends of the process with the same flow running make it one; 0: never.
    """

    flows: Sequence[str] = ()
    is_all: bool = False
    after_crashes: int = HOLD_AFTER_CRASHES


class NoNote:
    """A `RunNote` of a node that does not remember."""

    running: bytes | None = None
    suspicion: Suspicion | None = None

    def enter(self, key: bytes) -> None:
        """See `runtime.ports.RunNote`."""

    def leave(self) -> None:
        """See `runtime.ports.RunNote`."""

    def close(self) -> None:
        """See `runtime.ports.RunNote`."""


def hold_at_start(manager: "FlowManager", note: RunNote, wanted: HoldAtStart) -> None:
    """Hold flows that were recovered and have not run yet.

    Raises `ConfigurationError` if a flow that is named is not there, or several are; nothing is
    held then.
    """
    chosen = [_named(manager, text) for text in wanted.flows]
    if wanted.is_all:
        chosen = list(manager.runs.values())
    suspect = _suspect(manager, note, wanted.after_crashes)
    for run in chosen:
        _hold(manager, run, "held at the start", "the node was started with --hold")
    if suspect is not None:
        why = (
            f"this flow was running when the node froze or died, {wanted.after_crashes} times in "
            "a row, without getting any further. The log of those runs says more. Retry it once "
            "its code, or what it needs, is right"
        )
        _hold(manager, suspect, "it ended the node again and again", why)


def _suspect(manager: "FlowManager", note: RunNote, after_crashes: int) -> "FlowRun | None":
    """Return the flow that has ended the node too often, and note how often it has."""
    running = note.running
    run = None if running is None else manager.runs.get(flow_id_at(running))
    events = 0 if run is None else run.machine.index_next
    suspicion = after_end(note.suspicion, None if run is None else running, events)
    is_enough = suspicion is not None and 0 < after_crashes <= suspicion.deaths
    note.suspicion = None if is_enough else suspicion
    note.leave()
    if run is not None and suspicion is not None:
        log.warning(
            "flow %s (%s) was running when the node ended without being asked to, %d times in a "
            "row at the same place",
            run.flow_id,
            run.info.name,
            suspicion.deaths,
            extra={"flow_id": run.flow_id, "flow": run.info.name},
        )
    return run if is_enough else None


def _hold(manager: "FlowManager", run: "FlowRun", reason: str, why: str) -> None:
    if run.machine.status is Status.NEW:
        manager.hospital.hold(run, HoldForOperator(why), reason)


def _named(manager: "FlowManager", text: str) -> "FlowRun":
    runs = manager.runs
    exact = runs.get(FlowId(text))
    found = [exact] if exact is not None else [r for r in runs.values() if _fits(r, text)]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} flows fit {text!r}" if found else f"no live flow is {text!r}"
    some = ", ".join(f"{run.flow_id} ({run.info.name})" for run in (found or [*runs.values()])[:5])
    raise ConfigurationError(
        "--hold", what, f"Give the id, its beginning or end, or a client id. Some: {some or 'none'}"
    )


def _fits(run: "FlowRun", text: str) -> bool:
    flow_id = run.flow_id
    return bool(text) and (
        run.info.client_id == text or flow_id.startswith(text) or flow_id.endswith(text)
    )
