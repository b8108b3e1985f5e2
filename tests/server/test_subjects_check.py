"""``mts1b subjects check`` as another repo's CI runs it: a process, in a checkout, with an exit code."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REPOS = Path(__file__).parent / "registry"
BELLS, GONGS = REPOS / "bells-repo", REPOS / "gongs-repo"
COMMAND = Path(sys.executable).parent / "mts1b"


def mts1b(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if name != "GITHUB_ACTIONS"}
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=cwd,
        env={**plain, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def edit(path: Path, old: str, new: str) -> int:
    """Replace ``old``; gives the line that it stood in."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return text[: text.index(old)].count("\n") + 1


NOT_GREAT = """
    @field_validator("bell")
    @classmethod
    def _small(cls, value: str) -> str:
        if value == "great":
            raise ValueError("too great")
        return value
"""


@pytest.fixture
def bells(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BELLS, tmp_path / "bells", ignore=shutil.ignore_patterns("__pycache__")))


def test_the_registry_of_the_project_is_sound():
    result = mts1b("subjects", "check", cwd=ROOT)
    assert result.stdout.endswith("nothing to object to\n"), result.stdout + result.stderr
    assert result.returncode == 0


HEAVY = {
    "aiohttp",
    "cryptography",
    "nats",
    "opentelemetry",
    "prometheus_client",
    "pydantic_settings",
    "rich",
    "structlog",
}
"""Packages that take longer to import than the whole check takes; it needs none of them."""

CHECK_AND_TELL = """
import sys
from mts1b_platform.cli import run
code = run(["subjects", "check"])
sys.stderr.write(" ".join(sys.modules))
sys.exit(code)
"""


def test_a_commit_hook_does_not_wait_for_the_client_and_the_telemetry_that_the_check_does_without():
    result = subprocess.run(
        [sys.executable, "-c", CHECK_AND_TELL], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    loaded = set(result.stderr.split())
    # the declarations of every package of the workspace were read, not only the foundation's
    assert {"mts1b_platform.eventbus.streams", "mts1b_platform.eventbus.consumers"} <= loaded
    assert any(name.startswith("mts1b_operations.") for name in loaded)
    assert not {name.partition(".")[0] for name in loaded} & HEAVY


@pytest.mark.parametrize("repo", [BELLS, GONGS], ids=lambda repo: repo.name)
def test_each_sample_repo_alone_passes(repo: Path):
    result = mts1b("subjects", "check", cwd=repo)
    assert result.returncode == 0, result.stdout


def test_two_repos_that_claim_overlapping_prefixes_are_refused_and_both_are_named():
    result = mts1b("subjects", "check", BELLS, GONGS, cwd=REPOS)
    assert result.returncode == 1
    (line,) = [line for line in result.stdout.splitlines() if "claim-overlap" in line]
    number = edit_line(GONGS / "src/mts1b_gongs/__init__.py", "CONTRIBUTION = ")
    assert line.startswith(f"gongs-repo/src/mts1b_gongs/__init__.py:{number}: claim-overlap: ")
    assert "mts1b-gongs" in line
    assert "mts1b-bells" in line
    assert "mts.*.bells.gongs.>" in line
    assert "mts.*.bells.>" in line


def edit_line(path: Path, text: str) -> int:
    return path.read_text().split(text)[0].count("\n") + 1


def test_a_repo_that_takes_what_the_project_owns_is_refused(bells: Path):
    edit(bells / "src/mts1b_bells/subjects.py", '{"mts1b-bells": "bells"}', '{"mts1b-bells": "oms"}')
    out = mts1b("subjects", "check", cwd=bells).stdout
    assert "claim-overlap: mts1b-bells (mts1b-bells) claims mts.*.oms.>" in out
    assert "of mts1b-oms (mts1b-foundation)" in out


def test_a_broken_declaration_is_named_with_its_line(bells: Path):
    line = edit(bells / "src/mts1b_bells/subjects.py", "mts.v1.bells.rings.{bell}", "mts.v1.bells.Rings.{bell}")
    result = mts1b("subjects", "check", cwd=bells)
    assert f"src/mts1b_bells/subjects.py:{line - 1}: grammar: " in result.stdout
    assert result.returncode == 1


def test_a_payload_that_no_reader_could_read_is_named_at_its_field_by_the_check_and_by_render(bells: Path):
    subjects = bells / "src/mts1b_bells/subjects.py"
    edit(subjects, "from mts1b_foundation.event", "from collections.abc import Callable\n\nfrom mts1b_foundation.event")
    edit(subjects, "bell: Identifier", "bell: Identifier\n    how: Callable[[], None]\n    note: str | bytes")
    line = edit_line(subjects, "how: ")
    for command in ("check", "render"):
        result = mts1b("subjects", command, cwd=bells)
        assert result.returncode == 1
        assert f"src/mts1b_bells/subjects.py:{line}: payload-unreadable: Ring.how: " in result.stdout
        assert f"src/mts1b_bells/subjects.py:{line + 1}: payload-unreadable: Ring.note: " in result.stdout
        assert "Traceback" not in result.stderr


def test_a_filter_outside_its_stream_is_named(bells: Path):
    edit(bells / "src/mts1b_bells/streams.py", 'filters=("mts.v1.bells.rings.*",)', 'filters=("mts.v1.bells.>",)')
    assert "consumer-filter: consumer sexton of mts1b-belfry asks BELLS" in mts1b("subjects", "check", cwd=bells).stdout


def test_a_table_that_is_behind_fails_until_it_is_rendered_again(bells: Path):
    edit(bells / "src/mts1b_bells/subjects.py", 'description="A bell rang."', 'description="A bell rang loudly."')
    result = mts1b("subjects", "check", cwd=bells)
    line = edit_line(bells / "subjects.md", "| `mts.v1.bells.rings.<bell>`")
    assert result.stdout.startswith(
        f"subjects.md:{line}: view-stale: subjects.md is behind the declarations of mts1b-bells"
    )
    assert mts1b("subjects", "render", "--write", cwd=bells).returncode == 0
    assert mts1b("subjects", "check", cwd=bells).returncode == 0


def test_an_incompatible_schema_without_a_new_version_fails_at_the_field(bells: Path):
    line = edit(bells / "src/mts1b_bells/subjects.py", "bell: Identifier", "bell: Identifier | None")
    result = mts1b("subjects", "check", cwd=bells)
    assert f"src/mts1b_bells/subjects.py:{line}: schema-changed: mts1b_bells.subjects.Ring:v1 changed" in result.stdout
    assert "bell: may also be null (backward)" in result.stdout


def test_a_change_that_every_reader_reads_only_wants_its_snapshot_written(bells: Path):
    edit(bells / "src/mts1b_bells/subjects.py", '"""A bell rang."""', '"""A bell rang, and was heard."""')
    assert "schema-stale" in mts1b("subjects", "check", cwd=bells).stdout
    assert mts1b("schemas", "write", cwd=bells).stdout == "wrote mts1b_bells.subjects.Ring.v1.json\n"
    assert mts1b("subjects", "check", cwd=bells).returncode == 0


def test_writing_refuses_what_needs_a_new_version(bells: Path):
    edit(bells / "src/mts1b_bells/subjects.py", "bell: Identifier", "bell: Identifier | None")
    result = mts1b("schemas", "write", cwd=bells)
    assert result.returncode == 1
    assert "raise schema_version" in result.stdout
    assert "schema-changed" in mts1b("schemas", "check", cwd=bells).stdout
    assert mts1b("schemas", "write", "--unreleased", cwd=bells).returncode == 0
    assert mts1b("schemas", "check", cwd=bells).returncode == 0


def test_a_snapshot_edited_together_with_the_model_is_caught_against_a_revision(bells: Path):
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "1"]):
        subprocess.run(["git", *command], cwd=bells, check=True)  # noqa: S607
    line = edit(bells / "src/mts1b_bells/subjects.py", "bell: Identifier", "bell: Identifier | None")
    assert mts1b("schemas", "write", "--unreleased", cwd=bells).returncode == 0
    assert mts1b("subjects", "check", cwd=bells).returncode == 0
    result = mts1b("subjects", "check", "--against", "HEAD", cwd=bells)
    assert result.returncode == 1
    assert f"subjects.py:{line}: schema-changed: mts1b_bells.subjects.Ring:v1 changed since HEAD: bell" in result.stdout
    rows = json.loads(mts1b("schemas", "diff", "--against", "HEAD", "--json", cwd=bells).stdout)
    assert rows == [
        {"schema": "mts1b_bells.subjects.Ring:v1", "field": "bell", "change": "may also be null", "class": "backward"}
    ]
    unknown = mts1b("subjects", "check", "--against", "v9", cwd=bells)
    assert unknown.returncode == 1
    assert "no such revision: v9" in unknown.stderr


def test_what_python_code_checks_is_caught_by_the_kept_examples(bells: Path):
    subjects = bells / "src/mts1b_bells/subjects.py"
    schema = bells / "src/mts1b_bells/schemas/mts1b_bells.subjects.Ring.v1.json"
    document = json.loads(schema.read_text())
    document["examples"] = [{"ring_id": "r1", "bell": "great", "rung_at": "2021-01-08T09:30:00Z"}]
    schema.write_text(json.dumps(document))
    edit(
        subjects,
        "    rung_at: UtcDatetime\n",
        "    rung_at: UtcDatetime\n" + NOT_GREAT,
    )
    edit(subjects, "from mts1b_foundation.event", "from pydantic import field_validator\nfrom mts1b_foundation.event")
    out = mts1b("subjects", "check", cwd=bells).stdout
    assert "it refuses example 0 of its snapshot: Value error, too great (breaking)" in out


def test_a_forgotten_snapshot_and_an_orphaned_one_are_named(bells: Path):
    folder = bells / "src/mts1b_bells/schemas"
    (folder / "mts1b_bells.subjects.Ring.v1.json").rename(folder / "mts1b_bells.subjects.Old.v1.json")
    out = mts1b("subjects", "check", cwd=bells).stdout
    assert "schema-missing: mts1b_bells.subjects.Ring:v1 has no snapshot" in out
    assert "mts1b_bells.subjects.Old.v1.json:1: schema-orphan:" in out


def test_findings_are_json_when_asked_and_annotations_inside_a_workflow(bells: Path):
    line = edit(bells / "src/mts1b_bells/subjects.py", "bell: Identifier", "bell: Identifier | None")
    (row,) = json.loads(mts1b("schemas", "check", "--json", cwd=bells).stdout)
    assert (row["file"], row["line"], row["rule"]) == ("src/mts1b_bells/subjects.py", line, "schema-changed")
    out = mts1b("schemas", "check", cwd=bells, GITHUB_ACTIONS="true").stdout.splitlines()
    assert out[1].startswith(f"::error file=src/mts1b_bells/subjects.py,line={line},title=schema-changed::")


def test_who_says_owner_and_stream():
    rows = json.loads(mts1b("subjects", "who", "mts.v1.oms.orders.>", "--json", cwd=ROOT).stdout)
    assert {(row["producer"], *row["stream"]) for row in rows} == {("mts1b-oms", "OMS_ORDERS")}
    (row,) = json.loads(mts1b("subjects", "who", "mts.v1.marketdata.quotes.BRK=2EB", "--json", cwd=ROOT).stdout)
    assert row["subject"] == "mts.v1.marketdata.quotes.{symbol}"
    assert row["stream"] == []


def test_who_names_those_that_a_part_was_granted_to():
    def owners(pattern: str) -> list[tuple[str, str]]:
        rows = json.loads(mts1b("subjects", "who", pattern, "--json", cwd=ROOT).stdout)
        return [(row["subject"], row["producer"]) for row in rows]

    raw, ib = "mts.v1.brokers.{broker}.fills.raw", "mts.v1.brokers.ib.fills.raw"
    assert owners(ib) == [(ib, "mts1b-broker-ib")]
    assert owners("mts.v1.brokers.paper.fills.raw") == [(raw, "mts1b-brokers")]
    for pattern in (raw, "mts.v1.brokers.*.fills.raw"):
        assert owners(pattern) == [(raw, "mts1b-brokers"), (ib, "mts1b-broker-ib")]
    assert ("mts.v1.brokers.ib.orders.canceled", "mts1b-broker-ib") in owners("mts.v1.brokers.ib.>")
    assert {producer for _, producer in owners("mts.v1.brokers.ib.>")} == {"mts1b-broker-ib"}


def test_who_says_nobody_with_an_exit_code():
    nobody = mts1b("subjects", "who", "mts.v1.nobody.at.all", cwd=ROOT)
    assert nobody.returncode == 1
    assert nobody.stdout == "nobody: no registered subject matches mts.v1.nobody.at.all\n"
    refused = mts1b("subjects", "who", "mts.>.oms", cwd=ROOT)
    assert refused.returncode == 1
    assert "'mts.>.oms' is no subject and no pattern" in refused.stderr


def test_a_checkout_is_listed_with_everything_else():
    rows = json.loads(mts1b("subjects", "ls", "--json", cwd=BELLS).stdout)
    assert "mts.v1.bells.rings.{bell}" in {row["subject"] for row in rows}
    assert "mts.v1.oms.orders.created" in {row["subject"] for row in rows}


def test_show_tells_everything_about_one_subject():
    (shown,) = json.loads(mts1b("subjects", "show", "mts.v1.bells.rings.{bell}", "--json", cwd=BELLS).stdout)
    assert shown["producer"] == "mts1b-bells"
    assert shown["streams"] == ["BELLS"]
    assert shown["on_the_wire"] == ["mts.v1.bells.rings.*"]
    assert list(shown["fields"]) == ["ring_id", "bell", "rung_at"]
    assert shown["fields"]["rung_at"] == "UTC timestamp"
    assert "mts1b-bells" in mts1b("subjects", "show", "mts.v1.bells.rings.big_ben", cwd=BELLS).stdout
    unknown = mts1b("subjects", "show", "mts.v1.x", cwd=BELLS)
    assert unknown.returncode == 1
    assert "mts1b subjects ls" in unknown.stderr


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path):
    result = mts1b("subjects", "check", tmp_path / "nowhere", cwd=tmp_path)
    assert result.returncode == 1
    assert "has no pyproject.toml" in result.stderr


@pytest.mark.parametrize("form", ["markdown", "asyncapi", "jsonschema", "typescript"])
def test_every_view_is_rendered_into_a_file(form: str, tmp_path: Path):
    out = tmp_path / form
    result = mts1b("subjects", "render", "--format", form, "--out", out, cwd=BELLS)
    assert result.returncode == 0, result.stderr
    text = "".join(path.read_text() for path in (out.iterdir() if out.is_dir() else [out]))
    assert "rung_at" in text or "mts.v1.bells.rings.<bell>" in text
