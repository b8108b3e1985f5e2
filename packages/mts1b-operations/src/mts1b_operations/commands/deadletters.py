"""Messages that a consumer gave up on: list, show, requeue or discard them."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeVar

import typer
from mts1b_foundation.deadletters import DeadLetterNote
from mts1b_platform.command_line import user
from mts1b_platform.eventbus import BusError, EventBus
from mts1b_platform.observability.audit import AuditError
from mts1b_platform.output import Json, noun, print_json, print_listing, say
from mts1b_platform.service import Service

from mts1b_operations.commands._bus import Servers, on_bus
from mts1b_operations.deadletters.discard import discard, restore
from mts1b_operations.deadletters.ends import DeadLetterError
from mts1b_operations.deadletters.letters import (
    DISCARDED,
    STREAM,
    Letter,
    Selection,
    each_letter,
    grouped,
    letters,
    only,
)
from mts1b_operations.deadletters.mover import Mover
from mts1b_operations.deadletters.notes import note_on, notes
from mts1b_operations.deadletters.requeue import requeue
from mts1b_operations.deadletters.steps import Outcome
from mts1b_operations.halt import REPO
from mts1b_operations.history.lines import clean
from mts1b_operations.people import views
from mts1b_operations.people.asked import Scope
from mts1b_operations.people.asking import look
from mts1b_operations.people.letters import Asking, restore_as_person
from mts1b_operations.people.rights import decoders_of
from mts1b_operations.people.runs import Runs

app = noun(__doc__ or "")

Ids = Annotated[list[str] | None, typer.Argument(help="Ids of dead letters, or their numbers.", show_default=False)]
ByConsumer = Annotated[str | None, typer.Option("--consumer", help="Given up by this durable.")]
ByStream = Annotated[str | None, typer.Option("--stream", help="From this stream.")]
BySubject = Annotated[str | None, typer.Option("--subject", help="With a subject that begins like this.")]
ByReason = Annotated[str | None, typer.Option("--reason", help="For this reason, such as rejected.")]
ByError = Annotated[str | None, typer.Option("--error", help="With this text in the error.")]
All = Annotated[bool, typer.Option("--all", help="Every dead letter there is.")]
Fund = Annotated[str | None, typer.Option("--fund", help="For a role that may do it in this fund only.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Actor = Annotated[str | None, typer.Option(help="Who acts, for the audit log. Default: the user logged in.")]

_SERVICE = "mts1b-operations"
R = TypeVar("R")


@app.command("ls")
def ls(
    *,
    consumer: ByConsumer = None,
    stream: ByStream = None,
    subject: BySubject = None,
    reason: ByReason = None,
    error: ByError = None,
    discarded: Annotated[bool, typer.Option("--discarded", help="Those that were discarded within a week.")] = False,
    servers: Servers = None,
    as_json: Json = False,
) -> None:
    """List dead letters, the oldest first.

    Example: mts1b deadletters ls --consumer treasury
    """
    wanted = Selection(consumer=consumer, stream=stream, subject=subject, reason=reason, error=error)
    place = DISCARDED if discarded else STREAM

    async def read(bus: EventBus) -> tuple[list[dict[str, Any]], list[int]]:
        known = await notes(bus)
        return await _each(bus, wanted, lambda one: _row(one, known), place)

    rows, unreadable = on_bus(read, servers)
    print_listing(rows, as_json=as_json, empty="no letter was discarded" if discarded else "no dead letters")
    _refuse_unreadable(unreadable)


@app.command("show")
def show(
    identity: Annotated[str, typer.Argument(metavar="ID")], *, servers: Servers = None, as_json: Json = False
) -> None:
    """Print one dead letter: where it came from, why it failed, its headers, payload and traceback.

    Example: mts1b deadletters show OMS_FILLS:17:treasury
    """

    async def read(bus: EventBus) -> tuple[Letter | None, dict[str, DeadLetterNote]]:
        decoders = await decoders_of(bus)
        return only(await letters(bus, Selection(ids=(identity,)), decoders=decoders)), await notes(bus)

    found, known = on_bus(read, servers)
    if found is None:
        raise DeadLetterError(f"there is no dead letter {identity!r}: see `mts1b deadletters ls`")
    document = {
        "number": found.seq,
        **found.letter.model_dump(mode="json"),
        "payload": _payload(found),
        "note": _noted(note_on(found, known)),
    }
    if as_json:
        print_json(document)
        return
    traceback = document.pop("traceback")
    for name, value in document.items():
        say(f"{name:15} {json.dumps(value, indent=2) if isinstance(value, dict) else value}")
    say(f"\n{traceback}" if traceback else "\nno traceback")


@app.command("stats")
def stats(*, servers: Servers = None, as_json: Json = False) -> None:
    """Count dead letters by consumer and kind of error, the most frequent first.

    Example: mts1b deadletters stats --json
    """

    async def read(bus: EventBus) -> tuple[tuple[list[Letter], list[int]], dict[str, DeadLetterNote]]:
        return await _each(bus, Selection(), Letter.without_message), await notes(bus)

    (found, unreadable), known = on_bus(read, servers)
    groups = grouped(found)
    rows: list[dict[str, Any]] = [
        {
            "count": group.count,
            "consumer": group.consumer,
            "reason": group.reason,
            "error": group.error,
            "subjects": sorted(group.subjects) if as_json else len(group.subjects),
            "first": group.first and group.first.isoformat(timespec="seconds"),
            "last": group.last and group.last.isoformat(timespec="seconds"),
            "example": group.example,
            "group": group.key,
            "note": _noted(known.get(group.key)),
        }
        for group in groups
    ]
    print_listing(rows, as_json=as_json, empty="no dead letters")
    _refuse_unreadable(unreadable)


@app.command("requeue")
def requeue_command(
    ids: Ids = None,
    *,
    to: Annotated[
        str, typer.Option(help="consumer: only the durable that gave up. subject: everyone who reads the subject.")
    ] = "consumer",
    consumer: ByConsumer = None,
    stream: ByStream = None,
    subject: BySubject = None,
    reason: ByReason = None,
    error: ByError = None,
    everything: All = False,
    dry_run: DryRun = False,
    keep: Annotated[bool, typer.Option(help="Leave the dead letters where they are.")] = False,
    force: Annotated[bool, typer.Option(help="Also what was requeued too often.")] = False,
    why: Annotated[
        str | None, typer.Option(help="Why they are requeued, for the audit log; a person has to say.")
    ] = None,
    fund: Fund = None,
    actor: Actor = None,
    servers: Servers = None,
    as_json: Json = False,
) -> None:
    """Have messages handled again, and remove their dead letters.

    Example: mts1b deadletters requeue --consumer treasury --error "division by zero" --dry-run
    """
    if to not in ("consumer", "subject"):
        raise DeadLetterError(f"--to {to!r}: write consumer or subject")
    wanted = _selection(ids, consumer, stream, subject, reason, error, everything=everything)

    async def act(bus: EventBus, one: Letter) -> Outcome:
        return await requeue(bus, one, to=to, actor=actor or user() or REPO, dry_run=dry_run, keep=keep, force=force)

    asked = Asking("deadletters.requeue", Scope(fund), why, dry_run, {"to": to, "force": force or None})
    _on_each(wanted, act, asked, servers, as_json=as_json)


@app.command("discard")
def discard_command(
    ids: Ids = None,
    *,
    why: Annotated[str, typer.Option(help="Why they are discarded, for the audit log.")],
    consumer: ByConsumer = None,
    stream: ByStream = None,
    subject: BySubject = None,
    reason: ByReason = None,
    error: ByError = None,
    everything: All = False,
    dry_run: DryRun = False,
    fund: Fund = None,
    actor: Actor = None,
    servers: Servers = None,
    as_json: Json = False,
) -> None:
    """Take dead letters away. They are kept for a week, in which `mts1b deadletters restore` brings them back.

    Example: mts1b deadletters discard OMS_FILLS:17:treasury --why "booked by hand"
    """
    wanted = _selection(ids, consumer, stream, subject, reason, error, everything=everything)

    async def act(bus: EventBus, one: Letter) -> Outcome:
        return await discard(bus, one, actor=actor or user() or REPO, reason=why, dry_run=dry_run)

    asked = Asking("deadletters.discard", Scope(fund), why, dry_run, {})
    _on_each(wanted, act, asked, servers, as_json=as_json)


@app.command("restore")
def restore_command(
    ids: Annotated[list[str], typer.Argument(help="Ids of letters, as `mts1b deadletters ls --discarded` shows them.")],
    *,
    fund: Fund = None,
    actor: Actor = None,
    servers: Servers = None,
    as_json: Json = False,
) -> None:
    """Bring discarded letters back among the dead letters.

    Example: mts1b deadletters restore OMS_FILLS:17:treasury:ad4f1c
    """
    done: list[dict[str, Any]] = []
    problems: list[str] = []

    async def work(bus: EventBus) -> None:
        if bus.identity.has_token:
            await restore_as_person(bus, ids, Scope(fund), done, problems)
            return
        for name in ids:
            try:
                outcome = await restore(bus, name, actor=actor or user() or REPO)
            except (DeadLetterError, BusError, AuditError) as error:
                problems.append(str(error))
            else:
                done.append({"id": name, "action": outcome.action, "detail": outcome.detail})

    on_bus(work, servers, service=_SERVICE)
    _say(done, problems, as_json=as_json)


@app.command("note")
def note_command(
    about: Annotated[
        str, typer.Argument(help="Id or number of a dead letter, or a group of `mts1b deadletters stats`.")
    ],
    *,
    note: Annotated[str, typer.Option("--note", help="What is known; an empty text takes the note away.")],
    fund: Fund = None,
    actor: Actor = None,
    servers: Servers = None,
) -> None:
    """Write down what is known about a dead letter or a group, for everybody who sees it.

    Example: mts1b deadletters note 9c41d0a7be52 --note "known: venue X was down, wait until Monday"
    """

    def work(bus: EventBus) -> Awaitable[str]:
        return views.note_letters(bus, about, text=note.strip(), actor=actor or user() or REPO, fund=fund)

    say(on_bus(work, servers, service=_SERVICE))


@app.command("runs")
def runs_command(*, fund: Fund = None, servers: Servers = None, as_json: Json = False) -> None:
    """List what people began with many dead letters within a day, the newest first, and how far each run is.

    Example: mts1b deadletters runs
    """

    async def told(bus: EventBus) -> list[dict[str, Any]]:
        if bus.identity.has_token:
            return list((await look(bus, "deadletters.runs", Scope(fund)))["runs"])
        return await Runs(bus).told(Scope(fund))

    rows = on_bus(told, servers, service=_SERVICE)
    print_listing(rows if as_json else [_run(each) for each in rows], as_json=as_json, empty="no runs within a day")


@app.command("move")
def move(*, servers: Servers = None) -> None:
    """Run the mover until SIGTERM or Ctrl-C: dead letters for consumers that do not use this project's library.

    Example: mts1b deadletters move
    """
    options: dict[str, Any] = {"servers": servers} if servers else {}
    service = Service(_SERVICE, **options)
    service.runs(Mover)
    service.run()


def _selection(ids: list[str] | None, *by: str | None, everything: bool) -> Selection:
    consumer, stream, subject, reason, error = by
    wanted = Selection(
        ids=tuple(ids or ()), consumer=consumer, stream=stream, subject=subject, reason=reason, error=error
    )
    if wanted.everything and not everything:
        raise DeadLetterError("say which: ids, or --consumer, --error, --reason, --stream, --subject, or --all")
    return wanted


def _on_each(wanted: Selection, act: Any, asked: Asking, servers: str | None, *, as_json: bool) -> None:
    unreadable: list[int] = []
    done: list[dict[str, Any]] = []
    problems: list[str] = []

    async def work(bus: EventBus) -> None:
        known: set[str] = set()
        if bus.identity.has_token:
            await asked.by_person(bus, wanted, done, problems, unreadable)
            return
        try:
            async for one in each_letter(bus, wanted, unreadable):
                known.update(one.names)
                try:
                    outcome = await act(bus, one)
                except DeadLetterError as error:
                    problems.append(str(error))
                else:
                    done.append({"id": one.id, "action": outcome.action, "detail": outcome.detail})
        except (BusError, AuditError) as error:
            problems.append(f"stopped after {len(done)}: {error}; do it again for the rest")
        else:
            problems.extend(f"there is no dead letter {name!r}" for name in wanted.ids if name not in known)

    on_bus(work, servers, service=_SERVICE)
    if unreadable:
        problems.append(_not_letters(unreadable))
    _say(done, problems, as_json=as_json)


def _say(done: list[dict[str, Any]], problems: list[str], *, as_json: bool) -> None:
    print_listing(done, as_json=as_json, empty="nothing done")
    if problems:
        raise DeadLetterError("\n  ".join([f"{len(problems)} refused:", *problems]))


async def _each(
    bus: EventBus, wanted: Selection, make: Callable[[Letter], R], stream: str = STREAM
) -> tuple[list[R], list[int]]:
    """What ``make`` makes of each selected letter, one at a time in memory; and the numbers of what is no letter."""
    unreadable: list[int] = []
    found = each_letter(bus, wanted, unreadable, stream=stream, decoders=await decoders_of(bus))
    return [make(one) async for one in found], unreadable


def _refuse_unreadable(numbers: list[int]) -> None:
    if numbers:
        raise DeadLetterError(_not_letters(numbers))


def _not_letters(numbers: list[int]) -> str:
    some = ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
    return (
        f"{len(numbers)} messages among the dead letters are none that this version can read, and were left alone: "
        f"{some}; look at them with `nats stream get {STREAM} NUMBER`"
    )


def _noted(said: DeadLetterNote | None) -> str | None:
    """A note in one line: who, when, what."""
    return said and f"{said.actor}, {said.noted_at.isoformat(timespec='seconds')}: {clean(said.text)}"


def _row(one: Letter, known: Mapping[str, DeadLetterNote]) -> dict[str, Any]:
    letter = one.letter
    return {
        "number": one.seq,
        "id": one.id,
        "subject": letter.subject,
        "reason": letter.reason.value,
        "deliveries": letter.deliveries,
        "requeues": one.requeues,
        "failed_at": letter.failed_at.isoformat(timespec="seconds"),
        "error": letter.error.splitlines()[0][:80] if letter.error else "",
        "note": _noted(note_on(one, known)),
    }


def _run(told: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": told["run_id"],
        "action": told["what"].partition(".")[2],
        "done": f"{told['done']} of {told['of']}",
        "failed": told["failed"],
        "state": f"{told['state']}: {told['trouble']}" if told["trouble"] else told["state"],
        "by": told["by"],
        "begun": f"{told['begun'][:19]}Z",
        "reason": told["reason"],
    }


def _payload(one: Letter) -> Any:
    """The payload as JSON where it is, else as text."""
    try:
        return json.loads(one.letter.payload)
    except ValueError:
        return one.letter.payload.decode(errors="backslashreplace")
