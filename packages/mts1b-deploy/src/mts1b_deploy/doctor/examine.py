"""The whole examination: everything that can be asked without changing anything."""

import asyncio
import time
from collections.abc import Callable

import psutil
from mts1b_foundation.errors import Mts1bError
from mts1b_platform.server.probe import read_monitor

from mts1b_deploy.doctor import bus_checks, file_checks, server_checks, site_checks
from mts1b_deploy.doctor.clock import check_clock, read_clock
from mts1b_deploy.doctor.deviation import Deviation, Severity
from mts1b_deploy.doctor.program_checks import check_program
from mts1b_deploy.layout import Layout
from mts1b_deploy.leaf.connection import leaf_port
from mts1b_deploy.mirrors.mirror import stream_infos
from mts1b_deploy.mirrors.sources import events_that_pass, newest_ids
from mts1b_deploy.profiles import LOOPBACK
from mts1b_deploy.record import InstallRecord, record_of
from mts1b_deploy.server_program import changed
from mts1b_deploy.status import status
from mts1b_deploy.streams import ADMIN, connect_as
from mts1b_deploy.supervise.processes import find_server_process


def examine(layout: Layout, *, clock: Callable[[], float] = time.time) -> list[Deviation]:
    """Every deviation of this installation from its profile; of a cluster member also what it sees of the others.

    Args:
        layout: the installation.
        clock: this host's clock, in seconds since 1970.

    Raises:
        NotInstalled: there is nothing to examine.
    """
    return list(dict.fromkeys(each.at(layout) for each in _found(layout, clock)))


def _found(layout: Layout, clock: Callable[[], float]) -> list[Deviation]:
    record = record_of(layout)
    severity: Severity = "problem" if record.secure else "accepted"
    process = find_server_process(layout)
    found = [Deviation("server", problem, "see the message", "problem") for problem in status(layout, record).problems]
    found += check_program(layout, record, process.pid if process else None)
    # The server judges its configuration; one that somebody changed is not run for that.
    ours = process is not None and changed(layout, record) is None
    found += file_checks.check_configuration(layout, record, running=ours)
    found += file_checks.check_disk(layout, record)
    found += check_clock(read_clock())
    if record.secure:
        from mts1b_deploy.secured import server_certificate

        found += file_checks.check_certificates(layout, file_checks.utc_now(clock()))
        found += file_checks.check_presented(layout, record, server_certificate(record))
    varz = read_monitor(LOOPBACK, record.monitor_port, "/varz") if process else None
    if process is None or varz is None:
        why = "does not run" if process is None else "does not answer on its monitoring port"
        return [*found, Deviation("not-running", f"the server under {layout.prefix} {why}", "`mts1b-deploy start`")]
    found += server_checks.check_version(record.server_name(layout), str(varz.get("version")))
    found += server_checks.check_storing(varz, severity)
    found += server_checks.check_access(varz, severity)
    found += server_checks.check_sockets(_listening(process), _public_ports(record))
    found += site_checks.check_one_host(record.nodes)
    if record.site:
        found += site_checks.check_sites(layout, record)
    found += asyncio.run(_on_the_bus(layout, record, clock))
    return found


async def _on_the_bus(layout: Layout, record: InstallRecord, clock: Callable[[], float]) -> list[Deviation]:
    found: list[Deviation] = []
    try:
        if record.secure:
            pings = await bus_checks.ping_all(layout, record, clock)
            found += server_checks.check_pings(pings, [peer.name for peer in record.nodes])
        async with await connect_as(ADMIN, layout, record) as bus:
            if record.site:
                infos = await stream_infos(bus)
                found += site_checks.check_copies(infos)
                found += site_checks.check_passing(events_that_pass(record))
                if record.hubs:
                    found += site_checks.check_ids(record.site, await newest_ids(bus, infos))
            if record.mirrors:  # its streams and durables are those of the other site
                return found
            found += [each async for each in bus_checks.check_streams(bus, record)]
            if record.secure:
                found += [each async for each in bus_checks.check_durables(bus, record)]
            found += [each async for each in bus_checks.check_instances(bus, record)]
    except Mts1bError as error:
        found.append(Deviation("bus", f"the bus does not answer as it should: {error}", "`mts1b-deploy logs`"))
    return found


def _listening(process: psutil.Process) -> set[tuple[str, int]]:
    try:
        connections = process.net_connections(kind="tcp")
    except psutil.Error:
        return set()
    return {(one.laddr.ip, one.laddr.port) for one in connections if one.status == psutil.CONN_LISTEN}


def _public_ports(record: InstallRecord) -> set[int]:
    ports = {record.port, leaf_port(record), *(peer.cluster_port for peer in record.nodes if peer.name == record.node)}
    return {port for port in (*ports, record.websocket_port) if port}
