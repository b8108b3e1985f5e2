"""``mts1b-deploy render``: the same server, the same permissions, for Docker Compose and for the official Helm chart.

Everything is rendered from the templates and the registry that an installation uses. Certificates are made once, in
``<out>/pki``, and stay. Where a container differs from a host, the rendered files say so.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from mts1b_platform.server.binary import find_server
from mts1b_platform.whole_file import write_whole

from mts1b_deploy.errors import UnknownName
from mts1b_deploy.layout import Layout
from mts1b_deploy.mts1b_toml import Endpoint, fresh
from mts1b_deploy.nodes import DEFAULT_CLUSTER_PORT, QUORUM, Peer
from mts1b_deploy.pki.files import directory
from mts1b_deploy.pki.store import Pki
from mts1b_deploy.profiles import DEFAULT_MONITOR_PORT, DEFAULT_PORT, LOOPBACK
from mts1b_deploy.record import InstallRecord
from mts1b_deploy.render import template_environment
from mts1b_deploy.secure import issue_missing, secure_values
from mts1b_deploy.secured import CLUSTER_NAME, ROUTE_NAME, cluster_values, settings_of

_INSIDE = Layout(Path("/mts1b"))
"""The layout within a container."""

_EVERYWHERE = "0.0.0.0"  # noqa: S104 - within the container; the compose file publishes on loopback only
_LOG_LINES = ("log_file:", "logfile_size_limit:", "logfile_max_num:", "# A full log")
_SERVICE = "mts1b-nats"
_HEADLESS = "mts1b-nats-headless"


def render_compose(out: Path, *, nodes: int = QUORUM, port: int = DEFAULT_PORT) -> list[Path]:
    """Write a Compose file with ``nodes`` servers, their configurations and certificates.

    Args:
        out: where it goes.
        nodes: one (profile single), or three and more (profile production).
        port: on which the first node is reached from this machine; the next ones follow it.

    Raises:
        UnknownName: two nodes cannot keep three copies.
    """
    if nodes < 1 or nodes == 2:
        raise UnknownName(f"--nodes {nodes}: one node, or three and more for three copies")
    peers = [Peer(f"n{each + 1}", f"n{each + 1}", DEFAULT_CLUSTER_PORT, DEFAULT_PORT) for each in range(nodes)]
    pki = _certificates(out, {peer.name: [peer.host, LOOPBACK, "localhost", ROUTE_NAME] for peer in peers})
    written = [_write(out / peer.name / "nats.conf", _conf(pki, peer, peers)) for peer in peers]
    services = {peer.name: _service(peer, port + number) for number, peer in enumerate(peers)}
    volumes: dict[str, None] = dict.fromkeys(f"{peer.name}-data" for peer in peers)
    document = {"name": CLUSTER_NAME, "services": services, "volumes": volumes}
    written.append(_write(out / "compose.yaml", _yaml(document, "`docker compose up -d` in this directory starts it.")))
    urls = tuple(f"tls://localhost:{port + number}" for number in range(nodes))
    endpoint = Endpoint(
        "production" if nodes > 1 else "single",
        urls[0],
        f"http://{LOOPBACK}:{DEFAULT_MONITOR_PORT}",
        others=urls[1:],
        tls_dir=str(pki.directory.absolute()),
    )
    settings = "# MTS1B_CONFIG=<this file> MTS1B_SERVICE=mts1b-deploy mts1b streams apply    makes the streams\n"
    return [*written, _write(out / "mts1b.toml", settings + fresh(endpoint))]


def render_helm(out: Path, *, nodes: int = QUORUM, size: str = "10Gi") -> list[Path]:
    """Write values for the chart ``nats/nats`` (1.x), and the Secret and ConfigMap that they refer to.

    Args:
        out: where it goes.
        nodes: how many servers.
        size: of each server's volume.

    Raises:
        UnknownName: fewer than three nodes cannot keep three copies.
    """
    if nodes < QUORUM:
        raise UnknownName(f"--nodes {nodes}: three or more, for three copies")
    hosts = [_SERVICE, _HEADLESS, *(f"{_SERVICE}-{each}.{_HEADLESS}" for each in range(nodes)), "localhost", LOOPBACK]
    pki = _certificates(out, {_SERVICE: [*hosts, ROUTE_NAME]})
    tls = {"enabled": True, "secretName": f"{_SERVICE}-tls", "cert": "server.pem", "key": "server.pem"}
    mapped = {"verify_and_map": True, "ca_file": f"/etc/{_SERVICE}/ca.crt"}
    values: dict[str, Any] = {
        "fullnameOverride": _SERVICE,
        "container": {"image": {"tag": f"{find_server().version}-alpine"}, "patch": _mounts()},
        "podTemplate": {"patch": _volumes()},
        "config": {
            "nats": {"tls": {**tls, "merge": {**mapped, "timeout": 2}}},
            "cluster": {
                "enabled": True,
                "replicas": nodes,
                "tls": {**tls, "merge": {**mapped, "timeout": 5}},
                "merge": {"name": CLUSTER_NAME, "authorization": {"user": ROUTE_NAME, "timeout": 5}},
            },
            "jetstream": {
                "enabled": True,
                "fileStore": {"enabled": True, "dir": "/data", "pvc": {"enabled": True, "size": size}},
                "merge": {"sync_interval": "always", "strict": True},
            },
            # The kubelet's probes need it; a NetworkPolicy keeps it from the rest.
            "monitor": {"enabled": True, "port": DEFAULT_MONITOR_PORT},
            "merge": {
                "$include": f"../{_SERVICE}/accounts.conf",
                "max_payload": "<< 1MB >>",
                "max_control_line": "<< 32KB >>",
                "max_pending": "<< 64MB >>",
                "write_deadline": "5s",
                "ping_interval": "5s",
                "lame_duck_grace_period": "1s",
            },
        },
        "natsBox": {"enabled": False},
    }
    return [
        _write(out / "values.yaml", _yaml(values, f"helm install {_SERVICE} nats/nats -f values.yaml")),
        _write(out / "accounts.conf", _accounts(pki)),
        _write(out / "resources.yaml", _resources(pki, _accounts(pki)), 0o600),
    ]


def _certificates(out: Path, servers: Mapping[str, list[str]]) -> Pki:
    pki = Pki(out / "pki")
    if not pki.exists:
        directory(out)
        pki.init()
    for name, hosts in servers.items():
        pki.issue(f"node-{name}" if name != _SERVICE else name, hosts=hosts)
    issue_missing(pki, [LOOPBACK, "localhost"])
    return pki


def _record(peer: Peer, peers: list[Peer]) -> InstallRecord:
    cluster = len(peers) > 1
    return InstallRecord(
        mts1b_version="",
        profile="production" if cluster else "single",
        include=("nats",),
        host=_EVERYWHERE,
        port=DEFAULT_PORT,
        monitor_port=DEFAULT_MONITOR_PORT,
        supervisor="detached",
        server_version="",
        server_source="",
        node=peer.name if cluster else None,
        peers=tuple(map(str, peers)) if cluster else (),
        names=(peer.host,),
        files={},
    )


def _conf(pki: Pki, peer: Peer, peers: list[Peer]) -> str:
    record = _record(peer, peers)
    settings = replace(
        settings_of(_INSIDE, record),
        server_name=peer.name,
        tls_pem=Pki(_INSIDE.pki).pem(peer.certificate),
    )
    values = secure_values(settings, pki.identities())
    template = "single.conf.j2"
    if record.clustered:
        values |= cluster_values(record)
        template = "production.conf.j2"
    text = template_environment().get_template(template).render(template=f"mts1b_deploy/nats/{template}", **values)
    # A container logs to its output, which nobody here rotates.
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(_LOG_LINES))


def _service(peer: Peer, port: int) -> dict[str, Any]:
    pki, inside = "./pki", f"{_INSIDE.pki}"
    healthy = f"wget -qO- http://{LOOPBACK}:{DEFAULT_MONITOR_PORT}/healthz?js-enabled-only=true"
    return {
        "image": f"nats:{find_server().version}-alpine",
        "hostname": peer.name,
        "command": ["-c", "/mts1b/etc/nats.conf"],
        "restart": "unless-stopped",
        "stop_grace_period": "40s",
        "read_only": True,
        "cap_drop": ["ALL"],
        "cap_add": ["DAC_READ_SEARCH"],  # certificates are readable by their owner on the host only
        "security_opt": ["no-new-privileges:true"],
        "ports": [f"{LOOPBACK}:{port}:{DEFAULT_PORT}"],
        "volumes": [
            f"./{peer.name}/nats.conf:{_INSIDE.nats_conf}:ro",
            f"{pki}/ca.crt:{inside}/ca.crt:ro",
            f"{pki}/{peer.certificate}.pem:{inside}/{peer.certificate}.pem:ro",
            f"{peer.name}-data:{_INSIDE.data}",
        ],
        "tmpfs": [str(_INSIDE.run)],
        "healthcheck": {"test": ["CMD-SHELL", healthy], "interval": "10s", "timeout": "3s", "start_period": "30s"},
    }


def _accounts(pki: Pki) -> str:
    record = _record(Peer("n1", "n1", DEFAULT_CLUSTER_PORT, DEFAULT_PORT), [])
    values = secure_values(settings_of(_INSIDE, record), pki.identities())
    return template_environment().get_template("accounts.conf.j2").render(**values)


def _mounts() -> list[dict[str, Any]]:
    mount = {"name": _SERVICE, "mountPath": f"/etc/{_SERVICE}", "readOnly": True}
    return [{"op": "add", "path": "/volumeMounts/-", "value": mount}]


def _volumes() -> list[dict[str, Any]]:
    return [{"op": "add", "path": "/spec/volumes/-", "value": {"name": _SERVICE, "configMap": {"name": _SERVICE}}}]


def _resources(pki: Pki, accounts: str) -> str:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"{_SERVICE}-tls"},
        "data": {"server.pem": base64.b64encode(pki.pem(_SERVICE).read_bytes()).decode()},
    }
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": _SERVICE},
        "data": {"ca.crt": pki.ca.read_text(), "accounts.conf": accounts},
    }
    return yaml.safe_dump_all([secret, config], sort_keys=False)


def _yaml(document: Mapping[str, Any], how: str) -> str:
    # Through JSON, so that nothing is shared and YAML needs no anchors.
    plain = json.loads(json.dumps(document))
    return f"# rendered by mts1b-deploy; render it again rather than edit it\n# {how}\n" + yaml.safe_dump(
        plain, sort_keys=False, width=120
    )


def _write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode(), mode)
    return path


__all__ = ["render_compose", "render_helm"]
