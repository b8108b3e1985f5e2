"""``mts1b.toml``, the file from which ``connect()`` learns where the bus is.

People edit it, so it is changed value by value: comments, order and every setting that is not ours stay.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import tomlkit
from tomlkit.exceptions import TOMLKitError

from mts1b_deploy.errors import ConfigFileError

_FRESH = """\
# written by mts1b-deploy install; edit freely, a second install keeps your edits
profile = {profile}
{stop}{tls}{checkouts}{edge}
[nats]
servers = [{servers}]
{people}monitor = {monitor}
{watched}"""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What the file says about one installation."""

    profile: str
    url: str
    monitor: str
    others: tuple[str, ...] = ()
    """Further nodes of a cluster."""
    tls_dir: str | None = None
    """Where certificates are; None: the connection is not encrypted."""
    people: tuple[str, ...] = ()
    """Where people connect with a token; empty: nowhere."""
    checkouts: tuple[str, ...] = ()
    """Checkouts that count as declared."""
    stop_file: str | None = None
    """While it is there, adapters of brokers trade nothing."""
    edge: str | None = None
    """The edge that it is."""
    disks: tuple[str, ...] = ()
    """Directories whose disks the monitor watches."""


def fresh(endpoint: Endpoint) -> str:
    """A new file."""
    return _FRESH.format(
        profile=_string(endpoint.profile),
        stop=f"stop_file = {_string(endpoint.stop_file)}\n" if endpoint.stop_file else "",
        tls=f"tls_dir = {_string(endpoint.tls_dir)}\n" if endpoint.tls_dir else "",
        checkouts=f"checkouts = [{', '.join(map(_string, endpoint.checkouts))}]\n" if endpoint.checkouts else "",
        edge=f"edge = {_string(endpoint.edge)}\n" if endpoint.edge else "",
        servers=", ".join(map(_string, (endpoint.url, *endpoint.others))),
        people=f"people = [{', '.join(map(_string, endpoint.people))}]\n" if endpoint.people else "",
        monitor=_string(endpoint.monitor),
        watched=f"\n[monitoring]\ndisks = [{', '.join(map(_string, endpoint.disks))}]\n" if endpoint.disks else "",
    )


def read_text(path: Path) -> str | None:
    """The file's text, None when there is none.

    Raises:
        ConfigFileError: it is there and cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return None  # whoever writes it will say what is in the way
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigFileError(f"{path} cannot be read: {error}. {_REMEDY}") from error


def merged(path: Path, text: str, endpoint: Endpoint, previous: Endpoint | None) -> tuple[str, bool]:
    """The text with this endpoint in it, and whether it now leads to this endpoint.

    Settings that are missing are added. What an earlier install wrote follows the new endpoint. A file that leads to
    other servers was meant to, and stays as it is.

    Raises:
        ConfigFileError: the text is no TOML or has something else in the place of our settings.
    """
    try:
        document = cast("dict[str, Any]", tomlkit.parse(text))
    except TOMLKitError as error:
        raise ConfigFileError(f"{path} is no valid TOML: {error}. {_REMEDY}") from error
    nats = _table(path, document, "nats")
    servers = _servers(path, nats.get("servers", document.get("servers")))
    if servers is None:
        nats["servers"] = [endpoint.url, *endpoint.others]
    elif endpoint.url not in servers:
        if previous is None or previous.url not in servers:
            return text, False
        holder = nats if "servers" in nats else document
        holder["servers"] = [endpoint.url if server == previous.url else server for server in servers]
    for where, key, value, was in (
        (nats, "people", list(endpoint.people) or None, previous and list(previous.people)),
        (nats, "monitor", endpoint.monitor, previous and previous.monitor),
        (document, "profile", endpoint.profile, previous and previous.profile),
        (document, "stop_file", endpoint.stop_file, previous and previous.stop_file),
        (document, "edge", endpoint.edge, previous and previous.edge),
        (document, "tls_dir", endpoint.tls_dir, previous and previous.tls_dir),
        (document, "checkouts", list(endpoint.checkouts) or None, previous and list(previous.checkouts)),
    ):
        if value is None:
            continue
        held = where.get(key, document.get(key))
        if held is None or (held == was and held != value):
            where[key] = value
    if endpoint.disks:
        _table(path, document, "monitoring").setdefault("disks", list(endpoint.disks))
    return tomlkit.dumps(cast("Any", document)), True


def _string(value: str) -> str:
    return tomlkit.string(value).as_string()


def _table(path: Path, document: dict[str, Any], name: str) -> dict[str, Any]:
    table = document.setdefault(name, tomlkit.table())
    if not isinstance(table, dict):
        raise ConfigFileError(f"{path}: {name} = {table!r} should be a table [{name}]. {_REMEDY}")
    return cast("dict[str, Any]", table)


def _servers(path: Path, value: object) -> list[str] | None:
    if value is None:
        return None
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    if isinstance(value, list):
        items = cast("list[object]", value)
        if all(isinstance(item, str) for item in items):
            return [str(item) for item in items]
    raise ConfigFileError(f"{path}: servers = {value!r} should be a list of NATS URLs. {_REMEDY}")


_REMEDY = "Correct it, or move it away and run the same command again: a new one is written"
