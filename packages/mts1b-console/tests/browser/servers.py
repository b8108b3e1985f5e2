"""Consumers, services and streams at night."""

from mts1b_console.shapes.state import (
    Certificate,
    Consumer,
    Consumers,
    DiscardRisk,
    Drift,
    Groups,
    Handling,
    Office,
    Process,
    Processes,
    Service,
    Services,
    Stream,
    StreamLimits,
    Streams,
)
from scenery import at


def consumers() -> Consumers:
    def one(stream: str, name: str, service: str, seconds: float = 0.0, messages: int = 0, pulls: int = 1) -> Consumer:
        return Consumer(
            stream=stream,
            consumer=name,
            service=service,
            declared=True,
            seconds=seconds,
            messages=messages,
            ack_pending=0,
            redelivered=0,
            pulls=pulls,
            reading="yes" if pulls else "nobody",
            reached=12_031 if seconds else 12_044,
            floor=12_031 if seconds else 12_044,
            oldest=f"{stream}:12032" if messages else None,
            oldest_subject="mts.v1.oms.orders.accepted.fund.alpha" if messages else None,
            filters=["mts.v1.oms.orders.accepted", "mts.v1.oms.orders.accepted.fund.*"],
            durable=True,
            paused=False,
            last_active=at(43 if seconds else 0.4),
            trend=[0.0] * 60 + [float(n) for n in range(int(seconds))] if seconds else [0.0, 0.1] * 30,
            risk=DiscardRisk(consumer=name, risk=0.01, limit="max_age", seconds_left=604_000) if seconds else None,
        )

    rows = [
        one("OMS_ORDERS", "broker-orders", "mts1b-brokers", 41.2, 12, 0),
        one("OMS_ORDERS", "risk-orders", "mts1b-riskengine"),
        one("RISK", "oms-gate", "mts1b-oms"),
        one("BROKERS_FILLS", "oms-fills", "mts1b-oms"),
        one("OMS_FILLS", "treasury-fills", "mts1b-treasury"),
        one("OPERATIONS_HALTS", "oms-halts", "mts1b-oms"),
        one("RESEARCH_SIGNALS", "oms-signals", "mts1b-oms"),
    ]
    return Consumers(read_at=at(0.5), consumers=rows, missing=["OMS_FILLS/risk-fills"])


def groups() -> Groups:
    def one(durable: str, key: str | None, active: str | None, term: int) -> Office:
        return Office(
            stream="OMS_ORDERS",
            group="risk-orders",
            durable=durable,
            key=key,
            active=active,
            last_active=active or "risk/2@host-b",
            since=at(4_200) if active else None,
            term=term,
            takeover_seconds=5.0,
            lag_seconds=0.0 if active else 7.1,
            messages=0 if active else 3,
            pulls=2 if active else 0,
        )

    return Groups(
        read_at=at(0.5),
        groups=[one("risk-orders", "alpha", "risk/1@host-a", 12), one("risk-orders-beta", "beta", None, 9)],
    )


def services() -> Services:
    def one(
        name: str, reads: int, lag: float | None = 0.0, rate: float | None = 2.0, last: float | None = 0.4
    ) -> Service:
        away = bool(lag)
        return Service(
            name=f"mts1b-{name}",
            reads=reads,
            reading=None if not reads else not away,
            away=["broker-orders"] if away else [],
            lag_seconds=lag if reads else None,
            messages=12 if away else 0 if reads else None,
            last_event=None if last is None else at(last),
            per_second=rate,
        )

    rows = [
        one("marketdata", 0, None, 0.0, 310),
        one("research", 0, None),
        one("riskengine", 1),
        one("oms", 4, rate=9.1),
        one("brokers", 1, 41.2, 0.0, 43),
        one("treasury", 1, last=0.9),
        one("operations", 0, None, 0.1, 3),
    ]
    return Services(read_at=at(0.5), services=rows)


def processes() -> Processes:
    def one(name: str, reads: dict[str, str], *, errors: int = 0, silent: float | None = None) -> Process:
        return Process(
            service=f"mts1b-{name}",
            id=f"{name}-1",
            member=None,
            version="0.1.0",
            host="desk-1",
            pid="4211",
            command=f"mts1b-desk {name}",
            started=at(86_400),
            certificate_ends=at(-6.2 * 86_400 if name == "oms" else -21 * 86_400),
            handles=[
                Handling(name=durable, subject=subject, handled=12_044, errors=errors, seconds_each=0.0021)
                for durable, subject in reads.items()
            ],
            silent_since=None if silent is None else at(silent),
        )

    rows = [
        one("oms", {"oms-gate": "mts.v1.risk.gate.passed", "oms-fills": "mts.v1.brokers.{broker}.fills.raw"}, errors=3),
        one("riskengine", {"risk-orders": "mts.v1.oms.orders.created"}),
        one("brokers", {"broker-orders": "mts.v1.oms.orders.accepted"}, silent=43),
    ]
    ends = [
        ("nats-server", None, 21.0),
        *((row.service, row.host, 6.2 if row.service == "mts1b-oms" else 21.0) for row in rows),
    ]
    certificates = [Certificate(of=of, where=host, ends=at(-days * 86_400), days=days) for of, host, days in ends]
    return Processes(
        read_at=at(0.5), processes=rows, certificates=sorted(certificates, key=lambda each: each.days), unreadable=0
    )


def streams() -> Streams:
    def one(
        name: str,
        rate: float,
        unread: int | None,
        full: float,
        left: float | None = None,
        drift: list[Drift] | None = None,
    ) -> Stream:
        risks = (
            []
            if left is None
            else [DiscardRisk(consumer="research-bars", risk=full, limit="max_bytes", seconds_left=left)]
        )
        return Stream(
            name=name,
            subjects=[f"mts.v1.{name.lower().replace('_', '.')}.>"],
            messages=120_044,
            bytes=61_000_000,
            first_seq=1,
            last_seq=120_044,
            first_at=at(500_000),
            last_at=at(0.4),
            consumers=2,
            per_second=rate,
            unread=unread,
            full=full,
            limits=StreamLimits(messages=None, bytes=2_000_000_000, age_seconds=604_800, messages_per_subject=None),
            retention="limits",
            storage="file",
            replicas=1,
            declared=True,
            drift=drift or [],
            risks=risks,
        )

    rows = [
        one("OMS_ORDERS", 4.2, 12, 0.03, drift=[Drift(field="max_age", declared="30d", actual="7d")]),
        one("OMS_FILLS", 1.1, 0, 0.01),
        one("BROKERS_FILLS", 1.1, 0, 0.01),
        one("RISK", 4.2, 0, 0.02),
        one("RESEARCH_SIGNALS", 0.4, 0, 0.01),
        one("MARKETDATA_SESSIONS", 0.0, 3, 0.83, left=5_400),
        one("TREASURY_NAV", 2.0, None, 0.12),
        one("DEADLETTERS", 0.0, 1, 0.0),
        one("OPERATIONS_HALTS", 0.0, 0, 0.0),
    ]
    return Streams(read_at=at(0.5), streams=rows, missing=[])
