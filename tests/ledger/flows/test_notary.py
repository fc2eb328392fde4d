"""A notary: what it refuses, what it never sees, and one signature for many transactions."""

import pytest

from ledger import uniqueness
from ledger.amounts import Amount
from ledger.builder import TransactionBuilder
from ledger.components import Group
from ledger.errors import (
    InsufficientBalance,
    NotaryConflict,
    NotaryError,
    RequestSignatureInvalid,
    TransactionInvalid,
    TransactionMalformed,
)
from ledger.flows.notarise import (
    InvalidRefusal,
    NotarisationRequest,
    NotaryAnswer,
    RequestRefusal,
    claim_of,
    notarise,
    request_content,
)
from ledger.flows.notary_service import Notary
from ledger.hashing import SecureHash
from ledger.install import install
from ledger.signatures import TransactionSignature
from ledger.states import StateRef, as_type
from ledger.stores.coins import SPENT_COINS
from ledger.stores.notary import GRANTS, REQUESTS
from ledger.stores.transactions import TRANSACTIONS
from ledger.tearoff import FilteredTransaction, filter_transaction, for_notary
from ledger.time_window import TimeWindow
from ledger.transactions import SignedTransaction, WireTransaction
from runtime import FlowTimeout, Party, responder
from runtime.codec import decode, encode
from runtime.errors import ConfigurationError, UnexpectedFlowEnd
from runtime.keys import PrivateKey
from runtime.testing.simulated_loop import EPOCH_MS
from samples.finance import cash_flows
from samples.finance.cash import CashState, IssueCash
from tests.ledger.flows import deals, notary_asking
from tests.ledger.flows.net import Net, balance
from tests.ledger.parties import SALT, Deal, Do, Thing

WINDOW = TimeWindow(EPOCH_MS, EPOCH_MS + 3_600_000)
LOST = StateRef(SecureHash.of(b"lost"), 0)


def built(net: Net, notary: Party | None = None) -> SignedTransaction:
    """Return a transaction of Alice alone that needs its notary for a time stamp."""
    handle = net.alice.start_flow(
        deals.build, [net.alice.party], "x", notary or net.notary.party, [], WINDOW
    )
    return handle.result()


def consuming(net: Net, ref: StateRef, salt: bytes = bytes(32)) -> SignedTransaction:
    """Return a transaction of Alice that consumes a state, whoever's it is."""
    groups = [list(built(net).transaction.components(group)) for group in Group]
    groups[Group.INPUTS] = [encode(ref)]
    wire = WireTransaction.of(groups, salt)
    return SignedTransaction(wire.encoded).signed_by([net.alice.party.key], net.alice.signer.sign)


def request(
    net: Net, signed: SignedTransaction, filtered: FilteredTransaction | None = None
) -> NotarisationRequest:
    shown = filtered or for_notary(signed.transaction)
    content = request_content(shown.id, claim_of(shown))
    signature = net.alice.signer.sign(net.alice.party.key, content)
    return NotarisationRequest(shown, net.alice.party, signature)


def asked(net: Net, asking: NotarisationRequest) -> NotaryAnswer:
    return net.alice.start_impostor(notary_asking.ask, net.notary.party, asking).result()


def test_the_same_transaction_is_notarised_as_often_as_it_asks() -> None:
    net = Net(deals)
    signed = built(net)

    first = net.alice.start_flow(notarise, signed).result()
    net.network.run_for(2 * 3_600)
    again = net.alice.start_flow(notarise, signed).result()

    first.verify_notarys(signed.id)
    again.verify_notarys(signed.id)
    assert len(list(net.notary.host.scan(GRANTS, b"", None))) == 1


def test_the_request_is_kept_as_evidence() -> None:
    net = Net(deals)
    signed = built(net)
    net.alice.start_flow(notarise, signed).result()

    ((key, body),) = net.notary.host.scan(REQUESTS, b"", None)

    kept = decode(body, NotarisationRequest)
    assert key == signed.id.digest
    assert kept.client == net.alice.party
    assert net.alice.party.key.is_valid(
        kept.signature, request_content(signed.id, claim_of(kept.filtered))
    )


def test_a_non_validating_notary_never_sees_a_state() -> None:
    net = Net()
    net.issue(net.alice, 100)
    net.pay(net.alice, net.bob, 95)

    assert list(net.notary.host.scan(TRANSACTIONS, b"", None)) == []
    for _, body in net.notary.host.scan(REQUESTS, b"", None):
        assert b"CashState" not in body


def test_a_validating_notary_keeps_the_history_that_it_has_verified() -> None:
    net = Net(notary="validating")
    issued = net.issue(net.alice, 100)
    net.pay(net.alice, net.bob, 95)

    kept = [key for key, _ in net.notary.host.scan(TRANSACTIONS, b"", None)]
    assert kept == [issued.digest]


def test_a_validating_notary_refuses_what_lacks_a_signature() -> None:
    net = Net(deals, notary_asking.build_unsigned, notary="validating")
    first = net.alice.start_flow(deals.agree, [net.bob.party], "first", net.notary.party).result()
    missing = net.alice.start_flow(
        notary_asking.build_unsigned,
        net.bob.party,
        net.notary.party,
        as_type(first.transaction.output_ref(0), Deal),
    ).result()

    with pytest.raises(TransactionInvalid, match="missing signatures"):
        net.alice.start_impostor(notary_asking.push, net.notary.party, missing, missing).result()


def test_a_validating_notary_wants_the_transaction_that_was_asked_about() -> None:
    net = Net(deals, notary="validating")
    one, other = built(net), built(net)

    with pytest.raises(TransactionInvalid, match="was sent instead"):
        net.alice.start_impostor(notary_asking.push, net.notary.party, one, other).result()


def test_a_request_that_hides_an_input_is_refused() -> None:
    net = Net(deals)
    signed = built(net)
    hiding = filter_transaction(signed.transaction, lambda group, _: group == Group.NOTARY)

    answer = asked(net, request(net, signed, hiding))

    assert isinstance(answer, InvalidRefusal)
    assert "TIME_WINDOW are hidden" in answer.reason


def test_a_request_for_another_notary_is_refused() -> None:
    net = Net(deals)
    signed = built(net, net.bob.party)

    answer = asked(net, request(net, signed))

    assert isinstance(answer, InvalidRefusal)
    assert "O=Bob" in answer.reason


def test_a_request_in_the_name_of_another_is_refused() -> None:
    net = Net(deals)
    signed = built(net)
    good = request(net, signed)
    for wrong in (
        NotarisationRequest(good.filtered, net.bob.party, good.signature),
        NotarisationRequest(good.filtered, net.alice.party, bytes(64)),
    ):
        answer = asked(net, wrong)

        assert isinstance(answer, RequestRefusal)


def test_what_another_has_signed_can_not_be_asked_for_again_by_us() -> None:
    net = Net(deals)
    shown = for_notary(built(net).transaction)
    content = request_content(shown.id, claim_of(shown))
    bobs = NotarisationRequest(
        shown, net.bob.party, net.bob.signer.sign(net.bob.party.key, content)
    )

    answer = asked(net, bobs)

    assert isinstance(answer, RequestRefusal)
    assert "can't ask for" in answer.reason
    assert list(net.notary.host.scan(GRANTS, b"", None)) == []


def test_what_was_granted_to_another_can_not_be_looked_up_in_its_name() -> None:
    net = Net(deals)
    signed = built(net)
    net.alice.start_flow(notarise, signed).result()
    good = request(net, signed)

    answer = asked(net, NotarisationRequest(good.filtered, net.bob.party, good.signature, True))

    assert isinstance(answer, RequestRefusal)


def test_a_validating_notary_has_nothing_sent_for_a_request_that_it_refuses() -> None:
    net = Net(deals, notary="validating")
    good = request(net, built(net))

    answer = asked(net, NotarisationRequest(good.filtered, net.alice.party, bytes(64)))

    assert isinstance(answer, RequestRefusal)


def test_states_under_the_id_of_another_transaction_are_refused() -> None:
    net = Net(deals)
    shown = for_notary(built(net).transaction)
    other = FilteredTransaction(SecureHash.of(b"another"), shown.roots, shown.groups)

    answer = asked(net, request(net, built(net), other))

    assert isinstance(answer, InvalidRefusal)
    assert "do not lead to the id" in answer.reason
    assert list(net.notary.host.scan(GRANTS, b"", None)) == []


def test_a_node_that_is_no_notary_answers_no_request() -> None:
    net = Net(deals)
    signed = built(net)
    asking = request(net, signed)

    with pytest.raises(UnexpectedFlowEnd, match="no responder"):
        net.alice.start_impostor(notary_asking.ask, net.bob.party, asking).result()


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        ("refuse request", RequestSignatureInvalid, "no"),
        ("invalid", TransactionInvalid, "no"),
        ("forged", NotaryError, "is not its signature"),
        ("other key", NotaryError, "is not its signature"),
        ("nonsense", NotaryError, "is no answer"),
        ("conflict about nothing", NotaryError, "nobody asked it for"),
        ("conflict about others", NotaryError, "nobody asked it for"),
        ("conflict of another", NotaryError, "nobody asked it for"),
    ],
)
def test_what_a_notary_answers_becomes_its_error(
    answer: str, error: type[NotaryError], text: str
) -> None:
    net = Net(deals)
    signed = consuming(net, LOST)
    net.notary.host.registry.responders[notarise.name] = notary_asking.answering(answer)

    with pytest.raises(error, match=text):
        net.alice.start_flow(notarise, signed).result()


def test_a_busy_or_broken_notary_is_asked_again_and_again() -> None:
    net = Net(deals)
    signed = built(net)
    good = net.notary.host.registry.responders[notarise.name]
    net.notary.host.registry.responders[notarise.name] = notary_asking.answering("busy")
    handle = net.alice.begin_flow(notarise, signed)
    net.network.run_for(60)
    assert handle.status == "waiting"
    net.notary.host.registry.responders[notarise.name] = notary_asking.answering("broken")
    net.network.run_for(600)
    assert handle.status == "waiting"

    net.notary.host.registry.responders[notarise.name] = good

    signature = handle.result()
    assert isinstance(signature, TransactionSignature)
    signature.verify_notarys(signed.id)


def test_a_history_that_the_client_lacks_makes_the_transaction_invalid() -> None:
    net = Net(deals, notary="validating")
    signed = consuming(net, LOST)

    with pytest.raises(TransactionInvalid, match="not in the store"):
        net.alice.start_flow(notarise, signed).result()

    assert list(net.notary.host.scan(GRANTS, b"", None)) == []


def test_a_claim_of_too_many_states_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uniqueness, "STATES_MAX", -1)
    net = Net(deals)
    signed = built(net)

    with pytest.raises(TransactionInvalid, match="inputs and references"):
        net.alice.start_flow(notarise, signed).result()


def test_a_transaction_without_notary_is_not_notarised() -> None:
    net = Net(deals)
    signed = built(net)
    groups = [list(signed.transaction.components(group)) for group in Group]
    groups[Group.NOTARY] = []
    without = SignedTransaction(
        type(signed.transaction).of(groups, signed.transaction.parts.salt).encoded
    )

    with pytest.raises(NotaryError, match="no notary"):
        net.alice.start_flow(notarise, without).result()


def test_what_becomes_durable_together_is_signed_together() -> None:
    net = Net(deals)
    many = [built(net) for _ in range(20)]
    handles = [net.alice.begin_flow(notarise, signed) for signed in many]

    signatures = [handle.result() for handle in handles]

    made = [s for s in signatures if isinstance(s, TransactionSignature)]
    assert len({s.signature for s in made}) < len(many) / 2
    for signed, signature in zip(many, made, strict=True):
        signature.verify_notarys(signed.id)


def test_a_notary_signs_alone_what_nobody_waits_with() -> None:
    key = PrivateKey.from_seed(b"n" * 32)
    net = Net(deals)
    notary = Notary(
        key.public, lambda _, content: key.sign(content), net.network.clock, is_validating=False
    )
    one, other, third = (built(net).id for _ in range(3))
    notary.await_signature(one)
    notary.await_signature(other)

    signatures = {tx_id: notary.signature(tx_id) for tx_id in (one, other, third, one)}

    for tx_id, signature in signatures.items():
        signature.verify_notarys(tx_id)
    assert signatures[third].signature != signatures[one].signature


def test_a_role_that_does_not_exist_is_refused() -> None:
    net = Net()

    with pytest.raises(ConfigurationError, match="no role 'sometimes'"):
        net.network.node("Another", install=install, notary="sometimes")


def test_two_payments_of_one_coin_at_once_are_one_payment() -> None:
    net = Net()
    net.issue(net.alice, 100)
    net.issue(net.alice, 50)
    handles = [
        net.alice.begin_flow(cash_flows.pay_cash, Amount(60, "USD"), net.bob.party, None, False)
        for _ in range(2)
    ]
    net.network.run()

    assert sorted(handle.status for handle in handles) == ["completed", "failed"]
    assert balance(net.bob) == 60
    assert balance(net.alice) == 90


@pytest.mark.parametrize("notary", ["validating", "non-validating"])
def test_a_notary_that_took_a_request_and_falls_silent_is_asked_again(notary: str) -> None:
    net = Net(deals, notary=notary)
    signed = built(net)
    good = net.notary.host.registry.responders[notarise.name]
    silent = responder(notarise)(notary_asking.falling_silent)
    net.notary.host.registry.responders[notarise.name] = silent
    handle = net.alice.begin_flow(notarise, signed)
    net.network.run_for(30)
    net.notary.host.registry.responders[notarise.name] = good
    net.network.run_for(60)

    assert handle.status == "completed"
    signature = handle.result()
    assert isinstance(signature, TransactionSignature)
    signature.verify_notarys(signed.id)


def test_a_notary_that_is_away_is_not_asked_twice() -> None:
    net = Net(deals)
    signed = built(net)
    net.notary.stop()
    handle = net.alice.begin_flow(notarise, signed)
    net.network.run_for(3_000)
    net.notary.start()

    handle.result()
    net.network.run()

    assert len(net.notary.flows()) == 1


def test_the_time_that_a_caller_gives_a_notary_is_not_stretched() -> None:
    net = Net(deals, notary_asking.notarise_within)
    signed = built(net)
    silent = responder(notarise)(notary_asking.falling_silent)
    net.notary.host.registry.responders[notarise.name] = silent
    handle = net.alice.begin_flow(notary_asking.notarise_within, signed, 100.0)

    net.network.run_for(99)
    assert handle.status == "waiting"
    net.network.run_for(2)

    with pytest.raises(FlowTimeout):
        handle.result()
    net.network.run_for(1)
    assert net.notary.info().flows_live == 2, "asked at first and after a minute"


def test_a_validating_notary_runs_the_contracts() -> None:
    net = Net(deals, notary="validating")
    builder = TransactionBuilder(net.notary.party)
    builder.add_output(Thing(owner=net.alice.party, name="forbidden"))
    builder.add_command(Do(), net.alice.party.key)
    builder.time_window = WINDOW
    signed = builder.sign(SALT, [net.alice.party.key], net.alice.signer.sign)

    with pytest.raises(TransactionInvalid, match="nothing may be called forbidden"):
        net.alice.start_flow(notarise, signed).result()

    assert list(net.notary.host.scan(GRANTS, b"", None)) == []


@pytest.mark.parametrize("again_as", [Group.INPUTS, Group.REFERENCES])
def test_a_state_twice_in_one_request_is_refused_in_words(again_as: Group) -> None:
    net = Net(deals)
    ref = encode(StateRef(SecureHash.of(b"a"), 0))
    groups = [list(built(net).transaction.components(group)) for group in Group]
    groups[Group.INPUTS] = [ref]
    groups[again_as] = [*groups[again_as], ref]
    wire = WireTransaction.of(groups, bytes(32))
    signed = SignedTransaction(wire.encoded).signed_by([net.alice.party.key], net.alice.signer.sign)

    with pytest.raises(TransactionInvalid, match="asked for twice"):
        net.alice.start_flow(notarise, signed).result()

    assert list(net.notary.host.scan(GRANTS, b"", None)) == []


def test_a_coin_that_turned_out_spent_is_not_paid_with_again() -> None:
    net = Net(notary_asking.spend_in_secret)
    net.issue(net.alice, 100)
    net.alice.start_flow(notary_asking.spend_in_secret, net.notary.party).result()
    with pytest.raises(NotaryConflict):
        net.pay(net.alice, net.bob, 100)
    net.network.run()

    with pytest.raises(InsufficientBalance):
        net.pay(net.alice, net.bob, 100)
    net.issue(net.alice, 60)
    net.pay(net.alice, net.bob, 60)

    assert balance(net.bob) == 60


def test_a_conflict_about_a_state_that_is_not_in_our_vault_is_its_error() -> None:
    net = Net(deals)
    net.alice.start_flow(notarise, consuming(net, LOST)).result()

    with pytest.raises(NotaryConflict):
        net.alice.start_flow(notarise, consuming(net, LOST, b"2" * 32)).result()

    assert list(net.alice.host.scan(SPENT_COINS, b"", None)) == []


def test_a_coin_that_we_know_to_be_spent_is_not_set_aside() -> None:
    net = Net(deals)
    coin = StateRef(net.issue(net.alice, 100), 0)
    net.pay(net.alice, net.bob, 100)

    with pytest.raises(NotaryConflict):
        net.alice.start_flow(notarise, consuming(net, coin)).result()

    assert list(net.alice.host.scan(SPENT_COINS, b"", None)) == []


def test_a_party_with_the_notarys_key_can_not_print_what_the_notary_then_grants() -> None:
    net = Net()
    notary = net.notary.party
    builder = TransactionBuilder(notary)
    printed = Amount(1_000, "USD").issued_by(notary)
    builder.add_output(CashState(owner=net.alice.party, amount=printed))
    builder.add_command(IssueCash(), notary.key)
    builder.time_window = WINDOW
    unsigned = SignedTransaction(builder.to_wire(SALT).encoded)

    with pytest.raises(TransactionMalformed, match="asks its notary"):
        net.alice.start_flow(notarise, unsigned).result()
