"""Permissions follow from the registry and the declared consumers, and open no hole."""

from itertools import combinations, product
from pathlib import Path

import pytest
from mts1b_deploy.errors import UnknownName
from mts1b_deploy.permissions import ADMIN, all_permissions, permissions_of
from mts1b_deploy.pki.store import Pki
from mts1b_deploy.render import validate_nats_conf
from mts1b_deploy.secure import Callout, SecureSettings, issue_missing, render_single
from mts1b_foundation.subjects import (
    OMS_FILLS_CREATED,
    OMS_ORDERS_ACCEPTED,
    OMS_ORDERS_CANCEL_REQUESTED,
    OMS_ORDERS_CREATED,
    PRODUCERS,
)
from mts1b_foundation.subjects.algebra import common, contains, overlaps
from mts1b_foundation.subjects.contributions import Contribution
from mts1b_foundation.subjects.sources import Source, load_sources
from mts1b_platform.eventbus.consumers import reads, shares
from mts1b_platform.server import find_server


def test_no_two_services_may_publish_the_same_event():
    services = [each for repo, each in all_permissions().items() if repo != ADMIN]
    events = {each.repo: [subject for subject in each.publish if subject.startswith("mts.")] for each in services}
    denied = {each.repo: each.deny for each in services}
    assert sorted(repo for repo, subjects in events.items() if subjects) == sorted([*PRODUCERS, "mts1b-broker-ib"])
    for (repo, subjects), (other, others) in combinations(events.items(), 2):
        for one, two in product(subjects, others):
            if overlaps(one, two):
                both = common(one, two)
                assert any(contains(each, both) for each in (*denied[repo], *denied[other])), both


def test_what_is_granted_is_the_grantees_alone_and_it_has_rights_of_its_own():
    adapter = Source(
        name="mts1b-broker-ib",
        consumers=(reads("mts1b-broker-ib", "broker-ib", OMS_ORDERS_ACCEPTED, OMS_ORDERS_CANCEL_REQUESTED),),
    )
    found = all_permissions([*load_sources(), adapter])
    ib, brokers = found["mts1b-broker-ib"], found["mts1b-brokers"]
    assert [each for each in ib.publish if each.startswith("mts.")] == [
        "mts.*.brokers.ib.>",
        "mts.v1.broker_ib.deadletters.created",
    ]
    assert "$JS.ACK.OMS_ORDERS.broker-ib.>" in ib.publish
    assert not any("broker-ib" in each for each in brokers.publish)
    assert "mts.*.brokers.ib.>" in brokers.deny
    assert not ib.problems


def test_nobody_may_publish_where_somebody_waits_for_an_ack():
    for each in all_permissions().values():
        assert not any(overlaps(subject, "_INBOX_mts1b-oms.>") for subject in each.publish)
        inboxes = [subject for subject in each.subscribe if subject.startswith("_INBOX")]
        assert inboxes == [f"_INBOX_{each.repo}.>"]


def test_only_the_administration_may_create_change_or_delete():
    for repo, each in all_permissions().items():
        for call in (
            "STREAM.PURGE.X",
            "STREAM.DELETE.X",
            "STREAM.UPDATE.X",
            "CONSUMER.CREATE.X.y",
            "CONSUMER.DELETE.X.y",
        ):
            assert any(overlaps(subject, f"$JS.API.{call}") for subject in each.publish) == (repo == ADMIN)


def test_a_declared_durable_gives_exactly_its_own_rights():
    declared = Source(name="mts1b-audit", consumers=(reads("mts1b-audit", "every-fill", OMS_FILLS_CREATED),))
    audit = permissions_of("mts1b-audit", [*load_sources(), declared])
    assert [subject for subject in audit.publish if "CONSUMER" in subject or "ACK" in subject] == [
        "$JS.API.CONSUMER.INFO.OMS_FILLS.every-fill",
        "$JS.API.CONSUMER.MSG.NEXT.OMS_FILLS.every-fill",
        "$JS.ACK.OMS_FILLS.every-fill.>",
    ]
    assert [subject for subject in audit.publish if subject.startswith("mts.")] == [
        "mts.v1.audit.deadletters.created"  # what it gives up on it stores, like everybody
    ]
    assert "$JS.API.STREAM.MSG.GET.DEADLETTERS" in audit.publish
    assert not audit.problems


def test_a_service_may_look_at_what_it_reads_and_ask_how_others_are_but_no_more():
    brokers = permissions_of("mts1b-brokers").publish
    assert "$JS.API.CONSUMER.MSG.NEXT.OMS_ORDERS.desk-brokers-orders" in brokers
    assert {"$JS.API.STREAM.INFO.OMS_ORDERS", "$JS.API.STREAM.MSG.GET.OMS_ORDERS"} <= {*brokers}
    assert not any("RESEARCH_SIGNALS" in subject for subject in brokers)
    assert [subject for subject in brokers if subject.startswith("svc.v1.*")] == [
        "svc.v1.*.status",
        "svc.v1.*.progress",
    ]


def test_a_reader_with_several_instances_may_hand_its_durable_over_and_no_other():
    several = reads("mts1b-audit", "every-fill", OMS_FILLS_CREATED, instances="standby")
    declared = Source(name="mts1b-audit", consumers=(several, reads("mts1b-audit", "alone", OMS_FILLS_CREATED)))
    audit = permissions_of("mts1b-audit", [*load_sources(), declared])
    assert [subject for subject in audit.publish if "UNPIN" in subject] == [
        "$JS.API.CONSUMER.UNPIN.OMS_FILLS.every-fill"
    ]
    others = [subject for each in all_permissions().values() for subject in each.publish if "UNPIN" in subject]
    assert all(subject.split(".")[-1].startswith("desk-") for subject in others), "those of the desk are declared so"


def test_instances_that_share_keys_may_read_each_key_and_hear_each_other():
    books = shares("mts1b-audit", "fills", OMS_FILLS_CREATED, by="fund_id", keys=["alpha", "beta"])
    audit = permissions_of("mts1b-audit", [*load_sources(), Source(name="mts1b-audit", consumers=books)])
    assert [each.rpartition(".")[2] for each in audit.publish if "MSG.NEXT" in each] == ["fills-alpha", "fills-beta"]
    assert [each for each in audit.publish if each.startswith("_mts.")] == ["_mts.group.OMS_FILLS.fills"]
    assert [each for each in audit.subscribe if each.startswith("_mts.")] == ["_mts.group.OMS_FILLS.fills"]


def test_dead_letters_lie_below_the_claim_or_the_name_and_never_below_anothers():
    def permissions_for(repo: str, **producers: str) -> tuple[list[str], tuple[str, ...]]:
        contribution = Contribution(producers={name.replace("_", "-"): claim for name, claim in producers.items()})
        reader = Source("x", contribution=contribution, consumers=(reads(repo, "every-fill", OMS_FILLS_CREATED),))
        found = permissions_of(repo, [*load_sources(), reader])
        return [each for each in found.publish if each.startswith("mts.")], found.problems

    assert permissions_for("mts1b-gongs", mts1b_gongs="bronze") == (["mts.*.bronze.>"], ())
    assert permissions_for("mts1b-oms-audit", mts1b_oms_audit="mts.*.audits.oms.>") == (
        ["mts.*.audits.oms.>", "mts.v1.oms_audit.deadletters.created"],
        (),
    )
    first = Source("a", consumers=(reads("fill-audit", "every-fill", OMS_FILLS_CREATED),))
    second = Source("b", consumers=(reads("mts1b-fill-audit", "all-fills", OMS_FILLS_CREATED),))
    both = all_permissions([*load_sources(), first, second])
    assert not both["fill-audit"].problems
    assert "mts.v1.fill_audit.deadletters.created, which is fill-audit's" in both["mts1b-fill-audit"].problems[0]
    twice = Contribution(producers={"mts1b-oms": "mts.*.extra.>"})
    assert permissions_of("mts1b-oms", [*load_sources(), Source("c", contribution=twice)]).publish[:2] == (
        "mts.*.oms.>",
        "mts.*.extra.>",
    )
    subjects, (problem,) = permissions_for("mts1b-risk")
    assert subjects == []
    assert "mts.v1.risk.deadletters.created, which is mts1b-riskengine's" in problem


def test_a_durable_on_its_own_events_is_not_granted_and_said_to_be_a_problem():
    declared = Source(name="x", consumers=(reads("mts1b-oms", "own", OMS_ORDERS_CREATED),))
    oms = permissions_of("mts1b-oms", [*load_sources(), declared])
    assert not any("own" in subject for subject in oms.publish)
    assert len(oms.problems) == 1
    assert "durable own on OMS_ORDERS reads mts.v1.oms.orders.created" in oms.problems[0]


def test_a_repo_that_nobody_knows_is_named_with_those_that_are():
    with pytest.raises(UnknownName, match=r"mts1b-omss.*mts1b-oms,"):
        permissions_of("mts1b-omss")


@pytest.mark.parametrize("people", [True, False])
def test_the_server_takes_what_is_rendered_and_a_service_without_certificate_has_no_user(tmp_path: Path, people: bool):
    pki = Pki(tmp_path / "pki")
    pki.init()
    issue_missing(pki, ["127.0.0.1"])
    pki.revoke("mts1b-research")
    settings = SecureSettings(
        server_name="n",
        listen="127.0.0.1:4222",
        monitor="127.0.0.1:8222",
        pid_file=tmp_path / 'a "quoted" pid',
        log_file=tmp_path / "log",
        store_dir=tmp_path / "store",
        tls_ca=pki.ca,
        tls_pem=pki.pem("server"),
        websocket="127.0.0.1:4443" if people else None,
        callout=Callout(
            issuer="ABJHLOVMPA4CI6R5KLNGOB4GSLNIY7IOUPAJC4YFNDLQVIOBYQGUWVLA",
            xkey="XAB3NANV3M6N7AHSQP2U5FRWKKUT7EG2ZXXABV4XVXYQRJGM4S2CZGHT",
        )
        if people
        else None,
    )
    text = render_single(settings, pki.identities())
    validate_nats_conf(find_server().path, text)
    assert 'user: "spiffe://mts1b/mts1b-oms"' in text
    assert "mts1b-research" not in text.replace("_SVC.mts1b-research", "")
