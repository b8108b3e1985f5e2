"""The rendered views, judged by the tools that they are made for."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from mts1b_foundation.event import Event
from mts1b_foundation.samples import ORDER, SAMPLES
from mts1b_foundation.subjects import SUBJECTS, registry
from mts1b_foundation.views import asyncapi, jsonschema, typescript
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.connection.messages import Message
from mts1b_platform.testing.bus import ConnectBus

JS = Path(__file__).parent / "js"
INFORMATION = 2
"""Severity in the parser's words: 0 is an error, 1 a warning, 2 a hint that a newer AsyncAPI exists."""


def run(node: Path, *command: str | Path, given: str = "") -> str:
    result = subprocess.run(
        [node, *command], input=given, cwd=JS, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def verdicts(node: Path, folder: Path, events: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    schemas = folder / "schemas.json"
    schemas.write_text(json.dumps(jsonschema(SUBJECTS)))
    lines = "\n".join(json.dumps({"schema": schema, "payload": payload}) for schema, payload in events)
    return [json.loads(line) for line in run(node, "validate.mjs", schemas, given=lines).splitlines()]


def test_the_official_parser_accepts_the_asyncapi_document(node_bin: Path):
    seen = json.loads(run(node_bin, "asyncapi.mjs", given=json.dumps(asyncapi(SUBJECTS, version="1.0.0"))))
    assert [problem for problem in seen["problems"] if problem["severity"] < INFORMATION] == []
    assert seen["version"] == "3.0.0"


def test_the_asyncapi_document_holds_every_form_of_every_subject_with_its_sender(node_bin: Path):
    seen = json.loads(run(node_bin, "asyncapi.mjs", given=json.dumps(asyncapi(SUBJECTS, version="1.0.0"))))
    forms = {
        form: subject.producer
        for subject in SUBJECTS
        for form in [subject.pattern, *([f"{subject.pattern}.fund.{{fund_id}}"] if subject.fund_scoped else [])]
    }
    assert sorted(seen["addresses"]) == sorted(forms)
    assert {address: sender for sender, address in seen["senders"]} == forms
    assert {name: set(fields) for name, fields in seen["messages"].items()} == {
        subject.schema_id: set(subject.payload.model_fields) for subject in SUBJECTS
    }


def test_the_official_parser_refuses_a_document_that_is_wrong(node_bin: Path):
    document = asyncapi(SUBJECTS, version="1.0.0")
    document["components"]["messages"]["mts1b_foundation.orders.Order.v1"]["examples"][0]["payload"]["side"] = "up"
    del document["channels"]["mts.v1.oms.orders.created"]
    seen = json.loads(run(node_bin, "asyncapi.mjs", given=json.dumps(document)))
    assert {problem["severity"] for problem in seen["problems"]} >= {0}


async def test_ajv_accepts_every_event_captured_from_a_bus(
    bus: EventBus, connect_bus: ConnectBus, node_bin: Path, tmp_path: Path
):
    captured: list[tuple[str, Any]] = []
    arrived = asyncio.Event()
    subjects = {subject.payload: subject for subject in SUBJECTS}

    async def capture(message: Message) -> None:
        captured.append((message.headers["mts-schema"], json.loads(message.data)))
        if len(captured) == len(SAMPLES):
            arrived.set()

    await bus.subscribe("mts.>", cb=capture)
    await bus.flush()
    for event in SAMPLES:
        subject = subjects[type(event)]
        producer = await connect_bus(subject.producer)
        await producer.emit(subject, event)
    await asyncio.wait_for(arrived.wait(), 60)
    assert {schema for schema, _ in captured} == {subject.schema_id for subject in SUBJECTS}
    assert [verdict for verdict in verdicts(node_bin, tmp_path, captured) if not verdict["valid"]] == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("quantity", 0.5),
        ("quantity", "1_000"),
        ("quantity", "NaN"),
        ("side", "up"),
        ("created_at", "2021-01-08T09:30:00"),
        ("created_at", "2021-01-08T09:30:00+01:00"),
        ("order_id", ""),
        ("order_id", "a b"),
        ("order_id", 7),
        ("venue", "somewhere"),
    ],
)
def test_ajv_and_the_model_refuse_the_same(field: str, value: object, node_bin: Path, tmp_path: Path):
    payload = {**json.loads(ORDER.model_dump_json()), field: value}
    (verdict,) = verdicts(node_bin, tmp_path, [(type(ORDER).schema_id(), payload)])
    assert not verdict["valid"]
    assert field in verdict["errors"] or "additional properties" in verdict["errors"]
    with pytest.raises(ValueError, match=field):
        type(ORDER).model_validate_json(json.dumps(payload))


def test_the_typescript_types_fit_the_events(node_bin: Path, tmp_path: Path):
    types = tmp_path / "events.ts"
    types.write_text(typescript(SUBJECTS))
    used = tmp_path / "used.ts"
    head = 'import type { Payloads, Schemas } from "./events.js";\n'
    used.write_text(head + "".join(map(_use, SAMPLES)))
    tsc = JS / "node_modules" / "typescript" / "bin" / "tsc"
    options = ["--noEmit", "--strict", "--exactOptionalPropertyTypes", "--module", "nodenext", "--target", "es2022"]
    run(node_bin, tsc, *options, used)
    used.write_text(used.read_text().replace('"side": "buy"', '"side": "up"'))
    with pytest.raises(AssertionError, match="not assignable"):
        run(node_bin, tsc, *options, used)


def _use(event: Event) -> str:
    """The event as a producer writes it, and the shortest form that a foreign one may write."""
    subject = next(subject for subject in registry() if subject.payload is type(event))
    document = json.loads(event.model_dump_json())
    body = json.dumps(document)
    short = json.dumps({key: value for key, value in document.items() if type(event).model_fields[key].is_required()})
    name = f"{type(event).__name__}{id(event)}"
    return (
        f"export const {name}: Payloads[{json.dumps(subject.pattern)}] = {body};\n"
        f"export const {name}short: Payloads[{json.dumps(subject.pattern)}] = {short};\n"
        f"export const {name}s: Schemas[{json.dumps(subject.schema_id)}] = {name};\n"
    )
