"""The command line as tests run it: in this process, or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from typer.testing import CliRunner

from provenance.cli.main import app
from provenance.errors import ProvenanceError

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

PROGRAM = "from provenance.cli.main import main; main()"


def run(workspace: Path, *words: str, code: int = 0) -> Result:
    """A command in this process, on a workspace that nobody has open; it ends with ``code``."""
    result = CliRunner().invoke(app, ["--workspace", str(workspace), *words])
    if isinstance(result.exception, ProvenanceError):  # `main` makes an exit code and two lines of it
        assert result.exception.exit_code == code, result.exception.message
    else:
        assert result.exit_code == code, (result.output, result.stderr)
    return result


def refused(workspace: Path, *words: str, code: int = 2) -> str:
    """The message of the error that a command ends with."""
    result = run(workspace, *words, code=code)
    assert isinstance(result.exception, ProvenanceError)
    return result.exception.message


def answer(workspace: Path, *words: str) -> Any:
    """The JSON document of a command."""
    return json.loads(run(workspace, *words, "--json").stdout)


def raising(workspace: Path, *words: str) -> Result:
    """A command in this process, whose error is raised."""
    result = CliRunner().invoke(app, ["--workspace", str(workspace), *words])
    if isinstance(result.exception, ProvenanceError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.stderr)
    return result


def process(folder: Path, *words: str, seconds: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command as a process in ``folder``, with variables beside those of this one."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
