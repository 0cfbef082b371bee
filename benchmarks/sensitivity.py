"""What a sensitivity costs: 1,000 planted copies, each judged alone, against the time of embedding them.

    python benchmarks/sensitivity.py ../shared/data/brain-mri                    # patches, then a whole-image backbone
    python benchmarks/sensitivity.py ../shared/data/brain-mri --backbones patches-24-8@64 --plants 134

Needs a folder in the challenge's layout (real_used, real_not_used, generated; real_unknown where there is one).
``embedding`` is reading, altering and embedding the plants, by the same pipeline as an ingest; ``scoring`` is
everything after it until the figures are there. The bound: scoring takes no more than 1.2 times embedding.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from provenance import Workspace

SETS = {"real_used": "used", "real_not_used": "not-used", "real_unknown": "unknown"}
BOUND = 1.2


def fill(workspace: Workspace, data: Path, backbones: list[str]) -> None:
    for name in backbones:
        backbone = workspace.load_backbone(name=name)
        for folder, membership in SETS.items():
            if (data / folder).is_dir():
                workspace.ingest(data / folder, set=folder, membership=membership, backbone=backbone)
        workspace.ingest(data / "generated", release="release", generator="g", backbone=backbone)
        print(f"ingested with {name}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--backbones", nargs="+", default=["patches-24-8@64", "efficientnet-lite0"])
    parser.add_argument("--plants", type=int, default=67, help="of each of the 15 kinds")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        Workspace.create(Path(folder) / "workspace", threads=1, workers=0) as workspace,
    ):
        fill(workspace, given.data, given.backbones)
        print("space                subject     plants  embedding s  scoring s  scoring / embedding")
        for name in given.backbones:
            for subject in ("real", "generated"):
                audit = workspace.audit("release", rule="calibrated", subject=subject, space=name)
                report = workspace.sensitivity(audit, plants=given.plants).report.of_answers[""]
                plants = sum(row.plants for row in report.rows)
                embedding, scoring = report.seconds["embedding"], report.seconds["scoring"]
                ratio = scoring / embedding
                line = f"{name:20} {subject:10} {plants:7,} {embedding:12.2f} {scoring:10.2f} {ratio:8.2f}"
                print(line + ("" if ratio <= BOUND else "   above the bound"), flush=True)


if __name__ == "__main__":
    main()
