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

    __slots__ = ("_by_name", "_by_user", "held")

    def __init__(self) -> None:
        super().__init__()
        self.held: _Flows = {}
        self._by_name: dict[str, _Flows] = {}
        self._by_user: dict[str, _Flows] = {}

    def add(self, run: "FlowRun") -> None:
        """Take in a flow."""
        started = run.machine.started
        self[run.flow_id] = run
        _add(self._by_name, started.flow, run)
        _add(self._by_user, started.user, run)

    def remove(self, run: "FlowRun") -> None:
        """Let go of a flow that has ended. Idempotent."""
        if self.pop(run.flow_id, None) is None:
            return
        started = run.machine.started
        self.held.pop(run.flow_id, None)
        _remove(self._by_name, started.flow, run)
        _remove(self._by_user, started.user, run)

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
        if user is not None:
            return iter(self._by_user.get(user, {}).values())
        if fits_name is not None:
            fitting = [flows for name, flows in self._by_name.items() if fits_name(name)]
            return chain.from_iterable(flows.values() for flows in fitting)
        return iter(self.values())


def _add(index: dict[str, _Flows], key: str, run: "FlowRun") -> None:
    flows = index.get(key)
    if flows is None:
        flows = index[key] = {}
    flows[run.flow_id] = run


def _remove(index: dict[str, _Flows], key: str, run: "FlowRun") -> None:
    flows = index[key]
    del flows[run.flow_id]
    if not flows:
        del index[key]
