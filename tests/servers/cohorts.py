"""A leaky release and its sets, small, and what audits of them say; the same wherever the vectors are kept."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tests.e2e.conftest import picture
from tests.runner import answer, run

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

BACKBONE = "patches-16-16@16"
SETS = ("--used", "used", "--not-used", "fresh", "--against", "asked")
AUDITS = {
    "every answer": SETS,
    "calibrated": (*SETS, "--subject", "real"),
    "paper's rule": ("--used", "used", "--not-used", "fresh", "--rule", "mu-alpha-sigma"),
}


def save(folder: Path, seeds: Iterable[int], noise: int = 0) -> Path:
    """One picture of 16 x 16 a seed; with noise, one that looks almost like it."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        pixels = picture(seed, side=16).astype(np.int64)
        if noise:
            pixels = pixels + np.random.default_rng(10_000 + seed).integers(-noise, noise + 1, pixels.shape)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"s{seed:04d}.png")
    return folder


def save_leaky(root: Path) -> Path:
    """20 used, 40 not used, 15 of unknown use; 25 generated, 12 of them near copies."""
    save(root / "used", range(20))
    save(root / "fresh", range(100, 140))
    save(root / "asked", range(200, 215))
    save(root / "leaky", range(12), noise=12)
    save(root / "leaky", range(300, 313))
    return root


def begin(workspace: Path, url: str = "", **settings: int) -> Path:
    """A workspace with its index at ``url``; with none, in process. A key comes from the tests' own variable."""
    if key := os.environ.get("PROVENANCE_TEST_QDRANT_API_KEY"):
        os.environ["PROVENANCE_QDRANT_API_KEY"] = key
    run(workspace, "init", *(("--index-url", url) if url else ()))
    with (workspace / "provenance.toml").open("a") as file:
        file.writelines(f"\n{name} = {value}\n" for name, value in {"workers": 0, **settings}.items())
    return workspace


def ingest(workspace: Path, root: Path) -> None:
    """All four of ``save_leaky``."""
    for name, use in (("used", "used"), ("fresh", "not-used"), ("asked", "unknown")):
        run(workspace, "ingest", str(root / name), "--set", name, "--membership", use, "--backbone", BACKBONE)
    run(workspace, "ingest", str(root / "leaky"), "--release", "leaky", "--generator", "g", "--backbone", BACKBONE)


def digests(workspace: Path, *more: str, names: Iterable[str] = tuple(AUDITS)) -> dict[str, object]:
    """The verdict digests of audits, by name, made with more options."""
    found: dict[str, object] = {}
    for name in names:
        said = answer(workspace, "audit", "leaky", *AUDITS[name], *more)
        found[name] = digests_in(said)
        assert found[name]
    return found


def digests_in(said: object) -> list[str]:
    """The verdict digests anywhere in an answer."""
    if isinstance(said, dict):
        own = [said["verdict_digest"]] if isinstance(said.get("verdict_digest"), str) else []
        return own + [digest for value in said.values() for digest in digests_in(value)]
    return [digest for value in said for digest in digests_in(value)] if isinstance(said, list) else []
