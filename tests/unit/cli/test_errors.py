"""Every error class: what it says, what it advises, and the exit code of the command line."""

from __future__ import annotations

import pytest

from provenance import errors
from provenance.cli import app as cli

CODES = {
    "ProvenanceError": 1,
    "UsageError": 2,
    "SourceError": 3,
    "EmbeddingError": 4,
    "WeightsError": 4,
    "SpaceMismatchError": 4,
    "VectorStoreError": 5,
    "StoreLockedError": 5,
    "CatalogError": 6,
    "NotFoundError": 7,
    "ConflictError": 8,
}


def run_raising(error: BaseException, monkeypatch: pytest.MonkeyPatch, *, verbosity: int = 0) -> int:
    def fail(**_options: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(cli.state, "verbosity", verbosity)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_the_table_of_codes_is_whole() -> None:
    classes = {c.__name__: c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)}
    assert {name: c.exit_code for name, c in classes.items()} == CODES  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_error_becomes_text_and_code(
    name: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_raising(getattr(errors, name)("it broke", hint="mend it"), monkeypatch) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", "error: it broke\nhint: mend it\n")


def test_no_hint_no_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run_raising(errors.NotFoundError("no such name"), monkeypatch)
    assert capsys.readouterr().err == "error: no such name\n"


def test_traceback_with_vv_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run_raising(errors.NotFoundError("no such name"), monkeypatch, verbosity=2)
    assert "Traceback" in capsys.readouterr().err


def test_a_defect_is_called_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_raising(ValueError("oops"), monkeypatch) == 1
    err = capsys.readouterr().err
    assert "defect of provenance: ValueError: oops" in err
    assert "Traceback" not in err


def test_exit_code_ten_is_kept_for_gates() -> None:
    assert 10 not in CODES.values()
