"""Finding the flow that a person means."""

import pytest

from runtime.cli.matching import first_id_after, flow_id, flow_name
from runtime.errors import UnknownFlow

NAMES = ["samples.trade.buy", "samples.loan.buy", "samples.trade.sell", "ledger.flows.finality"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("samples.trade.buy", "samples.trade.buy"),
        ("trade.buy", "samples.trade.buy"),
        ("sell", "samples.trade.sell"),
    ],
)
def test_a_name_is_found_by_as_much_of_its_end_as_is_needed(text: str, expected: str) -> None:
    assert flow_name(text, NAMES) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("buy", "may be any of these; write more of it: samples.loan.buy, samples.trade.buy"),
        ("Sel", "did you mean samples.trade.sell?"),
        ("ell", "did you mean samples.trade.sell?"),
        ("samples.trade.finalty", "did you mean ledger.flows.finality?"),
        ("x", "it has ledger.flows.finality, samples.loan.buy, samples.trade.buy"),
    ],
)
def test_an_unclear_or_unknown_name_lists_what_comes_near(text: str, said: str) -> None:
    with pytest.raises(UnknownFlow) as raised:
        flow_name(text, NAMES)

    assert said in str(raised.value)


def test_a_long_list_is_cut() -> None:
    with pytest.raises(UnknownFlow, match="and 14 more"):
        flow_name("x", [f"samples.f{number}.pay" for number in range(20)])


def test_an_empty_id_is_none() -> None:
    with pytest.raises(UnknownFlow, match="the id is empty"):
        flow_id("", [])


def test_a_node_without_flows_says_so() -> None:
    with pytest.raises(UnknownFlow, match="no other that could be started"):
        flow_name("x", [])


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("01a2", "01a2ffff-ffff-ffff-ffff-ffffffffffff"),
        ("01A20bb5-", "01a20bb5-ffff-ffff-ffff-ffffffffffff"),
        ("01a20bb5-3", "01a20bb5-3fff-ffff-ffff-ffffffffffff"),
        ("order-17", None),
        ("01a20bb53", None),
        ("", None),
        ("0" * 37, None),
    ],
)
def test_what_may_begin_an_id_has_an_id_behind_all_of_them(text: str, after: str | None) -> None:
    assert first_id_after(text) == after


def test_who_has_not_looked_at_all_flows_says_so() -> None:
    with pytest.raises(UnknownFlow, match="only the newest 0 were looked at"):
        flow_id("x", [], is_all=False)
