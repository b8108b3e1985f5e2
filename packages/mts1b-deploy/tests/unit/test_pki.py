"""Certificates as files: made, renewed, withdrawn, or signed by somebody else."""

import json
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from mts1b_deploy.doctor.file_checks import check_certificates
from mts1b_deploy.errors import PkiError, UnknownName
from mts1b_deploy.layout import Layout
from mts1b_deploy.nodes import peers_named
from mts1b_deploy.pki import certificates as make
from mts1b_deploy.pki.files import authority
from mts1b_deploy.pki.store import Pki, identity_of
from mts1b_deploy.record import InstallRecord
from mts1b_deploy.secure import issue_missing
from mts1b_deploy.secured import settings_of


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    made = Pki(tmp_path / "pki")
    made.init()
    return made


def leaf(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_everything_is_for_its_owner_alone(pki: Pki):
    pki.issue("mts1b-oms")
    for path in [pki.directory, *pki.directory.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_a_services_certificate_names_it_and_is_for_clients_only(pki: Pki):
    entry = pki.issue("mts1b-oms")
    made = leaf(pki.pem("mts1b-oms"))
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://mts1b/mts1b-oms"]
    uses = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert made.not_valid_after_utc - datetime.now(UTC) <= timedelta(days=30)
    assert pki.identities() == {"mts1b-oms": entry.identity}


def test_a_servers_certificate_has_its_addresses(pki: Pki):
    pki.issue("server", hosts=["127.0.0.1", "bus.example.org"])
    names = leaf(pki.pem("server")).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert names.get_values_for_type(x509.DNSName) == ["bus.example.org"]
    assert pki.identities() == {}


def test_issuing_again_keeps_what_is_good_and_renews_what_is_due(pki: Pki):
    first = pki.issue("mts1b-oms")
    assert pki.issue("mts1b-oms") == first
    assert pki.rotate(due=True) == []
    short = pki.issue("mts1b-research", lifetime=timedelta(minutes=1))
    assert short.state(datetime.now(UTC)) == "due"
    assert [each.name for each in pki.rotate(due=True)] == ["mts1b-research"]
    assert [each.name for each in pki.rotate()] == ["mts1b-oms", "mts1b-research"]
    assert pki.issue("mts1b-oms").serial != first.serial


def test_doctor_leaves_a_day_to_whoever_renews_what_is_due(tmp_path: Path):
    layout = Layout(tmp_path)
    pki = Pki(layout.pki)
    pki.init()
    entry = pki.issue("mts1b-oms")
    hours = [datetime.now(UTC) + timedelta(hours=hour) for hour in range(30 * 24)]
    due = next(hour for hour in hours if entry.state(hour) == "due")
    told = next(
        hour for hour in hours if "certificate-expiry" in {each.code for each in check_certificates(layout, hour)}
    )
    assert timedelta(days=2) < told - due < timedelta(days=3)


def test_no_certificate_outlives_its_authority(tmp_path: Path):
    made = Pki(tmp_path / "pki")
    made.init(lifetime=timedelta(days=2))
    made.issue("mts1b-oms", lifetime=timedelta(days=30))
    assert leaf(made.pem("mts1b-oms")).not_valid_after_utc == leaf(made.ca).not_valid_after_utc


def test_after_a_revocation_the_service_has_another_identity(pki: Pki):
    pki.issue("mts1b-oms")
    pki.revoke("mts1b-oms")
    assert pki.identities() == {}
    assert not pki.pem("mts1b-oms").exists()
    assert pki.issue("mts1b-oms").identity == identity_of("mts1b-oms", 2) == "spiffe://mts1b/mts1b-oms/2"
    pki.revoke("mts1b-oms")
    assert pki.issue("mts1b-oms").identity == "spiffe://mts1b/mts1b-oms/3"
    assert [entry.state(datetime.now(UTC)) for entry in pki.entries()] == ["revoked", "revoked", "valid"]


def test_ones_own_authority_signs_when_its_key_is_given(tmp_path: Path):
    own = make.new_authority("Corporate", timedelta(days=10))
    (tmp_path / "ca.crt").write_bytes(make.certificate_pem(own.certificate))
    (tmp_path / "ca.key").write_bytes(make.private_pem(own.key))
    pki = Pki(tmp_path / "pki")
    assert pki.init(ca=tmp_path / "ca.crt", ca_key=tmp_path / "ca.key")
    assert not pki.init(ca=tmp_path / "ca.crt", ca_key=tmp_path / "ca.key")
    pki.issue("mts1b-oms")
    leaf(pki.pem("mts1b-oms")).verify_directly_issued_by(own.certificate)


def test_an_authority_elsewhere_gets_requests_and_its_certificates_are_checked(tmp_path: Path):
    own = make.new_authority("Corporate", timedelta(days=10))
    (tmp_path / "ca.crt").write_bytes(make.certificate_pem(own.certificate))
    pki = Pki(tmp_path / "pki")
    pki.init(ca=tmp_path / "ca.crt")
    assert pki.issue("mts1b-oms").state(datetime.now(UTC)) == "requested"
    request = x509.load_pem_x509_csr((pki.directory / "mts1b-oms.csr").read_bytes())
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    signed = tmp_path / "signed.crt"

    def sign(key: object, identity: str, by: make.Signer = own) -> None:
        certificate = make.certify(
            by,
            key,  # type: ignore[arg-type]
            "x",
            make.client_names(identity),
            server=False,
            lifetime=timedelta(days=1),
        )
        signed.write_bytes(make.certificate_pem(certificate))

    class Requested:
        """Stands for the key that only the request's owner has."""

        public_key = staticmethod(request.public_key)

    sign(make.new_key(), identity_of("mts1b-oms"))
    with pytest.raises(PkiError, match="is not for the key"):
        pki.take("mts1b-oms", signed)
    sign(Requested, "spiffe://mts1b/mts1b-research")
    with pytest.raises(PkiError, match="does not name spiffe://mts1b/mts1b-oms"):
        pki.take("mts1b-oms", signed)
    sign(Requested, identity_of("mts1b-oms"), make.new_authority("Stranger", timedelta(days=1)))
    with pytest.raises(PkiError, match="was not signed by an authority in"):
        pki.take("mts1b-oms", signed)
    sign(Requested, names.get_values_for_type(x509.UniformResourceIdentifier)[0])
    assert pki.take("mts1b-oms", signed).state(datetime.now(UTC)) == "valid"
    ssl.create_default_context().load_cert_chain(pki.pem("mts1b-oms"))
    assert not (pki.directory / "mts1b-oms.key").exists()


@pytest.mark.parametrize("name", ["", "../oms", "OMS", "mts1b oms", ".hidden", "a/b"])
def test_what_is_no_name_makes_no_file(pki: Pki, name: str):
    with pytest.raises(PkiError, match="names no service"):
        pki.issue(name)


def test_errors_say_what_to_do(tmp_path: Path, pki: Pki):
    with pytest.raises(PkiError, match="mts1b-deploy pki init"):
        Pki(tmp_path / "nothing").issue("mts1b-oms")
    with pytest.raises(PkiError, match="pki ls"):
        pki.revoke("mts1b-oms")
    pki.issue("mts1b-oms")
    with pytest.raises(PkiError, match="may not sign others"):
        Pki(tmp_path / "other").init(ca=pki.pem("mts1b-oms"))
    pki.register.write_text("{")
    with pytest.raises(PkiError, match="is damaged"):
        pki.entries()


def test_the_register_is_plain_json(pki: Pki):
    pki.issue("mts1b-oms")
    assert [row["name"] for row in json.loads(pki.register.read_text())] == ["mts1b-oms"]
    assert authority(pki.ca.read_bytes(), pki.ca_key.read_bytes(), pki.ca) is not None


def test_nobody_is_shut_out_unseen_by_a_revocation(tmp_path: Path):
    """Revoked and forgotten, issued anew but with another identity than the server knows, or taken away."""
    layout = Layout(tmp_path)
    pki = Pki(layout.pki)
    pki.init()
    issue_missing(pki, ["127.0.0.1"])

    def shut_out() -> list[str]:
        return [
            each.what for each in check_certificates(layout, datetime.now(UTC)) if each.code == "certificate-missing"
        ]

    assert shut_out() == []
    before = pki.pem("mts1b-oms").read_bytes()
    pki.revoke("mts1b-oms")
    assert shut_out() == ["the certificate of mts1b-oms was revoked and not issued anew: it does not get onto the bus"]
    pki.rotate()
    assert len(shut_out()) == 1
    pki.issue("mts1b-oms")
    assert shut_out() == []
    pki.pem("mts1b-oms").write_bytes(before)  # an old copy
    (problem,) = shut_out()
    assert "names spiffe://mts1b/mts1b-oms, and the server knows mts1b-oms as spiffe://mts1b/mts1b-oms/2" in problem
    pki.pem("mts1b-auth").unlink()
    assert any("mts1b-auth is not there" in each for each in shut_out())


def test_addresses_of_ipv6_stand_in_brackets(tmp_path: Path):
    peers = peers_named("n1=[fd00::1],n2=[fd00::2]:7000,n3=[fd00::3]:7000:5000", cluster_port=6222, port=4222)
    assert [(peer.host, peer.cluster_port, peer.port) for peer in peers] == [
        ("fd00::1", 6222, 4222), ("fd00::2", 7000, 4222), ("fd00::3", 7000, 5000),
    ]  # fmt: skip
    assert str(peers[2]) == "n3=[fd00::3]:7000:5000"
    assert peers_named(str(peers[2]), cluster_port=1, port=1) == (peers[2],)
    assert peers[0].listen_host == "fd00::1"
    for wrong in ("n1=fd00::1", "n1=[fd00::zz]", "n1=[fd00::1]x", "n1=[]"):
        with pytest.raises(UnknownName, match="IPv6 address in brackets"):
            peers_named(wrong, cluster_port=6222, port=4222)
    record = InstallRecord(
        mts1b_version="1", profile="single", include=("nats",), host="::", port=4222, monitor_port=8222,
        supervisor="detached", server_version="2", server_source="x", names=("fd00::1",), websocket_port=8443, files={},
    )  # fmt: skip
    assert (record.url, record.people_urls) == ("tls://[fd00::1]:4222", ("wss://[fd00::1]:8443",))
    assert record.probe_host == "::1"
    assert settings_of(Layout(tmp_path), record).websocket == "[::]:8443"
