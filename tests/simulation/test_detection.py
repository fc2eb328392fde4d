"""Breaks the engine on purpose, each time in another way, and sees that histories notice."""

from collections.abc import Callable
from typing import Final

import pytest

from runtime.core.envelopes import Ack, AnyEnvelope, Data, encode
from runtime.core.session_machine import Arriving, SessionMachine, Status
from runtime.engine import conversing, delivery
from runtime.engine.client_ids import ClientIds
from runtime.engine.commits import Commits
from runtime.engine.delivery import Delivery
from runtime.engine.flow_run import FlowRun
from runtime.engine.outbox import Outbox
from runtime.engine.tombstones import Tombstones
from runtime.ids import PeerName, SessionId
from runtime.testing.simulation import HistoryFailed, Scenario, simulate
from tests.simulation import scenarios

SEEDS_MAX: Final = 150

Break = Callable[[pytest.MonkeyPatch], None]


def acknowledge_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    def acknowledge(self: Commits, peer: PeerName, sid: SessionId, up_to: int) -> None:
        self._transmit(peer, [encode(Ack(sid, up_to))])

    patch.setattr(Commits, "acknowledge", acknowledge)


def send_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    def send(self: Commits, peer: PeerName, envelope: bytes) -> None:
        self._transmit(peer, [envelope])

    patch.setattr(Commits, "send", send)


def wait_for_no_commit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FlowRun, "await_commit", lambda self: None)


def forget_what_has_arrived(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(delivery, "put_unread", lambda *arguments: None)


def keep_what_was_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conversing, "remove_unread", lambda *arguments: None)


def leave_no_tombstones(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tombstones, "_put", lambda *arguments: None)


def answer_no_late_messages(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Delivery, "_late_arrived", lambda *arguments: None)


def keep_sending_to_what_is_gone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Delivery, "_gone_arrived", lambda *arguments: None)


def let_nobody_in_while_draining(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Delivery, "has_session", lambda *arguments: False)


def deny_no_session(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Delivery, "_deny", lambda *arguments: None)


def never_send_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Outbox, "_resend", lambda *arguments: None)


def forget_client_ids(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ClientIds, "attached", lambda *arguments: None)


def take_duplicates(patch: pytest.MonkeyPatch) -> None:
    arrive = SessionMachine.arrive

    def take(
        self: SessionMachine, envelope: Arriving, encoded: bytes
    ) -> list[tuple[Arriving, bytes]]:
        is_duplicate = isinstance(envelope, Data) and envelope.number < self.in_next
        if is_duplicate and self.status is Status.OPEN:
            self._take(envelope, encoded)
            self.in_next -= 1
            return [(envelope, encoded)]
        return arrive(self, envelope, encoded)

    patch.setattr(SessionMachine, "arrive", take)


def ignore_gaps(patch: pytest.MonkeyPatch) -> None:
    arrive = SessionMachine.arrive

    def jump(
        self: SessionMachine, envelope: Arriving, encoded: bytes
    ) -> list[tuple[Arriving, bytes]]:
        is_beyond = isinstance(envelope, Data) and envelope.number > self.in_next
        if is_beyond and isinstance(envelope, Data) and self.status is Status.OPEN:
            self.in_next = envelope.number
        return arrive(self, envelope, encoded)

    patch.setattr(SessionMachine, "arrive", jump)


def believe_strangers(patch: pytest.MonkeyPatch) -> None:
    arrived = Delivery._arrived

    def believe(self: Delivery, peer: PeerName, envelope: AnyEnvelope, encoded: bytes) -> None:
        found = self.sessions.get(getattr(envelope, "to", SessionId(b"")))
        arrived(self, peer if found is None else found[1].peer, envelope, encoded)

    patch.setattr(Delivery, "_arrived", believe)


BREAKS: Final[list[tuple[Break, Scenario]]] = [
    (acknowledge_before_it_is_durable, scenarios.ping_pong),
    (send_before_it_is_durable, scenarios.ping_pong),
    (wait_for_no_commit, scenarios.hard_work),
    (forget_what_has_arrived, scenarios.impatience),
    (keep_what_was_read, scenarios.ping_pong),
    (leave_no_tombstones, scenarios.ping_pong),
    (answer_no_late_messages, scenarios.ping_pong),
    (keep_sending_to_what_is_gone, scenarios.forgetfulness),
    (deny_no_session, scenarios.forgetfulness),
    (let_nobody_in_while_draining, scenarios.draining),
    (never_send_again, scenarios.ping_pong),
    (forget_client_ids, scenarios.ping_pong),
    (take_duplicates, scenarios.ping_pong),
    (ignore_gaps, scenarios.impatience),
    (believe_strangers, scenarios.fan_out),
]


@pytest.mark.parametrize(("breaks", "scenario"), BREAKS, ids=lambda it: it.__name__)
def test_histories_notice_an_engine_that_is_made_to(
    breaks: Break, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch)

    with pytest.raises(HistoryFailed):
        run_histories(scenario)


def run_histories(scenario: Scenario) -> None:
    for seed in range(SEEDS_MAX):
        simulate(seed, scenario)
