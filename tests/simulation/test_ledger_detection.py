"""Breaks the ledger on purpose, each time in another way, and sees that histories notice what."""

from collections.abc import Callable, Sequence
from typing import Final

import pytest

from runtime.testing.faults import Fault
from runtime.testing.simulation import HistoryFailed, Scenario, simulate
from tests.simulation import ledger_breaks as breaks
from tests.simulation import trade_scenarios as scenarios

SEEDS_MAX: Final = 60

Break = Callable[[pytest.MonkeyPatch], None]

BREAKS: Final[list[tuple[Break, Scenario, str]]] = [
    (breaks.let_the_notary_look_at_nothing, scenarios.double_sale, "is consumed by .* and by"),
    (breaks.let_the_notary_look_at_nothing, scenarios.double_payment, "is consumed by .* and by"),
    (
        breaks.let_the_notary_remember_until_it_crashes,
        scenarios.double_sale,
        "is verified, its notary has not granted it",
    ),
    (
        breaks.let_the_notary_look_in_one_commit_and_write_in_another,
        scenarios.double_payment,
        "is consumed by .* and by",
    ),
    (
        breaks.let_the_notary_grant_only_once,
        scenarios.killed_payment,
        "is final and was forgotten",
    ),
    (breaks.let_the_notary_ignore_the_time, scenarios.trade, "is granted at .* outside of"),
    (
        breaks.let_the_notary_forget_one_input,
        scenarios.double_sale,
        "is granted, and .* is not consumed by it",
    ),
    (
        breaks.record_before_the_notary_has_signed,
        scenarios.trade,
        "is verified and lacks 1 signatures",
    ),
    (breaks.ask_the_notary_before_all_hold_it, scenarios.trade, "does not hold it"),
    (
        breaks.let_what_is_held_go_with_its_flow,
        scenarios.killed_payment,
        "is final and was forgotten",
    ),
    (breaks.recover_what_not_all_hold, scenarios.killed_deal, "does not hold it"),
    (breaks.keep_what_was_refused, scenarios.double_payment, "is left unnotarised"),
    (
        breaks.believe_all_signatures,
        scenarios.forged_signature,
        "is unnotarised with a wrong signature",
    ),
    (
        breaks.believe_all_histories,
        scenarios.counterfeit_cash,
        "cash is made or lost: .* has 100 in, 1000 out",
    ),
    (breaks.resolve_no_histories, scenarios.trade, "ended with AttachmentMissing"),
    (breaks.leave_outputs_out_of_the_id, scenarios.trade, "says nothing of its OUTPUTS"),
    (breaks.lose_the_change, scenarios.payments, "cash is made or lost"),
    (breaks.round_the_change_up, scenarios.payments, "cash is made or lost"),
    (breaks.record_in_two_commits, scenarios.payments, "is not in the vault"),
    (breaks.record_states_in_memory, scenarios.payments, "is not in the vault"),
    (breaks.record_everything_twice, scenarios.payments, "log has what became of .* twice"),
    (breaks.store_no_one_time_keys, scenarios.payments, "of a key that nobody has stored"),
    (breaks.take_no_locks, scenarios.same_cash, "ended with NotaryConflict"),
    (breaks.release_no_locks, scenarios.same_cash, "flow .* does not live"),
    (
        breaks.release_all_locks_at_a_restart,
        scenarios.watched_trade,
        "is not locked any more, its flow lives",
    ),
    (breaks.release_locks_and_no_coins, scenarios.same_cash, "is not among the coins"),
    (breaks.forget_client_ids, scenarios.payments, "was flow .* and now is"),
]


@pytest.mark.parametrize(
    ("breaks_it", "scenario", "found"),
    BREAKS,
    ids=[f"{each.__name__}-{scenario.__name__}" for each, scenario, _ in BREAKS],
)
def test_histories_notice_a_ledger_that_is_made_to(
    breaks_it: Break, scenario: Scenario, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks_it(monkeypatch)

    with pytest.raises(HistoryFailed, match=found):
        run_histories(scenario)


def test_histories_notice_an_index_that_follows_any_log_of_that_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    breaks.follow_any_log_of_that_length(monkeypatch)

    # It takes a crash that undoes what the index has followed, and time before it comes again.
    with pytest.raises(HistoryFailed, match="of the vault's index are wrong"):
        run_histories(scenarios.payments, (Fault.CRASH_BEFORE_COMMIT, Fault.CRASH, Fault.SLOW_DISK))


def run_histories(scenario: Scenario, faults: Sequence[Fault] | None = None) -> None:
    for seed in range(SEEDS_MAX):
        simulate(seed, scenario, faults=faults)
