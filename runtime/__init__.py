"""Durable flows: what the author of a flow imports.

The engine and its adapters are not imported here; ``from runtime.node import Node`` runs flows, and
``from runtime.testing.network import SimulatedNetwork`` tests them.
"""

from runtime.atomic import StoreTxn, atomic
from runtime.codec import message
from runtime.context import (
    critical,
    current_flow,
    durable,
    me,
    now,
    progress,
    rng,
    service,
    sleep,
    sleep_until,
    timeout,
    uuid4,
)
from runtime.driver import FlowInfo, PeerInfo
from runtime.errors import (
    BadMessage,
    Diverged,
    FlowException,
    FlowFailed,
    FlowKilled,
    FlowTimeout,
    HoldForOperator,
    NotInFlow,
    PeerTimedOut,
    RetryLater,
    SennitError,
    SessionClosed,
    SessionNotOpen,
    StepFailed,
    StepInterrupted,
    UnexpectedFlowEnd,
    UnexpectedMessage,
    UnknownParty,
    UnserialisableMessage,
    error_id_of,
    original_class_of,
    peer_of,
)
from runtime.flow import Flow, Responder, flow, responder
from runtime.handle import FlowHandle
from runtime.ids import FlowId, PeerName
from runtime.party import AnonymousParty, Party
from runtime.ports import Space
from runtime.session import Session, initiate, receive_all, send_all
from runtime.step import Retry, step, step_id
from runtime.untrusted import Untrusted

__all__ = [
    "AnonymousParty",
    "BadMessage",
    "Diverged",
    "Flow",
    "FlowException",
    "FlowFailed",
    "FlowHandle",
    "FlowId",
    "FlowInfo",
    "FlowKilled",
    "FlowTimeout",
    "HoldForOperator",
    "NotInFlow",
    "Party",
    "PeerInfo",
    "PeerName",
    "PeerTimedOut",
    "Responder",
    "Retry",
    "RetryLater",
    "SennitError",
    "Session",
    "SessionClosed",
    "SessionNotOpen",
    "Space",
    "StepFailed",
    "StepInterrupted",
    "StoreTxn",
    "UnexpectedFlowEnd",
    "UnexpectedMessage",
    "UnknownParty",
    "UnserialisableMessage",
    "Untrusted",
    "atomic",
    "critical",
    "current_flow",
    "durable",
    "error_id_of",
    "flow",
    "initiate",
    "me",
    "message",
    "now",
    "original_class_of",
    "peer_of",
    "progress",
    "receive_all",
    "responder",
    "rng",
    "send_all",
    "service",
    "sleep",
    "sleep_until",
    "step",
    "step_id",
    "timeout",
    "uuid4",
]
