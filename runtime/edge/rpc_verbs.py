"""What each request of the RPC asks of the node, and whether its user may."""

from typing import Protocol, assert_never, cast

from msgspec import Struct
from msgspec.structs import replace

from runtime.errors import UnknownFlow
from runtime.ids import FlowId, UserName
from runtime.operations import (
    FLOWS_LIMIT_MAX,
    JOURNAL_LIMIT_MAX,
    FlowFilter,
    NodeInfo,
    NodeOperations,
)
from runtime.permissions import Permissions
from runtime.rpc_messages import (
    RESULT_WAIT_MS_MAX,
    Answer,
    Done,
    Drain,
    Dropped,
    DropUnclaimed,
    FindFlow,
    FlowKinds,
    ForgetClientId,
    Found,
    GetFlow,
    GetInfo,
    GetResult,
    JournalRows,
    Killed,
    KillFlow,
    ListFlowKinds,
    ListFlows,
    ListPeers,
    ListUnclaimed,
    PeerRows,
    ReadJournal,
    RetryFlow,
    Started,
    StartFlow,
    StopNode,
    UnclaimedRows,
)

MayWait = StartFlow | GetResult | RetryFlow | KillFlow | ForgetClientId | DropUnclaimed
Look = (
    FindFlow
    | ListFlowKinds
    | ListFlows
    | GetFlow
    | ReadJournal
    | ListPeers
    | ListUnclaimed
    | Drain
    | StopNode
    | GetInfo
)


class RpcUser(Protocol):
    """Somebody who may connect, as the node's file of users says."""

    @property
    def name(self) -> UserName:
        """Who they are: the owner of the flows that they start."""

    @property
    def public_key(self) -> bytes:
        """Return the CURVE key, in Z85, that proves it."""

    @property
    def permissions(self) -> Permissions:
        """What they may do."""


class RpcVerbs:
    """Asks the node on behalf of users. Raises `PermissionDenied`, and what the node raises."""

    def __init__(self, operations: NodeOperations) -> None:
        self._operations = operations

    def look(self, user: RpcUser, request: Look) -> Answer:
        """Answer a request that only looks; does not wait."""
        operations = self._operations
        match request:
            case FindFlow():
                # Everybody may, and finds none of another user's.
                return Found(operations.find(user.name, request.client_id))
            case ListFlowKinds():
                return FlowKinds(operations.flow_names())
            case GetInfo():
                return self._info(user)
            case ListFlows():
                return operations.flows(_bounded(request.filter, user))
            case GetFlow():
                self.require(user, "flow", request.flow_id)
                return operations.flow(FlowId(request.flow_id))
            case ReadJournal():
                self.require(user, "journal", request.flow_id)
                limit = min(request.limit, JOURNAL_LIMIT_MAX)
                return JournalRows(
                    operations.journal(FlowId(request.flow_id), request.start, limit)
                )
            case ListPeers():
                user.permissions.require(user.name, "peers", is_own=False)
                return PeerRows(operations.peers())
            case ListUnclaimed():
                user.permissions.require(user.name, "unclaimed", is_own=False)
                return UnclaimedRows(operations.unclaimed())
            case Drain():
                user.permissions.require(user.name, "drain", is_own=False)
                operations.drain(is_on=request.is_on)
                return Done()
            case StopNode():
                user.permissions.require(user.name, "stop", is_own=False)
                operations.stop()
                return Done()
            case _:
                assert_never(request)

    def perform(self, user: RpcUser, request: MayWait) -> Answer:
        """Answer a request that may wait: for a commit, or for the end of a flow."""
        operations = self._operations
        match request:
            case StartFlow():
                user.permissions.require_start(user.name, request.flow_name)
                return Started(
                    operations.start_flow(
                        user.name,
                        request.flow_name,
                        request.arguments,
                        request.client_id,
                        request.on_repeat,
                    )
                )
            case GetResult():
                self.require(user, "result", request.flow_id)
                wait_ms = max(0, min(request.wait_ms, RESULT_WAIT_MS_MAX))
                return operations.result(FlowId(request.flow_id), wait_ms / 1000)
            case RetryFlow():
                self.require(user, "retry", request.flow_id)
                operations.retry(FlowId(request.flow_id))
                return Done()
            case KillFlow():
                self.require(user, "kill", request.flow_id)
                return Killed(operations.kill(FlowId(request.flow_id)))
            case ForgetClientId():
                # Everybody may, and nobody for another user: the node knows whose it is.
                operations.forget(user.name, request.client_id)
                return Done()
            case DropUnclaimed():
                user.permissions.require(user.name, "drop", is_own=False)
                return Dropped(operations.drop_unclaimed(request.flow_name))
            case _:
                assert_never(request)

    def _info(self, user: RpcUser) -> NodeInfo:
        """Return who the node is; which flows it has trouble with, only to who may list all."""
        info = self._operations.info()
        if user.permissions.may("flows", is_own=False):
            return info
        shown = replace(cast(Struct, info), step_threads=[], left_behind=[], unreadable=[])
        return cast(NodeInfo, shown)

    def require(self, user: RpcUser, verb: str, flow_id: str) -> None:
        """Check the verb; whose flow it is matters only to who may not do it to all flows.

        To them, a flow of others and one that is not there are the same.
        """
        if user.permissions.may(verb, is_own=False):
            return
        try:
            is_own = self._operations.flow(FlowId(flow_id)).row.user == user.name
        except UnknownFlow:
            is_own = False
        user.permissions.require(user.name, verb, is_own=is_own)


def _bounded(asked: FlowFilter, user: RpcUser) -> FlowFilter:
    """Return the filter within our limits, and for who may not read all, with their name."""
    reads_all = user.permissions.may("flows", is_own=False)
    return FlowFilter(
        name=asked.name,
        statuses=asked.statuses,
        user=asked.user if reads_all else user.name,
        since_ms=asked.since_ms,
        limit=max(1, min(asked.limit, FLOWS_LIMIT_MAX)),
        before=asked.before,
    )
