"""The command line from outside: what it costs to start, that every command explains itself, and its JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from provenance.cli import audit_commands
from provenance.cli.main import app
from provenance.config import load_settings
from provenance.errors import ProvenanceError, UsageError
from provenance.version import __version__
from provenance.vocabulary import Role
from tests.runner import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import typer

HEAVY = {"torch", "torchvision", "qdrant_edge", "qdrant_client", "sqlalchemy", "pandas", "PIL", "numpy", "rich"}
HEAVY |= {"matplotlib", "jinja2"}


def commands(group: typer.Typer, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Callable[..., object]]]:
    for command in group.registered_commands:
        assert command.callback is not None
        yield (*path, command.name or command.callback.__name__.replace("_", "-")), command.callback
    for child in group.registered_groups:
        assert child.typer_instance is not None
        yield from commands(child.typer_instance, (*path, str(child.name)))


ALL = dict(commands(app))


@pytest.mark.parametrize("words", [("--help",), ("audit", "--help"), ("--version",)])
def test_help_brings_no_heavy_library(words: tuple[str, ...], tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from provenance.cli.main import main\n"
        "try:\n    main()\n"
        "finally:\n    sys.stderr.write('MODULES ' + ' '.join(sorted(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert "provenance" in done.stdout.lower()
    loaded = set(done.stderr.rpartition("MODULES ")[2].split())
    assert loaded & HEAVY == set()


def test_it_runs_as_a_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "provenance", "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, f"provenance {__version__}\n")


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_explains_itself_with_an_example(path: tuple[str, ...]) -> None:
    text = ALL[path].__doc__ or ""
    first, _, rest = text.partition("\n")
    assert first.endswith(".")
    assert len(first) <= 60, "longer ones are cut in the list of commands"
    assert "\b\n    Example:\n" in rest
    assert f"provenance {' '.join(path)}" in rest.replace("--workspace /srv/audits ", "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252:strict", "utf-8"])
def test_words_of_a_call_are_harmless_and_print_everywhere(encoding: str, tmp_path: Path) -> None:
    bad = "\x1b[31m患\u202e"
    for words, code in (
        (("show", bad, bad), 2),
        (("sets", "show", bad), 7),
        (("--workspace", bad, "init", "--json"), 0),
    ):
        done = process(tmp_path, *words, PYTHONIOENCODING=encoding)
        assert done.returncode == code, done.stderr
        said = done.stdout + done.stderr
        assert said
        assert not {"\x1b", "\u202e"} & set(said)
    assert json.loads(done.stdout)["workspace"] == str(tmp_path / bad)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_speaks_json(path: tuple[str, ...]) -> None:
    assert "json" in ALL[path].__annotations__


def test_commands_are_listed_in_the_order_of_their_use() -> None:
    listed = CliRunner().invoke(app, ["--help"]).stdout.partition("Commands:")[2]
    names = [line.split()[0] for line in listed.splitlines() if line[:3].strip() and line.startswith("  ")]
    assert names[:3] == ["demo", "init", "ingest"]
    assert [name for name in names if name in ("audit", "show", "sets", "backup", "db")] == [
        *("audit", "show", "sets", "backup", "db")
    ]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("sets", "list"), 7, "no workspace"),
        (("ingest", "."), 2, "give either --set NAME or --release NAME"),
        (("ingest", ".", "--set", "a"), 2, "needs --membership"),
        (("ingest", ".", "--set", "a", "--membership", "maybe"), 2, "used, not-used or unknown"),
        (("ingest", ".", "--release", "a"), 2, "needs --generator"),
        (("ingest", ".", "--release", "a", "--membership", "used"), 2, "--membership goes with --set"),
        (("ingest-layout", "nowhere", "--prefix", "x"), 3, "nowhere"),
        (("no-such-command",), 2, "No such command"),
        (("ingest", "nowhere", "--set", "a", "--membership", "used"), 3, "can't read nowhere"),
        (("watch", "nowhere", "--set", "a", "--membership", "used"), 3, "can't read nowhere"),
        (("-w", "a", "sets", "list", "-w", "b"), 7, "note: --workspace is given twice: b counts, a does not\n"),
        (("-w", "a", "-w", "b", "sets", "list"), 7, "note: --workspace is given twice: b counts, a does not\n"),
        (("ingest", ".", "--set", "a", "--set", "b"), 2, "note: --set is given twice: b counts, a does not\n"),
    ],
)
def test_wrong_calls_say_what_is_wrong(words: tuple[str, ...], code: int, said: str, tmp_path: Path) -> None:
    done = process(tmp_path, *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("evaluate", "abcd", "--labels", "no.csv"), "no.csv can't be read"),
        (("fit", "abcd", "--labels", "no.csv", "-o", "policy.json"), "no.csv can't be read"),
        (("fit", "abcd", "--held-out", "2", "-o", "policy.json"), "the held-out share"),
        (("sweep", "abcd", "--labels", "no.csv", "--alphas", "x"), "no.csv can't be read"),
        (("sweep", "abcd", "--alphas", "x"), "--alphas 'x'"),
        (("sweep", "abcd", "-o", "out.csv", "--figure", "a.pdf"), "a.pdf is no name of a figure"),
        (("sensitivity", "abcd", "--kinds", "x"), "there is no kind of plant 'x'"),
        (("duplicates", "a", "--hash-distance", "99"), "the hash distance"),
        (("sweep", "abcd"), "no workspace at"),
    ],
)
def test_what_is_wrong_with_a_call_is_told_before_a_missing_workspace(
    words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["--workspace", "nowhere", *words])
    assert isinstance(result.exception, ProvenanceError)
    assert result.exception.message.startswith(said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_settings_come_from_flag_environment_file_in_this_order(tmp_path: Path) -> None:
    assert process(tmp_path, "init", "--backbone", "efficientnet-lite0").returncode == 0
    file = tmp_path / ".provenance" / "provenance.toml"
    assert 'backbone = "efficientnet-lite0"' in file.read_text()
    file.write_text(file.read_text() + "batch_sise = 3\n")
    done = process(tmp_path, "sets", "list")
    assert (done.returncode, "unknown setting 'batch_sise'" in done.stderr) == (2, True)
    file.write_text("batch_size = 0\n")
    done = process(tmp_path, "sets", "list")
    assert done.returncode == 2
    assert "setting batch_size" in done.stderr
    assert process(tmp_path, "sets", "list", PROVENANCE_BATCH_SIZE="4").returncode == 0


@pytest.mark.slow
def test_secrets_are_not_read_from_the_file(tmp_path: Path) -> None:
    process(tmp_path, "init")
    (tmp_path / ".provenance" / "provenance.toml").write_text('qdrant_api_key = "s3cret"\n')
    done = process(tmp_path, "sets", "list")
    assert done.returncode == 2
    assert "PROVENANCE_QDRANT_API_KEY" in done.stderr
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize(
    ("line", "variables", "said"),
    [
        ("allow_insecure_index = true", {}, "PROVENANCE_ALLOW_INSECURE_INDEX"),
        ('qdrant_api_key_host = "evil.example.org"', {}, "PROVENANCE_QDRANT_API_KEY_HOST"),
        ('index_url = "https://evil.example.org"', {"PROVENANCE_QDRANT_API_KEY": "s3cret"}, "evil.example.org"),
        (
            'index_url = "https://other.example.org:6333"',
            {"PROVENANCE_QDRANT_API_KEY": "s3cret", "PROVENANCE_QDRANT_API_KEY_HOST": "index.example.org"},
            "PROVENANCE_QDRANT_API_KEY_HOST=other.example.org",
        ),
        ('catalog_url = "postgresql://me@evil.example.org/x"', {"PGPASSWORD": "s3cret"}, "PGHOST=evil.example.org"),
        *(
            (
                f'index_url = "HTTPS://index.example.org:6333,{more}"',
                {"PROVENANCE_QDRANT_API_KEY": "s3cret", "PROVENANCE_QDRANT_API_KEY_HOST": "index.example.org"},
                "PROVENANCE_QDRANT_API_KEY_HOST=evil.example.org",
            )
            for more in ("HTTPS://evil.example.org", "evil.example.org:6333", "//me@evil.example.org")
        ),
        *(
            (
                f'catalog_url = "postgresql://me@{more}"',
                {"PGPASSWORD": "s3cret", "PGHOST": "db.example.org"},
                "PGHOST=evil.example.org",
            )
            for more in (
                "db.example.org:5432,evil.example.org:5432/x",
                "/x?host=evil.example.org",
                "db.example.org/x?host=db.example.org%3A1%2Cevil.example.org",
                "db.example.org/x?host=db.example.org&hostaddr=evil.example.org",
            )
        ),
    ],
)
def test_a_settings_file_of_somebody_else_opens_nothing_and_gets_no_key(
    line: str, variables: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "provenance.toml").write_text(line + "\n")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as caught:
        load_settings(tmp_path)
    assert said in f"{caught.value.message} {caught.value.hint}"
    assert "s3cret" not in f"{caught.value.message} {caught.value.hint}"


def test_a_key_goes_to_the_host_that_flag_or_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "provenance.toml").write_text('index_url = "https://Index.example.org:6333"\n')
    monkeypatch.setenv("PROVENANCE_QDRANT_API_KEY", "s3cret")
    assert load_settings(tmp_path, index_url="https://flag.example.org").qdrant_api_key is not None
    monkeypatch.setenv("PROVENANCE_QDRANT_API_KEY_HOST", "Index.Example.org")
    assert load_settings(tmp_path).qdrant_api_key is not None
    monkeypatch.delenv("PROVENANCE_QDRANT_API_KEY_HOST")
    monkeypatch.setenv("PROVENANCE_INDEX_URL", "https://environment.example.org")
    assert load_settings(tmp_path).index_url == "https://environment.example.org"
    monkeypatch.setenv("PROVENANCE_ALLOW_INSECURE_INDEX", "true")
    assert load_settings(tmp_path).allow_insecure_index


@pytest.mark.slow
def test_empty_workspace_gives_empty_json(tmp_path: Path) -> None:
    process(tmp_path, "init")
    for words in (("sets", "list"), ("releases", "list"), ("audits", "list")):
        done = process(tmp_path, *words, "--json")
        assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, [], "")
    done = process(tmp_path, "show", "0123456789abcdef")
    assert done.returncode == 7


def test_a_word_that_is_no_code_of_a_modality_is_told(tmp_path: Path) -> None:
    words = ("--workspace", str(tmp_path / "ws"), "ingest", str(tmp_path), "--set", "s", "--membership", "used")
    result = CliRunner().invoke(app, [*words, "--modality", "mri"])
    assert "'mri' is not DICOM's code of that modality, MR is" in result.stderr
    assert "DICOM" not in CliRunner().invoke(app, [*words, "--modality", "MR"]).stderr


def test_a_workspace_shows_where_it_is(tmp_path: Path) -> None:
    from provenance import Workspace

    with Workspace.create(tmp_path / "ws") as workspace:
        assert repr(workspace) == f"Workspace({str(tmp_path / 'ws')!r})"


@pytest.mark.parametrize(
    ("outcome", "auc", "cell"),
    [("inconclusive", 0.9, "(0.900)"), ("leak_established", 0.9, "0.900"), ("inconclusive", None, None)],
)
def test_the_auc_of_an_inconclusive_outcome_is_marked(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcome: str,
    auc: float | None,
    cell: str | None,
) -> None:
    judged = SimpleNamespace(audit_id="0" * 32, audited_at=datetime.now(UTC), subject="real", rule="calibrated")
    sets = {Role.AGAINST: ["asked"]}
    found = SimpleNamespace(
        audit=judged, outcome=outcome, auc=auc, answers={}, part_of=None, release_name="r", sets_by_role=lambda: sets
    )
    monkeypatch.setattr(audit_commands, "_labels_text", lambda _audit: "1 established")
    assert audit_commands._row(found)[4] == cell  # type: ignore[arg-type]
    audit_commands._explain_list([found])  # type: ignore[list-item]
    said = capsys.readouterr().err
    assert ("of an inconclusive outcome" in said) is bool(cell and cell.startswith("("))
    assert "against: sets of which it is unknown whether they were used" in said
