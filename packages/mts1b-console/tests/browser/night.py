"""A desk at night, made up: the broker is away, an order is stuck, a group of dead letters came with a deploy."""

import time
from dataclasses import dataclass, field
from typing import Any, Literal

from mts1b_console.read.words import words
from mts1b_console.shapes.base import Problem, Shape
from mts1b_console.shapes.events import Nav, OrderFacts, OrderRow, Orders
from mts1b_console.shapes.person import ActDone, ActPreview, Environment, Me
from mts1b_console.shapes.registry import Hits, Schemas, Subjects
from mts1b_console.shapes.runs import CameBack, Run, Runs
from mts1b_console.shapes.state import (
    Acknowledgement,
    Alert,
    Alerts,
    AuditFound,
    DeadLetters,
    Discarded,
    Halt,
    Halts,
    LetterGroup,
    Note,
    Now,
    Obedience,
    Verdict,
)
from scenery import LETTERS, ORDER, WRONG, at, hits, letter_row, points, records, schemas, subjects
from servers import consumers, groups, processes, services, streams
from told import found, letter_opened, opened, schema_found, story

_Severity = Literal["warning", "critical"]


def unknown(answer: Shape, problem: Problem) -> Shape:
    """The same question when nobody answers: nothing is known."""
    if isinstance(answer, Now):
        return Now(**{name: unknown(getattr(answer, name), problem) for name in type(answer).model_fields})  # pyright: ignore[reportArgumentType]
    fields = type(answer).model_fields
    blank = {name: None for name, each in fields.items() if not each.is_required()}
    kept = {name: getattr(answer, name) for name, each in fields.items() if each.is_required()}
    return type(answer).model_validate(
        {**kept, **{n: v for n, v in blank.items() if _nullable(fields[n])}, "unknown": problem}
    )


def _nullable(each: Any) -> bool:
    return each.default is None


@dataclass
class Played:
    """A run, which goes on when somebody looks."""

    run_id: str
    action: str
    ids: list[str]
    body: dict[str, Any]
    until: int = 0
    at: int = 0
    said: str = ""
    begun: str = field(default_factory=lambda: at())  # `at` is a field above

    def shown(self) -> Run:
        """As the console shows it."""
        ended = self.at >= len(self.ids) or self.said == "end"
        verb = self.action.rpartition("/")[2]
        return Run.model_validate(
            {
                "run_id": self.run_id,
                "verb": verb,
                "consumers": sorted({name.split(":")[2] for name in self.ids}),
                "to": self.body.get("to"),
                "fund": None,
                "by": "olga",
                "reason": self.body.get("reason") or "",
                "begun": self.begun,
                "changed": at(),
                "state": "finished"
                if ended
                else "stopped"
                if self.said == "stop"
                else "waiting"
                if self.at >= self.until
                else "running",
                "of": len(self.ids),
                "at": self.at,
                "done": self.at,
                "failed": 0,
                "refused": [],
                "trouble": None,
                "ordered_by": "olga" if self.said else None,
                "back": CameBack(count=0, error="") if verb == "requeue" else None,
            }
        )


@dataclass
class Night:
    """The state of the desk, which actions change."""

    now: float = field(default_factory=time.time)
    halts: list[Halt] = field(default_factory=list[Halt])
    letters: list[str] = field(default_factory=lambda: [f"OMS_ORDERS:{12050 + n}:treasury" for n in range(LETTERS)])
    discarded: list[str] = field(default_factory=list[str])
    runs: list["Played"] = field(default_factory=list["Played"])
    orders: int = 40
    many: list[OrderRow] = field(default_factory=list[OrderRow])
    """Their rows, made once where there are thousands."""
    rights: Any = None
    notes: dict[str, Note] = field(default_factory=dict[str, Note])
    """By what they are about."""
    acknowledged: dict[str, Acknowledgement] = field(default_factory=dict[str, Acknowledgement])

    def me(self, *, signed_in: bool, csrf: str) -> Me:
        """Who is signed in."""
        return Me(
            read_at=at(),
            name="olga" if signed_in else None,
            roles=["operator"],
            secured=True,
            banner=None,
            rights=self.rights,
            read_only=False,
            token_ends=at(-7_200),
            csrf=csrf,
            environment=Environment(name="production", color="red"),
            version="0.1.0",
            connected=True,
            server="tls://bus.desk.example:4222",
        )

    def answer(self, what: str, query: dict[str, str], hostile: str | None) -> Shape | None:
        """What one address answers."""
        first, _, rest = what.partition("/")
        match first:
            case "now":
                return self._state()
            case "halts":
                return Halts(read_at=at(0.4), halts=self.halts, funds=["alpha", "beta"])
            case "orders":
                return self._orders(hostile)
            case "alerts":
                return self._alerts()
            case "consumers":
                return consumers()
            case "streams":
                return streams()
            case "services":
                return services()
            case "processes":
                return processes()
            case "groups":
                return groups()
            case "words":
                return words()
            case "deadletters" if rest == "runs":
                return self._runs()
            case "deadletters" if rest == "discarded":
                return Discarded(read_at=at(), letters=[letter_row(name, 1) for name in self.discarded], complete=True)
            case "deadletters":
                return letter_opened(rest, hostile) if rest else self._deadletters()
            case "order" | "trace" | "halt":
                return story(first, rest, self._first())
            case "events":
                return opened(hostile) if rest else found(query, hostile)
            case "subjects":
                return Subjects(read_at=at(), subjects=subjects())
            case "schemas":
                return schema_found(rest) if rest else Schemas(read_at=at(), schemas=schemas())
            case "audit":
                return AuditFound(read_at=at(), records=records(), complete=True)
            case "nav":
                return Nav(read_at=at(), points=points())
            case "find":
                return Hits(read_at=at(), hits=hits(query.get("q", "")))
            case _:
                return None

    # -- acting

    def preview(self, action: str, body: dict[str, Any]) -> ActPreview:
        """What an action would do."""
        ids = body.get("ids") or []
        words, typed = {
            "halt/request": ("halts every fund", ""),
            "alerts/acknowledge": ("says that olga looks after it", ""),
            "deadletters/note": (f"writes a note on {body.get('about')}", ""),
            "deadletters/restore": (f"restores {len(ids)} dead letters", ""),
            "halt/clear": ("ends the halt of every fund that olga requested", f"resume {body.get('fund') or 'all'}"),
            "deadletters/requeue": (
                f"requeues {len(ids)} dead letters for the durable that gave up",
                f"requeue {len(ids)}",
            ),
            "deadletters/discard": (
                f"discards {len(ids)} dead letters; for a week they can be restored",
                f"discard {len(ids)}",
            ),
        }[action]
        return ActPreview(
            read_at=at(),
            words=words,
            facts={"ids": ids},
            digest="9c41",
            adds_risk=action in ("halt/clear", "deadletters/requeue", "deadletters/discard"),
            typed=typed,
            command=f"mts1b {action.replace('/', ' ')}",
        )

    def act(self, action: str, body: dict[str, Any]) -> ActDone:
        """Do it."""
        result: dict[str, Any] = {}
        match action:
            case "halt/request":
                halt = Halt(
                    halt_id=f"halt-{body['request_id'][:8]}",
                    fund=body.get("fund"),
                    reason=body["reason"],
                    actor="olga",
                    requested_at=at(0.1),
                    stored_at=at(0.09),
                    obeyed=[Obedience(service="mts1b-oms", canceled_orders=17, stored_at=at(), after_ms=31.4)],
                    silent=[],
                    on_host=False,
                )
                self.halts.append(halt)
                result = {"halt": {"halt_id": halt.halt_id}, "held": True}
            case "halt/clear":
                self.halts = [halt for halt in self.halts if halt.halt_id != body["halt_id"]]
                result = {"halt_id": body["halt_id"], "cleared": True}
            case "deadletters/note":
                self.notes.pop(body["about"], None)
                if body["note"]:
                    self.notes[body["about"]] = Note(actor="olga", text=body["note"], at=at())
            case "alerts/acknowledge":
                self.acknowledged[body["alert_id"]] = Acknowledgement(
                    actor="olga", note=body.get("note") or "", at=at()
                )
            case _:
                run = Played(f"run-{body['request_id'][:8]}", action, list(body.get("ids") or ()), body)
                if undone := body.get("undo"):
                    run.ids = next(each.ids for each in self.runs if each.run_id == undone)
                run.until = body.get("first") or len(run.ids)
                self.runs.insert(0, run)
                result = {"run_id": run.run_id}
        return ActDone(read_at=at(), request_id=body["request_id"], by="olga", state="done", again=False, result=result)

    def order(self, body: dict[str, Any]) -> ActDone:
        """Have a run go on, stop or end."""
        run = next(each for each in self.runs if each.run_id == body["run_id"])
        if body["order"] == "go-on":
            run.until = len(run.ids)
        run.said = body["order"]
        return ActDone(
            read_at=at(), request_id="", by="olga", state="running", again=False, result={"run_id": run.run_id}
        )

    def _runs(self) -> Runs:
        """How far the runs are: each look finds them ten letters further."""
        for run in self.runs:
            if run.said not in ("stop", "end"):
                some = run.ids[run.at : min(run.until, run.at + 10)]
                run.at += len(some)
                self._dealt(run.action, some)
        return Runs(read_at=at(), runs=[run.shown() for run in self.runs])

    def _dealt(self, action: str, ids: list[str]) -> None:
        if action.endswith("restore"):
            self.letters = sorted({*self.letters, *ids})
            self.discarded = [name for name in self.discarded if name not in ids]
            return
        self.letters = [name for name in self.letters if name not in ids]
        self.discarded += ids if action.endswith("discard") else []

    def verdict(self, ids: list[str]) -> Verdict:
        """Would they pass now?"""
        return Verdict(read_at=at(), passes=0, of=len(ids), refused=WRONG)

    # -- the state

    def _state(self) -> Now:
        orders = self._orders(None)
        waiting = [row for row in orders.orders or () if not row.facts.is_final]
        return Now(
            alerts=self._alerts(),
            halts=Halts(read_at=at(0.4), halts=self.halts, funds=["alpha", "beta"]),
            orders=orders.model_copy(update={"orders": waiting[:50]}),
            services=services(),
            streams=streams(),
            consumers=consumers(),
            deadletters=self._deadletters().model_copy(update={"letters": None}),
        )

    def _alerts(self) -> Alerts:
        def one(
            name: str,
            target: str,
            severity: _Severity,
            value: float,
            threshold: float,
            unit: str,
            words: str,
            ago: float,
        ) -> Alert:
            return Alert(
                alert_id=f"{name}-{target}",
                name=name,
                target=target,
                severity=severity,
                value=value,
                threshold=threshold,  # pyright: ignore[reportArgumentType]
                unit=unit,
                summary=words,
                raised_at=at(ago),
                cleared_at=None,
                acknowledged=self.acknowledged.get(f"{name}-{target}"),
            )

        in_force = [
            one(
                "slow_consumer",
                "OMS_ORDERS/broker-orders",
                "critical",
                41.2,
                30,
                "s",
                "41 s behind, 12 messages, nobody reads",
                41,
            ),
            one(
                "certificate_expiry",
                "/etc/mts1b/tls/mts1b-oms.pem",
                "warning",
                6.2,
                14,
                "days",
                "mts1b-oms.pem expires in 6 days",
                86_000,
            ),
            one(
                "discard_risk",
                "MARKETDATA_SESSIONS/research-bars",
                "warning",
                0.83,
                0.8,
                "",
                "max_bytes is used up to 83 % at the consumer's position",
                900,
            ),
        ]
        past = [
            one(
                "dead_letters", "DEADLETTERS", "warning", 1, 1, "", "1 in 10 min: treasury, division by zero", 9_000
            ).model_copy(update={"cleared_at": at(8_000)})
        ]
        return Alerts(read_at=at(0.6), alerts=in_force, past=past, watched=True)

    def _orders(self, hostile: str | None) -> Orders:
        def one(number: int) -> OrderRow:
            stuck, status = number == 0, ("filled", "filled", "rejected", "accepted", "canceled")[number % 5]
            status = "accepted" if stuck else status
            final = status in ("filled", "rejected", "canceled")
            facts = OrderFacts(
                order_id=ORDER
                if stuck
                else f"186ab989.ma_cross.BTC=2FUSD.{number + 2}.{'alpha' if number % 3 else 'beta'}",
                status=status,
                is_final=final,
                side="buy" if number % 2 == 0 else "sell",
                quantity="0.25" if stuck else f"{number}.125",
                filled=f"{number}.125" if status == "filled" else "0",
                symbol=hostile or "BTC/USD",
                fund="alpha" if number % 3 or stuck else "beta",
                actor="ma_cross",
                kind="market ioc",
                broker="paper",
                why="max_order_value: 16,030 is above 10,000" if status == "rejected" else None,
            )
            waiting = None if final else (41.0 if stuck else 0.3)
            return OrderRow(
                facts=facts,
                first=at(60 + number),
                last=at(waiting or number * 7.3),
                id=f"OMS_ORDERS:{12044 - number}",
                waiting_seconds=waiting,
            )

        rows = self.many or [one(number) for number in range(self.orders)]
        self.many = rows if len(rows) > 1_000 else []
        return Orders(read_at=at(0.5), orders=rows, open=17, slow=1, rejected_hour=8, since=at(7_000))

    def _deadletters(self) -> DeadLetters:
        groups = [
            LetterGroup(
                key="g2",
                consumer="treasury-fills",
                reason="max_deliveries",
                error="division by zero",
                count=1,
                first=at(1_900),
                last=at(1_900),
                subjects=["mts.v1.oms.fills.created.fund.alpha"],
                example="OMS_FILLS:61:treasury",
                ids=["OMS_FILLS:61:treasury"],
                trend=[0] * 12 + [1] + [0] * 11,
                note=self.notes.get("g2"),
            )
        ]
        if self.letters:
            groups.insert(
                0,
                LetterGroup(
                    key="g1",
                    consumer="treasury",
                    reason="schema_mismatch",
                    error="Order:v2 is not Order:v1",
                    count=len(self.letters),
                    first=at(1_140),
                    last=at(12),
                    subjects=["mts.v1.oms.orders.created"],
                    example=self.letters[-1],
                    ids=self.letters,
                    trend=[0] * 18 + [1, 3, 6, 9, 10, 8],
                    note=self.notes.get("g1"),
                ),
            )
        rows = [
            letter_row(name, n).model_copy(update={"note": self.notes.get(name)})
            for n, name in enumerate(reversed([*self.letters, "OMS_FILLS:61:treasury"]))
        ]
        return DeadLetters(read_at=at(0.8), groups=groups, letters=rows, unreadable=0, complete=True)

    def _first(self) -> OrderFacts:
        return (self._orders(None).orders or [])[0].facts
