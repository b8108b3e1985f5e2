"""Changing a running bus by hand: shown first, confirmed by typing its name, recorded in the audit log, then done.

What is declared is changed only when somebody says that he knows it is (``--declared``). On a secured bus the
administration (``mts1b-deploy``) acts, as nobody else may.
"""

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import wraps
from inspect import Signature, signature
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from mts1b_foundation.errors import Mts1bError

from mts1b_platform.command_line import user
from mts1b_platform.config import Settings
from mts1b_platform.eventbus import EventBus, connect
from mts1b_platform.eventbus.declared import Declared, declared
from mts1b_platform.observability.audit import audit_action
from mts1b_platform.output import Json, print_json, say

ADMIN: Final = "mts1b-deploy"
"""Who may manage streams and consumers on a secured bus."""

Reason = Annotated[
    str | None, typer.Option("--reason", help="Why, for the audit log. Without it nothing is done.", show_default=False)
]
Confirm = Annotated[
    str | None,
    typer.Option(
        "--confirm", metavar="NAME", help="The name, typed once more. Asked for on a terminal.", show_default=False
    ),
]
DeclaredToo = Annotated[bool, typer.Option("--declared", help="Also what somebody declares, and services rely on.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Actor = Annotated[
    str | None, typer.Option(help="Who acts, for the audit log. Default: the user logged in.", show_default=False)
]
Servers = Annotated[str | None, typer.Option("--servers", help="NATS URLs; otherwise as configured.")]
R = TypeVar("R")


class NotDone(Mts1bError):
    """Nothing was done: a reason or the confirmation is missing, or what was shown has changed since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """One change, as it would be made now.

    Attributes:
        action: the command, such as ``streams purge``.
        target: the name that has to be typed.
        effects: what happens, a sentence each.
        facts: the same for programs, and for the audit log.
        declared_by: the repo that declares the target; None when nobody does.
        state: what must still be so when it is done; compared with a second look.
    """

    action: str
    target: str
    effects: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    declared_by: str | None = None
    state: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What was given on the command line."""

    reason: str | None
    confirm: str | None
    declared: bool
    dry_run: bool
    actor: str | None
    servers: str | None
    as_json: bool


def _choices(
    *,
    reason: Reason = None,
    confirm: Confirm = None,
    declared_too: DeclaredToo = False,
    dry_run: DryRun = False,
    actor: Actor = None,
    servers: Servers = None,
    as_json: Json = False,
) -> Choices:
    return Choices(
        reason=reason,
        confirm=confirm,
        declared=declared_too,
        dry_run=dry_run,
        actor=actor,
        servers=servers,
        as_json=as_json,
    )


def with_choices(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with the options of every change by hand behind its own; it is given them as ``choices``."""
    own = [each for each in signature(command).parameters.values() if each.name != "choices"]
    shared = signature(_choices).parameters

    @wraps(command)
    def run(**given: Any) -> None:
        choices = _choices(**{name: given.pop(name) for name in shared})
        command(**given, choices=choices)

    run.__signature__ = Signature([*own, *shared.values()])  # type: ignore[attr-defined] - what typer reads
    return run


Look = Callable[[EventBus], Awaitable[Deed]]
Act = Callable[[EventBus, Deed], Awaitable[object]]


def by_hand(look: Look, act: Act, choices: Choices) -> None:
    """Show what ``look`` finds; with reason and confirmation look again, record it, and ``act``.

    Raises:
        NotDone: something was missing, or has changed in between.
        AuditError: it could not be recorded; nothing was done.
    """
    deed = as_admin(look, choices.servers)
    if not choices.as_json:
        show(deed)
    if not choices.dry_run:
        permit(deed, choices)
        as_admin(lambda bus: _do(bus, deed, look, act, choices), choices.servers)
    if choices.as_json:
        print_json(
            {
                "action": deed.action,
                "target": deed.target,
                "declared_by": deed.declared_by,
                "effects": deed.effects,
                **deed.facts,
                "done": not choices.dry_run,
            }
        )
    else:
        say("nothing was done: this is a dry run" if choices.dry_run else f"done: {deed.action} {deed.target}")


def as_admin(work: Callable[[EventBus], Awaitable[R]], servers: str | None) -> R:
    """Connect as who may manage streams and consumers, do ``work``, disconnect."""
    settings = Settings.load()
    service = ADMIN if settings.tls_dir is not None and settings.service is None else None

    async def run() -> R:
        async with await connect(servers, service=service) as bus:
            return await work(bus)

    return asyncio.run(run())


def declared_here(checkouts: Iterable[Path] | None = None) -> Declared:
    """Everything that is declared here: by packages, by checkouts of the settings, by ``checkouts``.

    Raises:
        ContributionError: something does not load.
    """
    return declared(dict.fromkeys((*Settings.load().checkouts, *(checkouts or ()))))


def is_name(text: str) -> bool:
    """Whether a stream or consumer can be called so; what cannot would ask the server something else."""
    return re.fullmatch(r"[^\s.*>/\\]+", text) is not None


async def _do(bus: EventBus, shown: Deed, look: Look, act: Act, choices: Choices) -> None:
    now = await look(bus)
    if now.state != shown.state:
        raise NotDone(
            f"nothing was done: {shown.target} has changed since it was shown ({shown.state}, now {now.state}); "
            "look again"
        )
    recorded = audit_action(
        bus,
        shown.action,
        actor=choices.actor or user(),
        target=shown.target,
        reason=choices.reason,
        declared_by=shown.declared_by,
        **shown.facts,
    )
    if not recorded:
        sys.stderr.write("warning: no audit log is configured (MTS1B_AUDIT_DIR): who did this is recorded nowhere\n")
    await act(bus, shown)


def show(deed: Deed) -> None:
    """Print what would happen."""
    say(f"{deed.action} {deed.target}" + (f", declared by {deed.declared_by}" if deed.declared_by else ""))
    for effect in deed.effects:
        say(f"  {effect}")


def permit(deed: Deed, choices: Choices) -> None:
    """Go on only with a reason, and with the name of the target typed once more.

    Raises:
        NotDone: one of them is missing.
    """
    if deed.declared_by and not choices.declared:
        raise NotDone(
            f"nothing was done: {deed.target} is declared by {deed.declared_by}, whose services rely on it; with "
            "--declared it is done all the same"
        )
    if not (choices.reason or "").strip():
        raise NotDone("nothing was done: say why with --reason; it goes to the audit log")
    typed = choices.confirm
    if typed is None and sys.stdin.isatty() and not choices.as_json:
        typed = typer.prompt(f"type {deed.target} to do it", prompt_suffix=": ", err=True)
    if typed != deed.target:
        raise NotDone(f"nothing was done: confirm it with --confirm {deed.target}")
