"""Logs: which lines, in which form, with whose id; and that nothing secret is in them."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from provenance import logs
from tests.runner import process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOG = logs.room("provenance.ingest.run")
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING) provenance\.\w+ \[([0-9a-f]{32})\] .+")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    logs.configure()


def test_a_room_has_one_logger_and_says_nothing_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    assert logs.room("provenance.ingest.watch") is LOG
    assert LOG.name == "provenance.ingest"
    logs.note(LOG, "here", level=logging.ERROR)
    assert capsys.readouterr().err == ""


def test_lines_bear_their_run_and_their_facts(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(1)
    with logs.run_of("abc"), logs.step(LOG, "reading", source="a b", nothing=None) as facts:
        facts["images"] = 3
        with logs.run_of("inner"):
            logs.note(LOG, "within")
    logs.note(LOG, "after")
    within, done, after = capsys.readouterr().err.splitlines()
    assert within.endswith("INFO provenance.ingest [inner] within")
    assert re.search(r'INFO provenance.ingest \[abc\] reading: done source="a b" images=3 seconds=\d+\.\d+$', done)
    assert after.endswith("[-] after")


def test_a_step_that_fails_says_so_and_details_need_vv(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(2)
    with pytest.raises(ValueError, match="oops"), logs.step(LOG, "reading"):
        raise ValueError("oops")
    begun, ended = capsys.readouterr().err.splitlines()
    assert " DEBUG " in begun
    assert "reading: ended by ValueError seconds=" in ended


def test_steps_tell_the_caller_and_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(1)
    told: list[str] = []
    with logs.steps(LOG, told.append) as on_step:
        on_step("loading")
        on_step("deciding")
    assert told == ["loading", "deciding"]
    assert [line.split("] ")[1].split(":")[0] for line in capsys.readouterr().err.splitlines()] == told


def test_json_has_an_object_a_line_for_logs_messages_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(1, logs.LogFormat.JSON)
    logs.note(LOG, "a line\nof two", images=3)
    logs.MESSAGES.warning("attention")
    logs.note(logs.MESSAGES, "it broke", level=logging.ERROR, hint="mend it")
    first, second, third = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["message"], first["images"], first["logger"]) == ("a line\nof two", 3, "provenance.ingest")
    assert (second["level"], second["message"]) == ("warning", "attention")
    assert (third["level"], third["hint"]) == ("error", "mend it")
    assert not logs.may_draw()


def test_quiet_leaves_errors(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(quiet=True)
    logs.MESSAGES.info("done")
    logs.MESSAGES.warning("attention")
    logs.note(logs.MESSAGES, "it broke", level=logging.ERROR, hint="mend it")
    assert capsys.readouterr().err == "error: it broke\nhint: mend it\n"
    assert not logs.may_draw()


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:s3cret@host/db",
        "postgresql://me:s3/cret@host/db",
        "postgresql://host/db?user=me&password=s3cret&sslmode=require",
        "https://:s3cret@qdrant:6333",
        "{'api-key': 's3cret'}",
        "api_key=s3cret, url=http://host",
    ],
)
def test_secrets_are_taken_out(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(1)
    logs.note(LOG, text, url=text)
    LOG.info("at %s", text)
    said = capsys.readouterr().err
    assert "cret" not in said
    assert said.count("***") >= 3


def test_what_is_no_secret_stays() -> None:
    for text in (
        "https://qdrant.example.org:6333/path",
        "sqlite:////a/b@c.sqlite",
        "postgresql://me@host/db",
        "50 % at 3:4",
    ):
        assert logs.without_secrets(text) == text


SECRETS = {
    "PROVENANCE_QDRANT_API_KEY": "kEy-s3cret",
    "PROVENANCE_INDEX_URL": "http://me:iNdex-s3cret@127.0.0.1:9",
    "PROVENANCE_CATALOG_URL": "postgresql://me:pAss-s3cret@127.0.0.1:9/db?connect_timeout=2",
}


@pytest.mark.slow
def test_real_commands_log_no_secret(tmp_path: Path) -> None:
    """A catalog that is not there, then a catalog that is and an index that is not."""
    (tmp_path / "a.png").write_bytes(b"no image")
    said = process(tmp_path, "-vv", "init", **SECRETS).stderr
    here = {**SECRETS, "PROVENANCE_CATALOG_URL": ""}
    ingest = ("ingest", "a.png", "--set", "a", "--membership", "used", "--backbone", "patches-16-16@16")
    for words in (("init",), ingest, ("--log-format", "json", "reconcile")):
        said += process(tmp_path, "-vv", *words, **here).stderr
    assert "Traceback" in said
    assert "open index" in said
    assert "sent again" in said, "requests to the server are sent again, and it is said"
    assert "s3cret" not in said


@pytest.mark.slow
def test_a_run_of_the_command_line_is_told_line_by_line(tmp_path: Path) -> None:
    process(tmp_path, "init")
    (tmp_path / "a.png").write_bytes(b"no image")
    ingest = ("ingest", "a.png", "--set", "a", "--membership", "used", "--backbone", "patches-16-16@16")
    done = process(tmp_path, "-v", *ingest, PROVENANCE_LOG_FORMAT="json")
    assert done.returncode == 3
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"provenance.cli", "provenance.installation", "provenance.ingest"} <= {line["logger"] for line in lines}
    (rejected,) = [line for line in lines if line["message"] == "rejected"]
    assert (rejected["name"], rejected["reason"]) == ("a.png", "unsupported")
    assert len({line["run_id"] for line in lines}) == 2, "that of the command, and that of the ingest"
    plain = process(tmp_path, "-v", *ingest).stderr.splitlines()
    assert sum(LINE.fullmatch(line) is not None for line in plain) >= 5
    silent = process(tmp_path, "--quiet", *ingest)
    assert [line.partition(":")[0] for line in silent.stderr.splitlines()] == ["error", "hint"]


def test_it_costs_no_import_worth_speaking_of() -> None:
    heavy = {"asyncio", "multiprocessing", "logging.handlers", "logging.config"}
    program = "import sys, provenance.logs; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert not heavy & set(loaded.stdout.split())
