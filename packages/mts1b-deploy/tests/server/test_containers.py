"""What is rendered for containers is judged by the real server, with the files where the containers have them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from mts1b_deploy.containers import render_compose, render_helm
from mts1b_deploy.errors import UnknownName
from mts1b_deploy.render import validate_nats_conf
from mts1b_platform.server.binary import find_server


@pytest.mark.parametrize("nodes", [1, 3])
def test_the_compose_file_mounts_configurations_that_the_server_takes(tmp_path: Path, nodes: int):
    render_compose(tmp_path, nodes=nodes)
    document = yaml.safe_load((tmp_path / "compose.yaml").read_text())
    assert len(document["services"]) == nodes
    for name, service in document["services"].items():
        mounts = dict(volume.split(":")[:2] for volume in service["volumes"])
        inside = {Path(there): tmp_path / here for here, there in mounts.items() if here.startswith("./")}
        assert all(path.is_file() for path in inside.values())
        conf = (tmp_path / name / "nats.conf").read_text()
        assert 'sync_interval: "always"' in conf
        assert "log_file" not in conf
        used: dict[Path, Path] = {there: here for there, here in inside.items() if there.name != "nats.conf"}
        assert all(str(there) in conf for there in used)
        validate_nats_conf(find_server().path, conf, beside=lambda _, used=used: used)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    render_compose(tmp_path, nodes=nodes)
    assert {path: path.read_bytes() for path in before} == before


def test_two_nodes_are_refused_as_they_survive_less_than_one(tmp_path: Path):
    with pytest.raises(UnknownName, match="three and more"):
        render_compose(tmp_path, nodes=2)
    with pytest.raises(UnknownName, match="three or more"):
        render_helm(tmp_path, nodes=1)


def test_the_helm_values_make_a_configuration_that_the_server_takes(tmp_path: Path):
    render_helm(tmp_path)
    values = yaml.safe_load((tmp_path / "values.yaml").read_text())
    secret, config = yaml.safe_load_all((tmp_path / "resources.yaml").read_text())
    assert (tmp_path / "resources.yaml").stat().st_mode & 0o777 == 0o600
    assert (secret["metadata"]["name"], config["metadata"]["name"]) == ("mts1b-nats-tls", "mts1b-nats")
    conf = as_the_chart_does(values["config"])
    pki = tmp_path / "pki"
    files = {
        Path("/etc/nats-certs/nats/server.pem"): pki / "mts1b-nats.pem",
        Path("/etc/nats-certs/cluster/server.pem"): pki / "mts1b-nats.pem",
        Path("/etc/mts1b-nats/ca.crt"): pki / "ca.crt",
        Path("../mts1b-nats/accounts.conf"): Path("accounts.conf"),
    }

    def beside(directory: Path) -> dict[Path, Path]:
        (directory / "accounts.conf").write_text(config["data"]["accounts.conf"])
        return files

    validate_nats_conf(find_server().path, conf, beside=beside)


def as_the_chart_does(config: dict[str, Any]) -> str:
    """The configuration that the chart nats/nats makes of ``config``: its own keys, with ours merged over them."""

    def tls(where: str, given: dict[str, Any]) -> dict[str, Any]:
        directory = f"/etc/nats-certs/{where}"
        files = {"cert_file": f"{directory}/{given['cert']}", "key_file": f"{directory}/{given['key']}"}
        return {**files, **given["merge"]}

    cluster, jetstream = config["cluster"], config["jetstream"]
    document = {
        "server_name": "mts1b-nats-0",
        "port": 4222,
        "http_port": config["monitor"]["port"],
        "tls": tls("nats", config["nats"]["tls"]),
        "cluster": {
            "name": "mts1b-nats",
            "port": 6222,
            "no_advertise": True,
            "routes": [f"tls://mts1b-nats-{n}.mts1b-nats-headless:6222" for n in range(cluster["replicas"])],
            "tls": tls("cluster", cluster["tls"]),
            **cluster["merge"],
        },
        "jetstream": {"store_dir": jetstream["fileStore"]["dir"], **jetstream["merge"]},
        **config["merge"],
    }
    included = document.pop("$include")
    text = json.dumps(document, indent=1).replace('"<< ', "").replace(' >>"', "")
    return f"include '{included}'\n" + text.strip().removeprefix("{").removesuffix("}")
