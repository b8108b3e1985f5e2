"""Check and search the audit log."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from mts1b_platform.config import Settings
from mts1b_platform.observability.audit import AuditError
from mts1b_platform.observability.audit import search as records
from mts1b_platform.observability.audit import verify as check
from mts1b_platform.output import Json, noun, print_json, print_listing, print_table

app = noun(__doc__ or "")

Directory = Annotated[Path | None, typer.Argument(help="The audit log. Default: the setting audit_dir.")]


@app.command("verify")
def verify(
    directory: Directory = None,
    *,
    head: Annotated[
        list[str] | None, typer.Option(help="A head noted earlier, as chain=hash; shows a log whose end was cut off.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that no record was changed, removed, inserted or reordered; exit code 1 when one was.

    Every place that is damaged is named with its file and line, and what follows it is checked all the same.

    Example: mts1b audit verify /var/log/mts1b/audit
    """
    noted = dict(_pair(text) for text in head or [])
    found = check(_directory(directory), heads=noted)
    missing = [
        f"{name}: the whole chain is gone" for name in sorted(noted.keys() - {chain.path.name for chain in found})
    ]
    rows = [
        {
            "chain": chain.path.name,
            "records": chain.records,
            "torn": chain.torn,
            "damaged": len(chain.problems),
            "whole": not chain.problems,
            "head": chain.head,
            **({"problems": chain.problems} if as_json else {}),
        }
        for chain in found
    ]
    print_listing(rows, as_json=as_json)
    problems = [problem for chain in found for problem in chain.problems] + missing
    if problems:
        places = "1 place" if len(problems) == 1 else f"{len(problems)} places"
        raise AuditError(f"the audit log is not whole, {places}:\n  " + "\n  ".join(problems))


@app.command("search")
def search(
    directory: Directory = None,
    *,
    order_id: Annotated[str | None, typer.Option(help="Records of this order.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="Records of this intent.")] = None,
    msg_id: Annotated[str | None, typer.Option(help="Records of this message id.")] = None,
    trace_id: Annotated[str | None, typer.Option(help="Records of this trace.")] = None,
    actor: Annotated[str | None, typer.Option(help="Records of what this actor did.")] = None,
    kind: Annotated[str | None, typer.Option(help="publish, publish_failed, action or recovered.")] = None,
    as_json: Json = False,
) -> None:
    """Print the records that match all that is given, in the order of their time.

    Example: mts1b audit search --order-id 2026.1.2.alpha --json
    """
    found = sorted(
        records(
            _directory(directory),
            order_id=order_id,
            idempotency_key=idempotency_key,
            msg_id=msg_id,
            trace_id=trace_id,
            actor=actor,
            kind=kind,
        ),
        key=lambda record: str(record["at"]),
    )
    if as_json:
        print_json(found)
        return
    rows = [
        {
            "at": record["at"],
            "what": record.get("subject") or _action(record) or record["kind"],
            "stored": f"{record.get('stream')}:{record['seq']}" if "seq" in record else "",
            "actor": record.get("actor", ""),
            "order": record.get("order_id", ""),
            "message id": record.get("msg_id", ""),
        }
        for record in found
    ]
    print_table(rows, empty="no record matches")


def _action(record: Mapping[str, Any]) -> str:
    return " ".join(str(record[each]) for each in ("action", "target") if record.get(each))


def _directory(given: Path | None) -> Path:
    directory = given or Settings.load().audit_dir
    if directory is None:
        raise AuditError("no audit log is configured: name its directory, or set MTS1B_AUDIT_DIR")
    return directory


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise AuditError(f"--head {text!r}: write chain=hash, as `mts1b audit verify` prints them")
    return name, value
