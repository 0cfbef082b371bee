"""Ingest of a folder that is on record already, against reading and hashing its files.

    python benchmarks/reingest.py --images 10000 --side 256

The goal: nothing new among 10,000 known files takes less than 10 % of the time of reading and hashing them, plus 2 s.
Both are measured in turn in one run. A tiny backbone fills the set, as its speed does not matter here. Hashing is that
of files in the page cache, which is the harder comparison: from a disk it takes longer, and a listing does not.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "faults"))

from ingest import write_images
from samples import save_backbone

from provenance import IngestRequest, Workspace, run_ingest
from provenance.vocabulary import DatasetKind, Membership

SHARE, SECONDS = 0.10, 2.0


def hashing_seconds(folder: Path) -> float:
    started = time.perf_counter()
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        hashlib.sha256(Path(entry.path).read_bytes()).hexdigest()
    return time.perf_counter() - started


def command_seconds(workspace: Path, folder: Path) -> float:
    """The same as a command of its own, with the start of Python and the loading of the backbone."""
    program = "from provenance.cli.main import main; main()"
    words = ("-w", str(workspace), "ingest", str(folder), "--set", "known", "--membership", "unknown")
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program, *words], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--format", choices=["jpeg", "png"], default="png")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = write_images(folder / "images", arguments.images, arguments.side, arguments.format)
        mebibytes = sum(file.stat().st_size for file in source.iterdir()) / 2**20
        backbone_file = save_backbone(folder / "tiny.onnx")
        request = IngestRequest((source,), "known", DatasetKind.SET, Membership.UNKNOWN)
        with Workspace.create(folder / "workspace", backbone_file=backbone_file, batch_size=256) as workspace:
            backbone = workspace.load_backbone()
            first = run_ingest(workspace, request, backbone)
            print(f"{arguments.images:,} files, {mebibytes:,.0f} MiB; first ingest {first.duration_seconds:.1f} s")
            spent = []
            for number in range(arguments.rounds):
                hashing = hashing_seconds(source)
                report = run_ingest(workspace, request, backbone)
                assert report.counts["known"] == arguments.images
                allowed = SHARE * hashing + SECONDS
                spent.append(report.duration_seconds / allowed)
                print(
                    f"round {number + 1}: read and hash {hashing:.2f} s, known again {report.duration_seconds:.2f} s, "
                    f"allowed {allowed:.2f} s ({report.duration_seconds / hashing:.0%} of hashing)",
                    flush=True,
                )
        print(f"as a command, with its start: {command_seconds(folder / 'workspace', source):.2f} s")
        print(f"share of what is allowed, median of {len(spent)}: {statistics.median(spent):.2f}")


if __name__ == "__main__":
    main()
