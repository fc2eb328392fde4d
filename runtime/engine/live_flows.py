"""The flows that live in this node, and those of them that a list looks for, by name and user."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from runtime.core.flow_machine import Status
from runtime.engine.status import HELD

if TYPE_CHECKING:
    from runtime.engine.flow_run import FlowRun
    from runtime.ids import FlowId

_Flows = dict["FlowId", "FlowRun"]


class LiveFlows(dict["FlowId", "FlowRun"]):
    """All flows that have not ended, by id. Held ones are in `held`, too."""

    __slots__ = ("_by_name_and_user", "held")

    def __init__(self) -> None:
        super().__init__()
        self.held: _Flows = {}
        self._by_name_and_user: dict[str, dict[str, _Flows]] = {}

    def add(self, run: "FlowRun") -> None:
        """Take in a flow."""
        started = run.machine.started
        self[run.flow_id] = run
        try:
            self._by_name_and_user[started.flow][started.user][run.flow_id] = run
        except KeyError:  # the first of this name, or of this user
            by_user = self._by_name_and_user.setdefault(started.flow, {})
            by_user[started.user] = {run.flow_id: run}

    def remove(self, run: "FlowRun") -> None:
        """Let go of a flow that has ended. Idempotent."""
        flow_id, started = run.flow_id, run.machine.started
        if self.pop(flow_id, None) is None:
            return
        if self.held:
            self.held.pop(flow_id, None)
        by_user = self._by_name_and_user[started.flow]
        flows = by_user[started.user]
        del flows[flow_id]
        if not flows:
            del by_user[started.user]
            if not by_user:
                del self._by_name_and_user[started.flow]

    def note_held(self, run: "FlowRun") -> None:
        """Learn that a flow is held now, or is no more."""
        if run.machine.status is Status.HELD:
            self.held[run.flow_id] = run
        else:
            self.held.pop(run.flow_id, None)

    def looked_for(
        self, fits_name: Callable[[str], bool] | None, user: str | None, statuses: list[str]
    ) -> Iterator["FlowRun"]:
        """Yield what there is to look at for a filter: these flows, and perhaps a few others."""
        if statuses == [HELD]:
            return iter(self.held.values())
        if user is None and fits_name is None:
            return iter(self.values())
        fitting = [
            by_user
            for name, by_user in self._by_name_and_user.items()
            if fits_name is None or fits_name(name)
        ]
        if user is None:
            groups = [flows for by_user in fitting for flows in by_user.values()]
        else:
            groups = [by_user[user] for by_user in fitting if user in by_user]
        return chain.from_iterable(flows.values() for flows in groups)
