"""``mts1b-deploy mirror``, ``promote`` and ``follow``: a second site that stands in for the first."""

import asyncio
from collections import Counter
from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer
from mts1b_platform.by_hand import Actor, Choices, Confirm, Deed, DryRun, Reason, permit, show
from mts1b_platform.command_line import user
from mts1b_platform.config import Settings
from mts1b_platform.observability.audit import audit_action

from mts1b_deploy import output
from mts1b_deploy.cli_options import (
    CheckoutOption,
    EncryptOption,
    JsonOption,
    ListenOption,
    MonitorPortOption,
    NatsServerOption,
    PkiOption,
    PrefixOption,
    SiteOption,
    SitesOption,
    StartTimeout,
    SupervisorOption,
    UserConfigOption,
    WebsocketPortOption,
    examples,
)
from mts1b_deploy.errors import SiteError, UnknownName
from mts1b_deploy.layout import layout_of
from mts1b_deploy.nodes import DEFAULT_LEAF_PORT, Peer, address, peers_named
from mts1b_deploy.profiles import DEFAULT_PORT
from mts1b_deploy.record import InstallRecord, find_record, record_of

app = typer.Typer()


@app.command(
    epilog=examples(
        "mts1b-deploy mirror --site b --sites a=10.0.0.1,b=10.0.1.1 --pki ./pki",
        "mts1b-deploy mirror                       # on the old site, after the other one was promoted",
        "mts1b-deploy mirror --replace             # after you have seen what is lost",
    )
)
def mirror(
    *,
    site: SiteOption = None,
    sites: SitesOption = None,
    pki: PkiOption = None,
    prefix: PrefixOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete what only this site has; it was listed and written to a file.")
    ] = False,
    listen: ListenOption = None,
    monitor_port: MonitorPortOption = None,
    websocket_port: WebsocketPortOption = None,
    encrypt: EncryptOption = None,
    checkout: CheckoutOption = None,
    supervisor: SupervisorOption = None,
    nats_server: NatsServerOption = None,
    user_config: UserConfigOption = True,
    timeout: StartTimeout = 30.0,
    json: JsonOption = False,
) -> None:
    """Make this host a copy of the site that serves: every stream, with sequences, times and ids.

    It lets nobody in until it is promoted. On a site that stored something which the other one does not have, that is
    listed and written to a file; it is deleted only with --replace.
    """
    from mts1b_deploy.install import install
    from mts1b_deploy.leaf.asked import Asked
    from mts1b_deploy.mirrors.mirror import undeclared
    from mts1b_deploy.plan import Request
    from mts1b_deploy.sites.lost import find_lost, give_up, write_lost

    layout = layout_of(prefix)
    before = find_record(layout)
    other = _other(before, site, sites)
    if pki is None and not layout.pki.exists():
        raise UnknownName(
            f"--pki DIR is missing: copy etc/pki of site {other.name} here, as a mirror has its certificates (all but "
            "authority/ca.key is taken)"
        )
    _ensure_serves(other)
    request = Request(
        profile="single",
        sites=Asked(site=site, sites=sites, mirrors=other.name),
        pki=pki,
        listen=listen,
        monitor_port=monitor_port,
        websocket_port=websocket_port,
        encrypted=encrypt,
        checkouts=tuple(checkout or ()),
        supervisor=supervisor,
        server=nats_server,
        user_config=user_config,
    )
    result = install(layout, request, timeout=timeout, on_wait=output.complain)
    record, streams = record_of(layout), list(result.streams)
    lost, listed = [], None
    if any(each.action == "kept" for each in streams):
        lost = asyncio.run(find_lost(layout, record))
        listed = write_lost(layout, lost) if lost else None
        if replace or all(each.again for each in lost):
            streams = asyncio.run(give_up(layout, record))
    kept = any(each.action == "kept" for each in streams)
    missing = asyncio.run(undeclared(layout, record))
    if json:
        output.print_json(
            {
                "site": record.site,
                "mirror_of": record.mirrors,
                "streams": [asdict(each) for each in streams],
                "lost": [each.model_dump(exclude={"headers", "data"}) for each in lost],
                "listed_in": listed,
                "undeclared": missing,
                "done": not kept,
            }
        )
    else:
        for each in streams:
            output.line(each.action, f"stream {each.stream}")
        gone = Counter(each.stream for each in lost if not each.again)
        for name, count in gone.items():
            output.line("lost", f"{name}: {count:,} events that only site {record.site} has")
        if again := sum(each.again for each in lost):
            output.line("found", f"{again:,} events that were published again: site {other.name} has them")
        if listed is not None:
            output.line("listed", f"{listed}: a JSON object each, with headers and payload")
        output.line("stopped" if kept else "mirror", f"site {record.site} of site {other.name}")
    if missing:
        output.complain(
            f"warning: {', '.join(missing)}: declared at site {other.name}, not here. Once promoted, this site refuses "
            "their readers: install their packages here, or name their checkouts (--checkout), and run it again"
        )
    if kept:
        output.complain(
            f"error: site {record.site} is no mirror yet: its streams hold what only it has. Look at {listed}; with "
            "--replace they are deleted and copied from the other site. It lets nobody in meanwhile"
        )
        raise typer.Exit(1)


@app.command(
    epilog=examples(
        "mts1b-deploy promote --dry-run", 'mts1b-deploy promote --reason "site a lost its power" --confirm b'
    )
)
def promote(
    *,
    prefix: PrefixOption = None,
    reason: Reason = None,
    confirm: Confirm = None,
    dry_run: DryRun = False,
    actor: Actor = None,
    timeout: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="For the server to come up.")] = 60.0,
    json: JsonOption = False,
) -> None:
    """Make this mirror the site that services use. Somebody who knows that the other one is down decides it.

    Refused while the other site answers. What it stored last and had not sent is not here.
    """
    from mts1b_deploy.sites import promote as promote_

    layout = layout_of(prefix)
    found = promote_.look(layout)
    deed = Deed(
        action="promote",
        target=found.site,
        effects=tuple(found.effects),
        facts={"over": found.over, "streams": len(found.copies), "durables": found.durables},
    )
    if not json:
        show(deed)
    if not dry_run:
        choices = Choices(
            reason=reason, confirm=confirm, declared=True, dry_run=dry_run, actor=actor, servers=None, as_json=json
        )
        permit(deed, choices)
        settings = Settings.load(layout.config)
        recorded = audit_action(
            settings, "promote", actor=actor or user(), target=found.site, reason=reason, **deed.facts
        )
        if not recorded:
            output.complain("warning: no audit log is configured (MTS1B_AUDIT_DIR): who did this is recorded nowhere")
        found = promote_.promote(layout, timeout=timeout)
    if json:
        output.print_json({**asdict(found), "effects": found.effects, "done": not dry_run})
    elif dry_run:
        output.line("nothing", "was done: this is a dry run")
    else:
        for stream, durable, start in found.carried:
            output.line("created", f"durable {durable} on {stream}, from sequence {start:,} on")
        output.line("promoted", f"site {found.site}: services find it by themselves, it is in their list of servers")
        output.line("next", f"see that site {found.over} stays down; when it is back, `mts1b-deploy mirror` there")


@app.command(epilog=examples("mts1b-deploy follow", "mts1b-deploy follow --every 5", "mts1b-deploy follow --once"))
def follow(
    *,
    prefix: PrefixOption = None,
    every: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Between two looks at the other site.")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="One look, then end.")] = False,
) -> None:
    """Keep up with the other site, until Ctrl-C; a unit runs it all the time.

    On a mirror: the positions of durables, new streams, and after a cut what it missed. On a site that was promoted:
    the old one is let store nothing when it comes back. On a hub, on each node of it: what edges stored during a cut.
    """
    from mts1b_deploy.sites.follow import follow as follow_

    say = partial(output.line, "follow")
    asyncio.run(follow_(layout_of(prefix), every=every, say=say, once=once))


@app.command(hidden=True, name="may-start", epilog=examples("mts1b-deploy may-start --prefix /var/lib/mts1b"))
def may_start(*, prefix: PrefixOption = None) -> None:
    """End with 1 when another site serves in this one's place; what systemd asks before it starts the server."""
    from mts1b_deploy.leaf.alone import ensure_alone

    record = find_record(layout_of(prefix))
    if record is not None and not record.mirrors:  # none before the end of the first install, which has asked
        ensure_alone(record)


def _other(before: InstallRecord | None, site: str | None, sites: str | None) -> Peer:
    name = site or (before.site if before else None)
    known = peers_named(sites or "", cluster_port=DEFAULT_LEAF_PORT, port=DEFAULT_PORT, option="--sites")
    if not known and before is not None:
        known = (*before.other_sites,)
    others = [each for each in known if each.name != name]
    if name is None or len(others) != 1:
        raise UnknownName(
            "say which two sites there are and which one this is, such as --site b --sites a=10.0.0.1,b=10.0.1.1"
        )
    return others[0]


def _ensure_serves(other: Peer) -> None:
    from mts1b_platform.server.probe import read_info

    found = read_info(other.host, other.port, timeout=5.0)
    where = address(other.host, other.port)
    if found is None:
        raise SiteError(
            f"site {other.name} does not answer at {where}: a mirror copies from one that serves. Nothing was changed"
        )
    if found.server_name != other.name:
        raise SiteError(
            f"what answers at {where} calls itself {found.server_name}, not {other.name}: on that host, `mts1b-deploy "
            f"install --profile single --site {other.name} --sites …` gives it its name. Nothing was changed"
        )


def add_to(parent: typer.Typer) -> None:
    """Put the commands beside those of ``parent``."""
    parent.registered_commands += app.registered_commands
