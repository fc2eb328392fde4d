"""A node comes back with another order of iteration in its sets: no flow may notice."""

from typing import Final

from runtime.testing.driver import NetworkDriver
from tests.e2e.networks import EMBEDDED

SECONDS: Final = 30.0
WORDS: Final = [str(number) for number in range(12)]


def test_a_flow_that_hands_sets_to_a_step_is_replayed_in_a_process_with_another_hash_seed() -> None:
    with NetworkDriver.create(EMBEDDED) as network:
        alice = network.node("alice")
        alice.launch(environment={"PYTHONHASHSEED": "1"})
        alice.wait_until_up()
        flow_id = alice.rpc.start_flow("tests.e2e.flows.count_and_wait", WORDS).id
        alice.wait_until(lambda: alice.rpc.flow(flow_id).row.status == "waiting", "slept", SECONDS)
        alice.kill()

        alice.launch(environment={"PYTHONHASHSEED": "2"})
        alice.wait_until_up()
        alice.wait_until(
            lambda: alice.rpc.flow(flow_id).row.status != "running", "replayed", SECONDS
        )

        found = alice.rpc.flow(flow_id)
        assert (found.row.status, found.error) == ("waiting", "")
        assert found.wait is not None
        assert "sleep" in found.wait.what
