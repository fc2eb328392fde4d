"""The engine of one node: the turn, and how its parts are put together, started and stopped."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Final, TypeVar

from runtime.atomic import AtomicFunction
from runtime.core.quota import Quotas
from runtime.engine.commits import Commits
from runtime.engine.flow_run import FlowRun
from runtime.engine.holding import HoldAtStart, NoNote, hold_at_start
from runtime.engine.manager import FlowManager
from runtime.engine.outbox import Outbox
from runtime.engine.recovery import recover
from runtime.flow import Flow
from runtime.handle import FlowHandle
from runtime.host import Host
from runtime.ids import PeerName
from runtime.limits import DEFAULT_PEER_LIMITS, JOURNAL_EVENTS_MAX, TURN_MS_MAX, PeerLimits
from runtime.ports import Clock, Entropy, Loop, RunNote, Space, Store, Transport
from runtime.starting import StartOptions

T = TypeVar("T")

log = logging.getLogger("sennit.engine")

# How many flows run between two looks at the clock.
_LOOK_EVERY: Final = 64

# After so many looks a turn gives an idle disk something to do: 512 flows run for longer than their
# commit takes, so it has landed when the next 512 have run.
_SUBMIT_AT_LOOK: Final = 8


class Engine:
    """Drives the flows of one node on one loop. Implements `runtime.host.Runner`."""

    def __init__(
        self,
        *,
        host: Host,
        store: Store,
        transport: Transport,
        loop: Loop,
        clock: Clock,
        entropy: Entropy,
        hold_unexpected: bool = False,
        journal_events_max: int = JOURNAL_EVENTS_MAX,
        is_replay_checked: bool = False,
        peer_limits: PeerLimits = DEFAULT_PEER_LIMITS,
        journal_rows: Callable[[], dict[bytes, bytes | None]] = dict,
        run_note: RunNote | None = None,
        hold: HoldAtStart = HoldAtStart(),
    ) -> None:
        """Put the parts together.

        ``journal_rows`` makes what collects the journal's rows of one batch: a dictionary, or for
        a simulation one that remembers also what the same batch deletes again. ``run_note``
        remembers which flow has the loop.
        """
        self.host = host
        self._run_note: RunNote = run_note or NoNote()
        self._hold = hold
        self.loop = loop
        self.clock = clock
        self.transport = transport
        self.ready: deque[FlowRun] = deque()
        self.is_stopped = False
        self.commits = Commits(
            store,
            loop,
            now=clock.now_ms,
            ready=self.ready,
            on_turn=self._turn,
            transmit=self._transmit,
            journal_rows=journal_rows,
        )
        quotas = Quotas(peer_limits)
        self.outbox = Outbox(loop, clock, self.commits, quotas)
        self.manager = FlowManager(
            host=host,
            loop=loop,
            clock=clock,
            entropy=entropy,
            commits=self.commits,
            outbox=self.outbox,
            ready=self.ready,
            hold_unexpected=hold_unexpected,
            journal_events_max=journal_events_max,
            is_replay_checked=is_replay_checked,
            run_note=self._run_note,
            quotas=quotas,
        )
        host.runner = self

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> int:
        """Recover, then listen and run. Returns the number of flows that came back."""
        for callback in self.host.start_callbacks:
            callback()
        count = recover(self.manager)
        hold_at_start(self.manager, self._run_note, self._hold)
        self.transport.start(self)
        self.outbox.resume()
        if count:
            log.info("flows recovered", extra={"flows": count})
        return count

    def stop(self) -> None:
        """Take all flows down where they stand, and stop listening. The store stays open.

        What was written is on its way to the disk; closing the store waits for it.
        """
        if self.is_stopped:
            return
        self.manager.is_stopping = True
        for callback in self.host.stop_callbacks:
            try:
                callback()
            except Exception:  # an app's; the rest must be closed all the same
                log.exception("a callback for the node's stop failed")
        self.is_stopped = True
        self.ready.clear()
        self._unwind_all()
        self.outbox.close()
        self.transport.close()
        self.commits.close()
        self.manager.cut_off()

    def crash(self) -> None:
        """Let go of everything as a power cut would: nothing more is written, sent or told."""
        self.is_stopped = True
        self.manager.is_stopping = True
        self.ready.clear()
        self._unwind_all()
        self.outbox.close()
        self.commits.abandon()
        self.transport.close()

    def _unwind_all(self) -> None:
        detached = (run.detach() for run in list(self.manager.runs.values()))
        self.manager.takedowns.finish([doomed for doomed in detached if doomed is not None])
        self.manager.greenlets.clear()

    # --- Runner -------------------------------------------------------------------------------

    def get(self, space: Space, key: bytes) -> bytes | None:
        """See `runtime.host.Runner`."""
        return self.commits.get(space, key)

    def scan(self, space: Space, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """See `runtime.host.Runner`."""
        return self.commits.scan(space, start, end)

    def run_atomic(
        self, atomic: AtomicFunction[..., object], arguments: tuple[object, ...]
    ) -> object:
        """See `runtime.host.Runner`."""
        return self.manager.run_atomic(atomic, arguments)

    def start_flow(
        self,
        flow: Flow[..., object],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        options: StartOptions,
        *,
        is_awaited: bool,
    ) -> FlowHandle[object]:
        """See `runtime.starting.Starter`."""
        return self.manager.start_flow(flow, args, kwargs, options, is_awaited=is_awaited)

    def in_loop(self, function: Callable[[], T]) -> T:
        """See `runtime.starting.Starter`."""
        return self.loop.in_loop(function)

    def wait_durable(self) -> None:
        """Block the calling greenlet until all that was written so far is durable."""
        self.manager.wait_durable()

    # --- Receiver -----------------------------------------------------------------------------

    def frame_arrived(self, peer: PeerName, envelopes: list[bytes]) -> None:
        """See `runtime.ports.Receiver`."""
        self.commits.with_turn(lambda: self.manager.delivery.frame_arrived(peer, envelopes))

    def peer_reachable(self, peer: PeerName) -> None:
        """See `runtime.ports.Receiver`."""
        self.manager.delivery.peer_reachable(peer)

    # --- the turn -----------------------------------------------------------------------------

    def _turn(self) -> None:
        """Run what is ready, for a few milliseconds at most, and submit what it wrote."""
        if self.is_stopped:
            return
        try:
            self._run_ready()
        finally:
            self.commits.submit()
            self.commits.is_scheduled = False
            if self.ready:
                # A timer that is due, not call_soon: gevent looks at sockets and timers between two
                # of the former, but not between two callbacks.
                self.commits.is_scheduled = True
                self.loop.call_after(0, self._turn)

    def _run_ready(self) -> None:
        ready = self.ready
        until = self.clock.steady_ms() + TURN_MS_MAX
        for look in count(1):
            for _ in range(_LOOK_EVERY):
                if not ready:
                    return
                run = ready.popleft()
                try:
                    run.resume()
                except Exception as error:  # ours: a flow's own errors end inside its greenlet
                    self.manager.hospital.broken(run, error)
            if self.clock.steady_ms() >= until:
                return
            if look == _SUBMIT_AT_LOOK:
                self.commits.submit()

    def _transmit(self, peer: PeerName, envelopes: list[bytes]) -> None:
        """Hand envelopes to the link, or to ourselves."""
        if self.is_stopped:
            return
        if peer == self.host.me.name:
            self.loop.call_soon(lambda: self._arrive_from_self(envelopes))
        else:
            self.transport.send(peer, envelopes)

    def _arrive_from_self(self, envelopes: list[bytes]) -> None:
        if not self.is_stopped:
            self.frame_arrived(PeerName(self.host.me.name), envelopes)
