"""Make small images, ingest them, audit a release that holds copies, and look at the verdicts as a table.

    python examples/audit_a_release.py FOLDER

The images are computed, not anybody's. The release has 12 images; 4 are slightly darkened copies of images the
"generator" was trained on, and the table's first rows show them beside their sources.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from provenance import Workspace


def make_images(folder: Path) -> None:
    """Write ``real_used``, ``real_not_used`` and ``generated``: smooth grey pictures of 64 x 64 pixels."""
    for name, seeds in (("real_used", range(20)), ("real_not_used", range(100, 120)), ("generated", range(200, 208))):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for seed in seeds:
            picture(seed).save(folder / name / f"{name}_{seed:04d}.png")
    for seed in (2, 7, 11, 13):
        darker = picture(seed).point(lambda grey: grey * 0.9)
        darker.save(folder / "generated" / f"generated_copy_of_{seed:04d}.png")


def picture(seed: int) -> Image.Image:
    """A smooth random picture; the same seed gives the same one."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6), dtype=np.uint8)
    return Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)


def main() -> None:
    """Walk the whole way in one folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to write images and workspace")
    folder = parser.parse_args().folder
    make_images(folder)
    with Workspace.create(folder / "workspace", backbone="efficientnet-lite0") as ws:
        backbone = ws.load_backbone()  # loaded once for all three
        ws.ingest(folder / "real_used", set="used", membership="used", backbone=backbone)
        ws.ingest(folder / "real_not_used", set="not-used", membership="not-used", backbone=backbone)
        ws.ingest(folder / "generated", release="toy-v1", generator="toy", backbone=backbone)
        report = ws.audit("toy-v1", used="used", not_used="not-used", rule="mu-alpha-sigma")
        verdicts = ws.verdicts(report).sort_values("score", ascending=False)
        columns = ["name", "label", "s_used", "s_not_used", "nearest_name"]
        sys.stdout.write(f"T = {report.audit.threshold:.6f}\n{verdicts[columns].head(6).to_string(index=False)}\n")
        for note in report.notes:
            sys.stdout.write(f"note: {note}\n")
        ws.export(report, folder / "verdicts.csv", format="csv")
        sys.stdout.write(f"all verdicts: {folder / 'verdicts.csv'}\n")


if __name__ == "__main__":
    main()
