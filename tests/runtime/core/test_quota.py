"""Bounds on what is kept for peers: for each, for all, and fair shares."""

from runtime.core.quota import Budget, Quotas, Share
from runtime.ids import PeerName
from runtime.limits import PeerLimits


def fill(share: Share) -> int:
    """Use all there is room for, one at a time."""
    while share.has_room(1):
        share.add(1)
    return share.used


def test_a_peer_gets_no_more_than_its_own_bound() -> None:
    budget = Budget(limit=100, per_peer=7)

    assert fill(Share(budget)) == 7


def test_one_greedy_peer_leaves_half_to_the_others_and_two_a_third() -> None:
    budget = Budget(limit=99, per_peer=99)
    first, second = Share(budget), Share(budget)

    assert fill(first) == 49
    assert fill(second) == 25
    first.add(-16)
    assert fill(second) == 33
    assert not first.has_room(1)


def test_however_many_peers_are_greedy_a_late_one_finds_room_and_the_sum_is_bounded() -> None:
    budget = Budget(limit=10_000, per_peer=10_000)

    shares = [Share(budget) for _ in range(12)]
    for share in shares:
        fill(share)

    assert budget.used == sum(share.used for share in shares) < 10_000
    assert Share(budget).has_room(1)


def test_what_is_given_back_is_free_again() -> None:
    budget = Budget(limit=100, per_peer=10)
    share = Share(budget)
    fill(share)

    share.add(-3)

    assert share.has_room(3)
    assert not share.has_room(4)
    assert budget.used == 7


def test_a_peer_has_one_account() -> None:
    quotas = Quotas(PeerLimits())

    assert quotas.of(PeerName("O=A")) is quotas.of(PeerName("O=A"))
    assert quotas.of(PeerName("O=A")) is not quotas.of(PeerName("O=B"))


def test_a_share_is_passed_beyond_the_bound_of_the_peer_or_what_is_left_for_all_others() -> None:
    budget = Budget(limit=10, per_peer=7)
    share, other = Share(budget), Share(budget)

    seen: list[bool] = []
    for one, amount in ((share, 5), (share, 1), (share, -3), (other, 4), (other, 1)):
        one.add(amount)
        seen.append(share.is_passed)

    assert seen == [False, True, False, False, True]


def test_who_uses_nothing_never_passes_its_share() -> None:
    budget = Budget(limit=10, per_peer=7)
    Share(budget).add(100)

    assert not Share(budget).is_passed
