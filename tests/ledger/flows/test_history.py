"""Histories: served once and only as far as offered, received in any shape, verified in order."""

import pytest

from ledger.builder import TransactionBuilder
from ledger.errors import (
    AttachmentInvalid,
    ContractRejected,
    HistoryTooLarge,
    LedgerError,
    NotaryUnknown,
    NotOffered,
    ResolutionFailed,
    SignaturesMissing,
    TransactionMalformed,
)
from ledger.flows import resolve
from ledger.flows.history import Node, Walked, in_order, verify_history, walk
from ledger.flows.resolve import (
    AttachmentBatch,
    FetchAttachments,
    FetchTransactions,
    Offer,
    TransactionBatch,
)
from ledger.hashing import SecureHash
from ledger.states import ContractState, StateAndRef, StateRef
from ledger.stores.attachments import ATTACHMENTS
from ledger.stores.transactions import UNVERIFIED
from ledger.transactions import SignedTransaction
from runtime.testing.network import SimulatedNode
from tests.ledger.flows import histories, impostors
from tests.ledger.flows.history_scenes import (
    chain,
    give,
    is_verified,
    keep_unnotarised,
    keep_unverified,
    made,
    output,
    send,
)
from tests.ledger.flows.net import Net, errors_of, row
from tests.ledger.parties import Do, Thing


def test_the_history_is_verified_and_the_transaction_itself_is_not_kept() -> None:
    net = Net(histories)
    links = chain(net, 5)

    send(net, links[-1])

    assert all(is_verified(net.bob, link) for link in links[:-1])
    assert row(net.bob, links[-1].id) is None


def test_a_history_of_many_branches_comes_whole() -> None:
    net = Net(histories)
    root = made(net, outputs=20)
    branches = [made(net, output(root, index)) for index in range(20)]
    joined = made(net, *(output(branch) for branch in branches))
    give(net.alice, root, *branches)

    send(net, joined)

    assert all(is_verified(net.bob, each) for each in (root, *branches))


def test_what_is_known_is_not_fetched_again() -> None:
    net = Net(histories)
    links = chain(net, 6)
    send(net, links[-1])

    later = made(net, output(links[-1]))
    give(net.bob, links[-1])
    handle = net.alice.begin_flow(histories.send, later, net.bob.party)
    net.network.run()

    assert handle.result() is None


def test_what_another_flow_has_left_unverified_is_verified_now() -> None:
    net = Net(histories)
    links = chain(net, 4)
    net.bob.host.run_atomic(keep_unverified, links[1:3])

    send(net, links[-1])

    assert all(is_verified(net.bob, link) for link in links[:-1])


def test_a_walk_tells_what_is_verified_from_what_is_not_and_from_what_has_to_be_fetched() -> None:
    net = Net(histories)
    verified, unverified, waiting = (made(net) for _ in range(3))
    give(net.bob, verified)
    net.bob.host.run_atomic(keep_unverified, [unverified])
    net.bob.host.run_atomic(keep_unnotarised, waiting, net.alice.party)

    walked = net.bob.host.run_atomic(walk, (verified.id, unverified.id, waiting.id))

    assert walked == Walked((Node.of(unverified),), (waiting.id,))


def test_a_long_chain_comes_in_few_rounds() -> None:
    net = Net(histories)
    links = chain(net, 300)
    requests: set[tuple[int, int]] = set()  # a replay repeats them
    served = resolve._Vendor.transactions

    def counted(
        vendor: resolve._Vendor, wanted: tuple[SecureHash, ...], ancestors: int
    ) -> TransactionBatch:
        requests.add((len(wanted), ancestors))
        return served(vendor, wanted, ancestors)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resolve._Vendor, "transactions", counted)
        send(net, links[-1])

    assert is_verified(net.bob, links[0])
    assert len(requests) <= 10


@pytest.mark.no_cover
def test_a_chain_of_ten_thousand_passes() -> None:
    net = Net(histories, is_replay_checked=False)
    links = chain(net, 10_000)

    send(net, links[-1])

    assert is_verified(net.bob, links[0])
    assert is_verified(net.bob, links[-2])


@pytest.mark.parametrize("size", [1, 2_000])
def test_batches_stay_under_their_size(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(histories)
    root = made(net, outputs=8)
    branches = [made(net, output(root, index)) for index in range(8)]
    joined = made(net, *(output(branch) for branch in branches))
    give(net.alice, root, *branches)
    monkeypatch.setattr(resolve, "BATCH_BYTES_TARGET", size)

    send(net, joined)

    assert all(is_verified(net.bob, each) for each in (root, *branches))


def test_more_ids_than_one_request_takes_are_asked_for_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net(histories)
    root = made(net, outputs=8)
    branches = [made(net, output(root, index)) for index in range(8)]
    joined = made(net, *(output(branch) for branch in branches))
    give(net.alice, root, *branches)
    monkeypatch.setattr(resolve, "IDS_PER_REQUEST_MAX", 3)

    send(net, joined)

    assert all(is_verified(net.bob, each) for each in (root, *branches))


def test_a_history_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(histories)
    links = chain(net, 8)
    monkeypatch.setattr(resolve, "HISTORY_TRANSACTIONS_MAX", 4)

    with pytest.raises(HistoryTooLarge):
        send(net, links[-1])


@pytest.mark.parametrize("after_ms", range(0, 24, 3))
@pytest.mark.parametrize("victim", ["alice", "bob"])
def test_a_crash_in_the_middle_of_a_history_goes_on_where_it_was(
    victim: str, after_ms: int
) -> None:
    net = Net(histories)
    links = chain(net, 40)
    handle = net.alice.start_flow(histories.send, links[-1], net.bob.party)
    net.network.run_for(after_ms / 1_000)

    node: SimulatedNode = getattr(net, victim)
    node.restart()
    net.network.run()

    assert all(is_verified(net.bob, link) for link in links[:-1])
    assert net.bob.info().flows_live == 0
    assert net.alice.info().flows_live == 0
    assert handle.id


def test_states_are_shown_with_their_history() -> None:
    net = Net(histories)
    links = chain(net, 3)

    handle = net.alice.start_flow(histories.show_states, [output(links[-1])], net.bob.party)

    assert handle.result() == 1
    assert all(is_verified(net.bob, link) for link in links)


def test_a_state_that_its_transaction_does_not_have_is_refused() -> None:
    net = Net(histories)
    links = chain(net, 1)
    beyond = StateAndRef[ContractState](output(links[0]).state, StateRef(links[0].id, 7))

    with pytest.raises(TransactionMalformed, match="no output 7"):
        net.alice.start_flow(histories.show_states, [beyond], net.bob.party).result()


# The vendor


def ask(net: Net, offered: SignedTransaction, *requests: resolve.HistoryRequest) -> list[int]:
    histories.OFFERED[:] = [offered.id]
    handle = net.bob.start_flow(histories.ask_history, net.alice.party, list(requests))
    return handle.result()


def test_a_vendor_serves_each_thing_once() -> None:
    net = Net(histories)
    links = chain(net, 3)
    once = FetchTransactions((links[1].id,), 0)

    with pytest.raises(NotOffered, match="served already"):
        ask(net, links[2], once, once)


def test_a_vendor_serves_nothing_that_it_did_not_offer() -> None:
    net = Net(histories)
    links = chain(net, 3)
    stranger = made(net)
    give(net.alice, stranger)

    for wanted in (stranger.id, links[2].id, SecureHash.of(b"?")):
        with pytest.raises(NotOffered):
            ask(net, links[2], FetchTransactions((wanted,), 0))
    with pytest.raises(NotOffered):
        ask(net, links[2], FetchAttachments((links[1].id,)))


def test_a_vendor_answers_no_request_for_nothing_or_for_everything() -> None:
    net = Net(histories)
    links = chain(net, 2)

    for wanted in ((), (links[0].id,) * 2_000):
        with pytest.raises(NotOffered, match="1 to"):
            ask(net, links[1], FetchTransactions(wanted, 0))
        with pytest.raises(NotOffered, match="1 to"):
            ask(net, links[1], FetchAttachments(wanted))
    with pytest.raises(NotOffered, match="each once"):
        ask(net, links[1], FetchTransactions((links[0].id,) * 2, 0))


def test_a_vendor_sends_ancestors_as_far_as_they_were_wanted() -> None:
    net = Net(histories)
    links = chain(net, 10)

    served = ask(
        net,
        links[9],
        FetchTransactions((links[8].id,), 3),
        FetchTransactions((links[4].id,), 100),
    )

    assert served == [4, 5]


# Attachments


def test_attachments_come_with_the_history() -> None:
    net = Net(histories)
    contents = [b"prospectus %d" % number for number in range(3)]
    names = [net.alice.start_flow(histories.attach, content).result() for content in contents]
    first = made(net, attachments=tuple(names[:2]))
    second = made(net, output(first), attachments=tuple(names))
    give(net.alice, first)

    send(net, second)

    held = [key for key, _ in net.bob.host.scan(ATTACHMENTS, b"", None)]
    assert sorted(held) == sorted(name.digest for name in names)


def test_attachments_come_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(histories)
    monkeypatch.setattr(resolve, "BATCH_BYTES_TARGET", 100)
    names = [
        net.alice.start_flow(histories.attach, bytes([number]) * 60).result() for number in range(5)
    ]
    signed = made(net, attachments=tuple(names))

    send(net, signed)

    assert len(list(net.bob.host.scan(ATTACHMENTS, b"", None))) == 5


@pytest.mark.parametrize(("size", "served"), [(1, 1), (119, 1), (120, 2), (1_000, 5)])
def test_a_vendor_sends_as_many_attachments_at_once_as_fit_and_always_one(
    size: int, served: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Net(histories)
    names = tuple(
        net.alice.start_flow(histories.attach, bytes([number]) * 60).result() for number in range(5)
    )
    signed = made(net, attachments=names)
    give(net.alice, signed)
    monkeypatch.setattr(resolve, "BATCH_BYTES_TARGET", size)

    assert ask(net, signed, FetchAttachments(names)) == [served]


# The receiver


def mislead(net: Net, first: Offer, *answers: TransactionBatch | AttachmentBatch) -> LedgerError:
    handle = net.alice.start_flow(histories.mislead, net.bob.party, first, list(answers))
    with pytest.raises(LedgerError) as caught:
        handle.result()
    net.network.run()
    return caught.value


def test_an_offer_is_one_transaction_or_states() -> None:
    net = Net(histories)
    signed = made(net)

    for first in (
        Offer(),
        Offer((signed, signed)),
        Offer((), (output(signed),)),
        Offer((signed,), (output(signed),)),
    ):
        assert isinstance(mislead(net, first), ResolutionFailed)


def test_transactions_that_nobody_asked_for_are_refused() -> None:
    net = Net(histories)
    links = chain(net, 4)
    stranger = made(net)

    for batch in (
        (stranger,),
        (links[2], stranger),
        (links[2], links[2]),
        (links[1],),
    ):
        error = mislead(net, Offer((links[3],)), TransactionBatch(batch))
        assert isinstance(error, ResolutionFailed)
        assert "which nobody asked for" in str(error)
    assert row(net.bob, stranger.id) is None


def test_an_answer_starts_with_what_was_asked_for_first() -> None:
    net = Net(histories)
    first, second = sorted((made(net), made(net)), key=lambda signed: signed.id)
    joined = made(net, output(first), output(second))

    for batch in ((), (second,), (second, first)):
        error = mislead(net, Offer((joined,)), TransactionBatch(batch))
        assert isinstance(error, ResolutionFailed)
        assert f"did not send transaction {first.id}" in str(error)
    assert row(net.bob, second.id) is None


def test_an_offer_of_states_is_states_and_nothing_else() -> None:
    net = Net(histories)
    signed = chain(net, 1)[0]

    for first in (Offer(), Offer((signed,)), Offer((signed,), (output(signed),))):
        with pytest.raises(ResolutionFailed, match="must offer states"):
            net.alice.start_impostor(impostors.show_offer, net.bob.party, first).result()
    assert row(net.bob, signed.id) is None


def test_what_is_here_without_the_notarys_signature_is_not_verified() -> None:
    net = Net(histories)
    first = made(net)
    unsigned = made(net, output(first), notarised=False)
    give(net.alice, first)
    give(net.bob, first)
    net.bob.host.run_atomic(keep_unverified, [unsigned])

    send(net, made(net, output(unsigned)))

    ended = errors_of(net.bob)
    assert isinstance(ended[-1], ResolutionFailed)
    assert f"{unsigned.id} lacks signatures" in str(ended[-1])
    assert not is_verified(net.bob, unsigned)


def test_what_has_disappeared_while_a_history_was_fetched_is_named() -> None:
    net = Net(histories)
    signed = made(net)

    with pytest.raises(ResolutionFailed, match=f"{signed.id} has disappeared"):
        net.bob.host.run_atomic(verify_history, (signed.id,))


def test_a_history_without_the_notarys_signature_is_not_even_kept() -> None:
    net = Net(histories)
    first = made(net)
    unsigned = made(net, output(first), notarised=False)
    last = made(net, output(unsigned))

    error = mislead(net, Offer((last,)), TransactionBatch((unsigned,)))

    assert isinstance(error, SignaturesMissing)
    assert row(net.bob, unsigned.id) is None


def test_a_history_of_a_made_up_notary_is_refused() -> None:
    net = Net(histories)
    builder = TransactionBuilder(net.alice.party)
    builder.add_output(Thing(owner=net.alice.party, name="x"))
    builder.add_command(Do(), net.alice.party.key)
    first = builder.sign(bytes(32), [net.alice.party.key], net.alice.signer.sign)
    second = TransactionBuilder(net.alice.party)
    second.add_input(output(first))
    second.add_command(Do(), net.alice.party.key)
    last = second.sign(bytes(32), [net.alice.party.key], net.alice.signer.sign)

    assert isinstance(mislead(net, Offer((last,)), TransactionBatch((first,))), NotaryUnknown)


def test_a_history_that_a_contract_rejects_stays_unverified() -> None:
    net = Net(histories)
    bad = made(net, name="forbidden")
    last = made(net, output(bad))

    handle = net.alice.start_flow(
        histories.mislead, net.bob.party, Offer((last,)), [TransactionBatch((bad,))]
    )
    handle.result()
    net.network.run()

    stored = row(net.bob, bad.id)
    assert stored is not None
    assert stored.status == UNVERIFIED
    ended = errors_of(net.bob)
    assert isinstance(ended[-1], ContractRejected)


def test_a_history_is_checked_to_have_the_states_that_are_consumed() -> None:
    net = Net(histories)
    first = made(net)
    beyond = StateAndRef[ContractState](output(first).state, StateRef(first.id, 3))
    middle = made(net, beyond)
    last = made(net, output(middle))

    net.alice.start_flow(
        histories.mislead, net.bob.party, Offer((last,)), [TransactionBatch((middle, first))]
    ).result()
    net.network.run()

    ended = errors_of(net.bob)
    assert isinstance(ended[-1], TransactionMalformed)
    assert not is_verified(net.bob, middle)


def test_other_bytes_for_an_attachment_are_refused() -> None:
    net = Net(histories)
    signed = made(net, attachments=(SecureHash.of(b"right"),))

    assert isinstance(
        mislead(net, Offer((signed,)), AttachmentBatch((b"wrong",))), AttachmentInvalid
    )
    for contents in ((), (b"right", b"more")):
        error = mislead(net, Offer((signed,)), AttachmentBatch(contents))
        assert isinstance(error, ResolutionFailed)


# Order


def test_order_puts_everything_behind_what_it_depends_on() -> None:
    ids = [SecureHash.of(b"%d" % number) for number in range(5_000)]
    nodes = {
        tx_id: Node(tx_id, (ids[number - 1],) if number else (SecureHash.of(b"known"),), ())
        for number, tx_id in reversed(list(enumerate(ids)))
    }

    assert in_order(nodes) == ids
