"""Transactions: their id, what is decoded, and who has signed."""

import pytest

from ledger.amounts import Amount
from ledger.builder import TransactionBuilder
from ledger.components import ABSENT_ROOT, Group, id_by
from ledger.errors import (
    SignatureRejected,
    SignaturesMissing,
    StateTypeUnknown,
    TransactionMalformed,
)
from ledger.hashing import DOMAIN_GROUP, SecureHash, component_leaf, component_nonce
from ledger.merkle import PartialTree, root_of
from ledger.signatures import TransactionSignature, notarise_many, sign_one
from ledger.states import StateRef
from ledger.testing import Ledger
from ledger.time_window import TimeWindow
from ledger.transactions import (
    TRANSACTION_BYTES_MAX,
    SignedTransaction,
    WireParts,
    WireTransaction,
)
from runtime.codec import Packed, decode, encode, pack, unpack
from runtime.errors import BadMessage, MisuseError
from tests.ledger.parties import (
    ALICE,
    BANK,
    BOB,
    NOTARY,
    OTHER_NOTARY,
    SALT,
    Do,
    Lonely,
    Thing,
)

LAMP = Thing(owner=ALICE.party, name="lamp")


def builder_of_all() -> TransactionBuilder:
    ledger = Ledger(NOTARY.party)
    builder = TransactionBuilder(NOTARY.party)
    builder.add_input(ledger.issue(LAMP))
    builder.add_reference(ledger.issue(LAMP))
    builder.add_output(LAMP.with_owner(BOB.party))
    builder.add_command(Do(), ALICE.key, BOB.key)
    builder.add_attachment(SecureHash.of(b"prospectus"))
    builder.time_window = TimeWindow(1, 2)
    builder.parameters = SecureHash.of(b"parameters")
    return builder


def issue(name: str = "lamp") -> TransactionBuilder:
    builder = TransactionBuilder(NOTARY.party)
    builder.add_output(Thing(owner=ALICE.party, name=name))
    builder.add_command(Do(), ALICE.key)
    return builder


def signed_by_alice() -> SignedTransaction:
    return builder_of_all().sign(SALT, [ALICE.key], ALICE.sign)


def test_what_is_built_is_what_arrives() -> None:
    builder = builder_of_all()

    arrived = unpack(pack(signed_by_alice()), SignedTransaction).transaction

    assert arrived.inputs == tuple(state.ref for state in builder.inputs)
    assert len(arrived.references) == 1
    assert arrived.outputs == builder.outputs
    assert arrived.commands[0].data == Do()
    assert arrived.commands[0].signers == (ALICE.key, BOB.key)
    assert arrived.attachments == (SecureHash.of(b"prospectus"),)
    assert arrived.notary == NOTARY.party
    assert arrived.time_window == TimeWindow(1, 2)
    assert arrived.parameters == SecureHash.of(b"parameters")
    assert arrived.output_ref(0).ref == StateRef(arrived.id, 0)
    assert arrived.dependencies == {arrived.inputs[0].txhash, arrived.references[0].txhash}


def test_the_id_is_the_root_of_the_group_roots() -> None:
    wire = issue().to_wire(SALT)
    roots = list(wire.group_roots)
    nonce = component_nonce(SALT, group=Group.OUTPUTS, index=0)
    leaf = component_leaf(nonce, wire.components(Group.OUTPUTS)[0])

    assert roots[Group.INPUTS] == ABSENT_ROOT
    assert roots[Group.OUTPUTS] == root_of([leaf], DOMAIN_GROUP)
    assert wire.id == id_by(roots)


def test_the_id_of_a_known_transaction_never_changes() -> None:
    # Whoever changes how components are encoded or hashed forks every ledger there is.
    wire = WireTransaction.of([[], [b"output"], [b"command"], [], [], [], [b"signers"]], SALT)

    assert str(wire.id) == "a1524a34503b4756706c5387b07f2fb5ad7e1b4918eee814132a9417fee71a5e"


def test_each_component_and_the_salt_change_the_id() -> None:
    base = builder_of_all().to_wire(SALT)
    ids = {base.id, builder_of_all().to_wire(b"t" * 32).id}
    for group in Group:
        groups = [list(base.components(g)) for g in Group]
        groups[group][0] += b"\x00"
        ids.add(WireTransaction.of(groups, SALT).id)

    assert len(ids) == 2 + len(Group)


def test_components_are_hashed_as_the_bytes_that_arrived() -> None:
    base = issue().to_wire(SALT)
    groups = [list(base.components(g)) for g in Group]
    canonical = groups[Group.NOTARY][0]
    name = encode("name")[1:]
    assert name in canonical
    reordered = encode({"key": None, "$": "runtime.party.Party"})  # another order of the fields
    groups[Group.NOTARY][0] = reordered

    changed = WireTransaction.of(groups, SALT)

    assert changed.components(Group.NOTARY)[0] == reordered
    assert changed.id != base.id


@pytest.mark.parametrize(
    ("salt", "groups", "reason"),
    [
        (b"short", ((b"x",),), "salt must have"),
        (SALT, ((),) * 9 + ((b"x",),), "component groups that this version"),
        (SALT, ((), (), (), (), (b"a", b"b")), "more than one NOTARY"),
        (SALT, ((), (), (b"a",)), "signers for each command"),
        (SALT, ((b"a",), ()), "encoding its parts"),
    ],
)
def test_a_transaction_of_wrong_shape_is_refused(
    salt: bytes, groups: tuple[tuple[bytes, ...], ...], reason: str
) -> None:
    wire = WireTransaction(encode(WireParts(salt, groups)))

    with pytest.raises(TransactionMalformed, match=reason):
        _ = wire.id


def test_other_bytes_for_the_same_transaction_are_refused() -> None:
    wire = builder_of_all().to_wire(SALT)
    fields = {"salt": wire.parts.salt, "groups": [list(group) for group in wire.parts.groups]}
    surplus = encode({"$": "ledger.Wire", **fields, "more": 1})
    reordered = encode({"groups": fields["groups"], "salt": fields["salt"], "$": "ledger.Wire"})

    for other in (surplus, reordered):
        with pytest.raises(TransactionMalformed, match="encoding its parts"):
            _ = SignedTransaction(other).id


def test_a_notary_is_no_party_to_what_it_notarises() -> None:
    builder = builder_of_all()
    builder.add_command(Do("print money"), NOTARY.key)
    signed = builder.sign(SALT, [ALICE.key], ALICE.sign)

    with pytest.raises(TransactionMalformed, match="asks its notary for a signature"):
        signed.verify_signatures()


def test_bytes_that_are_no_transaction_are_refused() -> None:
    with pytest.raises(TransactionMalformed, match=r"ledger\.Wire"):
        _ = SignedTransaction(b"\xc0").id
    with pytest.raises(TransactionMalformed, match="more than"):
        _ = SignedTransaction(bytes(TRANSACTION_BYTES_MAX + 1)).id


def test_a_component_that_is_not_what_its_group_holds_is_refused() -> None:
    wire = WireTransaction.of([[b"\xc0"]], SALT)

    with pytest.raises(TransactionMalformed, match="INPUTS"):
        _ = wire.inputs


def test_a_command_of_a_type_that_is_not_installed_says_so() -> None:
    groups: list[list[bytes]] = [[] for _ in Group]
    groups[Group.COMMANDS] = [encode(Packed("acme.Sell", b"\x80"))]
    groups[Group.SIGNERS] = [encode([ALICE.key])]

    with pytest.raises(StateTypeUnknown, match=r"command acme\.Sell"):
        _ = WireTransaction.of(groups, SALT).commands


def test_the_notary_must_sign_only_what_needs_it() -> None:
    assert issue().to_wire(SALT).required_keys == {ALICE.key}
    assert builder_of_all().to_wire(SALT).required_keys == {ALICE.key, BOB.key, NOTARY.key}
    assert issue().sign(SALT, [], ALICE.sign).is_notarised
    assert not signed_by_alice().is_notarised


def test_missing_signatures_are_named() -> None:
    signed = signed_by_alice()

    with pytest.raises(SignaturesMissing) as caught:
        signed.verify_signatures()

    assert BOB.key.fingerprint() in str(caught.value)
    assert NOTARY.key.fingerprint() in str(caught.value)
    assert signed.missing_keys == {BOB.key, NOTARY.key}
    signed.verify_signatures_except({BOB.key, NOTARY.key})


def test_a_transaction_that_all_have_signed_verifies() -> None:
    signed = signed_by_alice()
    signed = signed.signed_by([BOB.key], BOB.sign)
    signed = signed.with_signatures(*notarise_many([signed.id], NOTARY.key, NOTARY.sign))

    signed.verify_signatures()

    assert signed.is_notarised
    assert str(signed) == f"transaction {signed.id}, 3 signatures"


def test_a_signature_that_nobody_asked_for_is_refused_though_it_fits() -> None:
    signed = signed_by_alice()
    signed = signed.with_signatures(sign_one(signed.id, BANK.key, BANK.sign))

    with pytest.raises(SignatureRejected, match=f"{BANK.key.fingerprint()} is not needed"):
        signed.verify_signatures_except({BOB.key, NOTARY.key})


def test_a_signature_that_is_there_twice_is_refused() -> None:
    signed = signed_by_alice()
    twice = SignedTransaction(signed.wire, signed.signatures * 2)

    with pytest.raises(SignatureRejected, match=f"{ALICE.key.fingerprint()} is there twice"):
        twice.verify_signatures_except({BOB.key, NOTARY.key})


def test_a_signature_of_something_else_is_refused() -> None:
    other = issue("other").to_wire(SALT)
    signed = signed_by_alice().with_signatures(sign_one(other.id, BOB.key, BOB.sign))

    with pytest.raises(SignatureRejected, match=f"{BOB.key.fingerprint()} does not fit"):
        signed.verify_signatures_except({NOTARY.key})


def test_the_first_signature_of_a_key_stays() -> None:
    signed = signed_by_alice()
    forged = TransactionSignature(ALICE.key, bytes(64))

    assert signed.with_signatures(forged) == signed


def test_too_many_signatures_do_not_decode() -> None:
    signature = sign_one(SecureHash.of(b""), ALICE.key, ALICE.sign)
    body = encode({"$": "ledger.SignedTransaction", "wire": b"", "signatures": [signature] * 1_001})

    with pytest.raises(BadMessage, match="at most"):
        decode(body, SignedTransaction)


@pytest.mark.parametrize("count", [1, 2, 3, 100])
def test_one_signature_over_many_transactions_fits_each_of_them(count: int) -> None:
    ids = [SecureHash.of(b"%d" % number) for number in range(count)]

    signatures = notarise_many(ids, NOTARY.key, NOTARY.sign)

    assert len({s.signature for s in signatures}) == 1
    for tx_id, signature in zip(ids, signatures, strict=True):
        signature.verify_notarys(tx_id)
        assert unpack(pack(signature), TransactionSignature) == signature
        assert not signature.is_valid_notarys(SecureHash.of(b"another"))


def test_a_batch_signature_without_its_proof_or_with_a_bad_one_is_refused() -> None:
    ids = [SecureHash.of(b"%d" % number) for number in range(3)]
    signature = notarise_many(ids, NOTARY.key, NOTARY.sign)[0]
    bare = TransactionSignature(NOTARY.key, signature.signature)
    cut = TransactionSignature(NOTARY.key, signature.signature, PartialTree(3, (0,), ()))
    wide = TransactionSignature(NOTARY.key, signature.signature, PartialTree(3, (0, 1), ()))

    for wrong in (bare, cut, wide):
        assert not wrong.is_valid_notarys(ids[0])
    with pytest.raises(SignatureRejected):
        bare.verify_notarys(ids[0])


def test_a_signature_of_one_transaction_is_none_of_a_batch() -> None:
    ids = [SecureHash.of(b"1"), SecureHash.of(b"2")]
    batch = notarise_many(ids, NOTARY.key, NOTARY.sign)
    proof = batch[0].proof
    assert proof is not None
    single = sign_one(ids[0], NOTARY.key, NOTARY.sign)

    assert not TransactionSignature(NOTARY.key, single.signature, proof).is_valid_notarys(ids[0])


def test_a_notary_that_signs_as_a_party_has_notarised_nothing() -> None:
    signed = signed_by_alice().signed_by(
        [BOB.key, NOTARY.key],
        lambda key, content: (BOB if key == BOB.key else NOTARY).sign(key, content),
    )

    with pytest.raises(SignatureRejected, match=NOTARY.key.fingerprint()):
        signed.verify_signatures()


def test_what_a_party_signs_is_no_notarisation_and_the_other_way_round() -> None:
    tx_id = SecureHash.of(b"1")
    partys = sign_one(tx_id, NOTARY.key, NOTARY.sign)
    (notarys,) = notarise_many([tx_id], NOTARY.key, NOTARY.sign)

    assert partys.is_valid(tx_id)
    assert notarys.is_valid_notarys(tx_id)
    assert not partys.is_valid_notarys(tx_id)
    assert not notarys.is_valid(tx_id)
    assert not TransactionSignature(NOTARY.key, notarys.signature).is_valid(tx_id)


def test_the_builder_refuses_a_state_twice() -> None:
    state = Ledger(NOTARY.party).issue(LAMP)
    builder = TransactionBuilder(NOTARY.party)
    builder.add_input(state)

    for add in (builder.add_input, builder.add_reference):
        with pytest.raises(MisuseError, match="already an input"):
            add(state)


def test_the_builder_does_not_consume_what_it_reads() -> None:
    state = Ledger(NOTARY.party).issue(LAMP)
    builder = TransactionBuilder(NOTARY.party)
    builder.add_reference(state)

    for add in (builder.add_input, builder.add_reference):
        with pytest.raises(MisuseError, match="already an input or a reference"):
            add(state)


def test_the_builder_reads_only_what_its_notary_watches_over() -> None:
    builder = TransactionBuilder(NOTARY.party)

    with pytest.raises(MisuseError, match="watched over by"):
        builder.add_reference(Ledger(OTHER_NOTARY.party).issue(LAMP))


def test_the_builder_takes_the_notary_of_its_first_input_and_refuses_others() -> None:
    builder = TransactionBuilder()
    builder.add_input(Ledger(NOTARY.party).issue(LAMP))

    assert builder.notary == NOTARY.party
    foreign = Ledger(OTHER_NOTARY.party)
    foreign.fresh_salt()
    with pytest.raises(MisuseError, match="states of one notary"):
        builder.add_input(foreign.issue(LAMP))


def test_the_builder_needs_a_notary_for_outputs_and_a_contract_for_states() -> None:
    with pytest.raises(MisuseError, match="an output needs a notary"):
        TransactionBuilder().add_output(LAMP)
    with pytest.raises(MisuseError, match="belongs_to"):
        TransactionBuilder(NOTARY.party).add_output(Lonely(owner=ALICE.party))


def test_the_builder_puts_signers_of_equal_commands_together() -> None:
    builder = issue()
    builder.add_command(Do(), BOB.key, ALICE.key)
    builder.add_command(Do("else"), BOB.key)

    wire = builder.to_wire(SALT)

    assert [c.signers for c in wire.commands] == [(ALICE.key, BOB.key), (BOB.key,)]
    assert builder.signers == (ALICE.key, BOB.key)


def test_the_builder_refuses_a_short_salt() -> None:
    with pytest.raises(MisuseError, match="salt has 32 bytes"):
        issue().to_wire(b"short")


def test_amounts_in_states_survive_the_wire() -> None:
    amount = Amount(7, "USD").issued_by(BANK.party)

    assert decode(encode(amount), Amount) == amount
