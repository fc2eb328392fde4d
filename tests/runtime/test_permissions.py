"""The whole table of permissions."""

import pytest

from runtime.errors import ConfigurationError, PermissionDenied
from runtime.permissions import OPERATE_VERBS, READ_VERBS, Permissions, permissions


def granted(*texts: str) -> Permissions:
    return permissions(texts, where="users.toml, user ann")


@pytest.mark.parametrize(
    ("permission", "flow_name", "expected"),
    [
        ("ALL", "samples.trade.buy", True),
        ("StartFlow.samples.trade.buy", "samples.trade.buy", True),
        ("StartFlow.samples.trade.buy", "samples.trade.buyer", False),
        ("StartFlow.samples.trade.buy", "samples.trade.sell", False),
        ("StartFlow.samples.*", "samples.trade.buy", True),
        ("StartFlow.samples.*", "ledger.flows.buy", False),
        ("StartFlow.*", "ledger.flows.buy", True),
        ("StartFlow.buy", "samples.trade.buy", False),
        ("Read", "samples.trade.buy", False),
        ("Operate", "samples.trade.buy", False),
    ],
)
def test_who_may_start_a_flow(permission: str, flow_name: str, *, expected: bool) -> None:
    assert granted(permission).may_start(flow_name) is expected


@pytest.mark.parametrize("verb", READ_VERBS)
def test_read_covers_every_reading_verb_and_no_other(verb: str) -> None:
    assert granted("Read").may(verb, is_own=False)
    assert granted(f"Read.{verb}").may(verb, is_own=False)
    assert granted("ALL").may(verb, is_own=False)
    assert not granted("Operate", "StartFlow.*").may(verb, is_own=False)
    assert not granted(*(f"Read.{other}" for other in READ_VERBS if other != verb)).may(
        verb, is_own=False
    )


@pytest.mark.parametrize("verb", OPERATE_VERBS)
@pytest.mark.parametrize("is_own", [True, False])
def test_operate_covers_every_intervening_verb_and_no_other(verb: str, *, is_own: bool) -> None:
    assert granted("Operate").may(verb, is_own=is_own)
    assert granted(f"Operate.{verb}").may(verb, is_own=is_own)
    assert granted("ALL").may(verb, is_own=is_own)
    assert not granted("Read", "StartFlow.*").may(verb, is_own=is_own)


@pytest.mark.parametrize("verb", READ_VERBS)
def test_everybody_may_look_at_their_own_flows_but_not_at_journals(verb: str) -> None:
    assert granted().may(verb, is_own=True) is (verb not in ("journal", "peers", "unclaimed"))


def test_a_refusal_says_who_what_and_what_to_add() -> None:
    with pytest.raises(PermissionDenied, match=r"'ann' may not start a\.b\. .* 'StartFlow\.a\.b'"):
        granted().require_start("ann", "a.b")
    with pytest.raises(PermissionDenied, match=r"may not use 'kill' on flows\. .* 'Operate\.kill'"):
        granted("Read").require("ann", "kill", is_own=True)
    with pytest.raises(PermissionDenied, match=r"'flow' on flows of others, .* 'Read\.flow'"):
        granted().require("ann", "flow", is_own=False)


def test_what_is_granted_is_not_refused() -> None:
    granted("StartFlow.a.*").require_start("ann", "a.b")
    granted("Operate.kill").require("ann", "kill", is_own=False)


@pytest.mark.parametrize("text", ["all", "", "StartFlow", "StartFlow.", "Read.kill", "Root", "X.y"])
def test_an_unknown_permission_is_refused_with_the_ones_that_exist(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"users\.toml, user ann: there is no permission"):
        granted(text)


def test_permissions_read_well_in_a_log() -> None:
    assert str(granted("Read", "ALL")) == "ALL, Read"
    assert str(granted()) == "none"
