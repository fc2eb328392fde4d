"""What becomes of a flow that failed: decided by `runtime.core.triage`, carried out here.

A flow is retried (rebuilt from its journal), held for an operator, or ended with its error. Nothing
that was journaled is ever changed by that.
"""

import logging
from typing import TYPE_CHECKING, Final

from runtime.core.events import JOURNAL, AnyEvent, Started, decode
from runtime.core.flow_machine import FlowMachine, Input, Status
from runtime.core.triage import Fail, Hold, RetryAfter, triage
from runtime.engine.error_ids import known_id, note, remember_id, words_of
from runtime.engine.flow_ids import journal_end
from runtime.engine.recovery import reread
from runtime.engine.results import HELD, Held, encode_row
from runtime.errors import (
    Diverged,
    FlowException,
    FlowKilled,
    UndecodableEvent,
    UnknownFlow,
)
from runtime.flow import Flow
from runtime.ids import ErrorId, FlowId
from runtime.seldom_log import SeldomLog

if TYPE_CHECKING:
    from runtime.engine.flow_run import FlowRun
    from runtime.engine.manager import FlowManager

# Of flows that one peer has started, in the time that `SeldomLog` has.
LINES_PER_PEER: Final = 20

log = logging.getLogger("sennit.flow")


class Hospital:
    """See the module."""

    def __init__(self, manager: "FlowManager", *, hold_unexpected: bool) -> None:
        self.manager = manager
        self.hold_unexpected = hold_unexpected
        self._log_of_peers = SeldomLog(log, burst=LINES_PER_PEER)

    # --- decisions ----------------------------------------------------------------------------

    def failed(self, run: "FlowRun", error: BaseException) -> None:
        """Decide what becomes of a flow whose function raised, and do it; its last act."""
        if run.machine.index_next > run.retried_at_index:
            run.retries = 0
        run.retried_at_index = run.machine.index_next
        decision = triage(
            error,
            retries=run.retries,
            chance=self.manager.chance(),
            is_critical=run.is_critical,
            hold_unexpected=self.hold_unexpected,
        )
        match decision:
            case RetryAfter(delay_ms):
                self._retry_after(run, error, delay_ms)
            case Hold(reason):
                self.hold(run, error, reason)
            case Fail():
                self.fail(run, error, self.error_id_of(run, error))

    def broken(self, run: "FlowRun", error: Exception) -> None:
        """Hold a flow at whose transition the engine itself failed; the others go on."""
        log.critical(
            "the engine failed at flow %s, which is set aside",
            run.flow_id,
            exc_info=error,
            extra={"flow_id": run.flow_id, "flow": run.info.name},
        )
        if run.machine.status in (Status.RUNNING, Status.WAITING, Status.NEW):
            run.unwind()
            self.hold(run, error, "an error of the engine")

    def fail(self, run: "FlowRun", error: BaseException, error_id: ErrorId) -> None:
        """End a flow with an error."""
        self.manager.counts["failed"] += 1
        run.error, run.error_id = error, error_id
        remember_id(error, run.flow_id, error_id)
        self._tell(
            run,
            logging.ERROR,
            f"flow failed, error id {error_id}: {words_of(error)}",
            stack_of=None if isinstance(error, FlowException | FlowKilled) else error,
            error_id=error_id,
        )
        note(error, f"flow {run.flow_id} ({run.info.name}), error id {error_id}")
        self.manager.end_failed(run, error, error_id)

    def hold(
        self, run: "FlowRun", error: BaseException, reason: str, *, is_logged: bool = True
    ) -> None:
        """Keep a flow intact until an operator decides; its messages are kept too."""
        self.manager.counts["held"] += 1
        error_id = self.error_id_of(run, error)
        run.error, run.error_id, run.hold_reason = error, error_id, reason
        if is_logged:
            self._tell(
                run,
                logging.ERROR,
                f"flow held ({reason}), error id {error_id}: {words_of(error)}",
                error_id=error_id,
            )
        held = Held(
            reason,
            words_of(error),
            error_id,
            self.manager.clock.now_ms(),
            isinstance(error, Diverged | UndecodableEvent | UnknownFlow),
        )
        self.manager.commits.put(HELD, run.key, encode_row(held))
        run.machine.move(Input.HELD)
        self.manager.runs.note_held(run)
        run.changed()

    def subflow_failed(
        self, run: "FlowRun", flow: Flow[..., object], error: BaseException
    ) -> ErrorId:
        """Give the error that ends a sub-flow its id, under which its peers hear of it."""
        error_id = self.error_id_of(run, error)
        remember_id(error, run.flow_id, error_id)
        self._tell(
            run,
            logging.WARNING,
            f"sub-flow {flow.name} failed, error id {error_id}: {words_of(error)}",
            flow=flow.name,
            error_id=error_id,
        )
        return error_id

    # --- verbs --------------------------------------------------------------------------------

    def retry(self, flow_id: FlowId) -> bool:
        """Let a held flow run again from its journal; False if it is not held.

        Raises `UnknownFlow` if its code is still missing, `UndecodableEvent` if its journal still
        can't be read, `UnreadableRow` if a message for it could not be read at the start; it stays
        held then.
        """
        run = self.manager.runs.get(flow_id)
        if run is None or run.machine.status is not Status.HELD:
            return False
        unread = self.manager.unread_broken.get(flow_id)
        if unread is not None:
            raise unread
        events = self.events(run)
        started = events[0]
        if not isinstance(started, Started):
            raise UndecodableEvent(f"the journal begins with {type(started).__name__}")
        definition = self.manager.definition_of(started)
        if definition is None:
            raise UnknownFlow(f"{started.flow} is still not installed on this node")
        run.define(definition, started)
        self.manager.commits.delete(HELD, run.key)
        self.manager.commits.wake()
        run.error, run.error_id, run.hold_reason, run.retries = None, None, "", 0
        # What was read of it before may have been less than its name.
        self.manager.runs.remove(run)
        run.rebuild(FlowMachine(events))
        self.manager.runs.add(run)
        if flow_id in self.manager.partly_read:
            reread(self.manager, run, events)
        run.start_soon()
        return True

    def kill(self, flow_id: FlowId) -> bool:
        """End a flow at once, as `FlowKilled`; its peers are told. False if it has ended.

        Its code is taken down once the end is durable, so that nothing it does can prevent that.
        """
        run = self.manager.runs.get(flow_id)
        if run is None:
            return False
        doomed = run.detach()
        self.fail(run, FlowKilled(f"flow {flow_id} was killed"), self.new_error_id())
        if doomed is not None:
            self.manager.takedowns.begin_when_durable(doomed, self.manager.commits)
        return True

    # --- running again --------------------------------------------------------------------------

    def reload(self, run: "FlowRun") -> bool:
        """Take a flow down to run again from its journal; False if that can't be read any more."""
        try:
            events = self.events(run)
        except UndecodableEvent as error:
            run.unwind()
            self.hold(run, error, "undecodable event")
            return False
        run.rebuild(FlowMachine(events))
        return True

    def interrupted(self, run: "FlowRun") -> None:
        """Run a flow again that was interrupted from outside; called as its greenlet's last act."""
        run.machine.move(Input.RETRIED)
        self.manager.loop.call_soon(lambda: self._due(run))

    def events(self, run: "FlowRun") -> list[AnyEvent]:
        """Read a flow's journal; raises `UndecodableEvent`."""
        scan = self.manager.commits.scan
        return [decode(value) for _, value in scan(JOURNAL, run.key, journal_end(run.key))]

    def _retry_after(self, run: "FlowRun", error: BaseException, delay_ms: int) -> None:
        run.retries += 1
        self._tell(
            run,
            logging.WARNING,
            f"flow will be retried in {delay_ms} ms: {words_of(error)}",
            delay_ms=delay_ms,
            retries=run.retries,
        )
        run.await_retry(delay_ms, error, lambda: self._due(run))

    def _due(self, run: "FlowRun") -> None:
        if (
            run.flow_id in self.manager.runs
            and run.machine.status is Status.NEW
            and self.reload(run)
        ):
            run.start_soon()

    # --- the log --------------------------------------------------------------------------------

    def _tell(
        self,
        run: "FlowRun",
        level: int,
        message: str,
        *,
        stack_of: BaseException | None = None,
        **extra: object,
    ) -> None:
        """Log what happened to a flow; of those that a peer has started, not more than a few."""
        extra = {"flow_id": run.flow_id, "flow": run.info.name, **extra}
        origin = run.machine.started.origin
        if origin is None:
            log.log(level, "%s", message, exc_info=stack_of, extra=extra)
        else:
            self._log_of_peers.say(level, origin.peer, message, extra=extra, error=stack_of)

    # --- ids ----------------------------------------------------------------------------------

    def new_error_id(self) -> ErrorId:
        """Return a fresh error id."""
        return ErrorId(self.manager.entropy.random_bytes(8).hex())

    def error_id_of(self, run: "FlowRun", error: BaseException) -> ErrorId:
        """Return the id that an error has already, here or at a peer, or a new one."""
        return known_id(error, run.flow_id) or self.new_error_id()
