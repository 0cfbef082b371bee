"""Ingest against the bare forward pass: images/s of both, their ratio, and resident memory as a set grows.

    python benchmarks/ingest.py --images 160 --side 512 --format jpeg
    python benchmarks/ingest.py --memory 1000 10000

Bare means torchvision's resnet50 as it comes, without its classifier, on tensors that are in memory already, with
the same threads and batch size. Weights are seeded random numbers: speed does not depend on them. Both are measured
in turn in one run, so that the ratio holds where the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from provenance import IngestRequest, Workspace, run_ingest
from provenance.vocabulary import DatasetKind, Membership


def seeded_weights(path: Path) -> Path:
    import torch
    import torchvision

    torch.manual_seed(0)
    torch.save(torchvision.models.resnet50(weights=None).state_dict(), path)
    return path


def write_images(folder: Path, count: int, side: int, fmt: str, first: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 256, (side // 16, side // 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = np.clip(smooth + rng.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number:06d}.{fmt}", quality=90)
    return folder


def bare_images_per_second(batch_size: int, threads: int, count: int) -> float:
    import torch
    import torchvision

    torch.set_num_threads(threads)
    network = torchvision.models.resnet50(weights=None)
    network.fc = torch.nn.Identity()
    network.eval()
    batch = torch.randn(batch_size, 3, 224, 224)
    rounds = max(1, count // batch_size)
    with torch.inference_mode():
        network(batch)
        started = time.perf_counter()
        for _ in range(rounds):
            network(batch)
    return rounds * batch_size / (time.perf_counter() - started)


def ingest_images_per_second(workspace: Workspace, backbone: Any, source: Path, name: str) -> float:
    request = IngestRequest((source,), name, DatasetKind.SET, Membership.UNKNOWN)
    report = run_ingest(workspace, request, backbone)
    assert not report.rejections
    return report.counts["embedded"] / report.duration_seconds


def resident_mib() -> tuple[float, float]:
    """Memory of this process: its own, and mapped files (the index; the system takes these back when it needs to)."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own, mapped = (int(status[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))
    return own, mapped


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    weights = seeded_weights(folder / "weights.pth")
    write_images(folder / "warm", arguments.batch_size, arguments.side, arguments.format, first=900_000)
    ratios = []
    settings = {"weights": weights, "batch_size": arguments.batch_size, "threads": arguments.threads}
    with Workspace.create(folder / "workspace", workers=arguments.workers, **settings) as workspace:
        backbone = workspace.load_backbone()
        ingest_images_per_second(workspace, backbone, folder / "warm", "warm")
        for number in range(arguments.rounds):
            first = number * arguments.images
            source = write_images(folder / f"set-{number}", arguments.images, arguments.side, arguments.format, first)
            bare = bare_images_per_second(arguments.batch_size, arguments.threads, arguments.images)
            ours = ingest_images_per_second(workspace, backbone, source, f"set-{number}")
            ratios.append(ours / bare)
            print(f"round {number + 1}: bare {bare:.2f} images/s, ingest {ours:.2f} images/s, ratio {ours / bare:.3f}")
    print(f"ratio, median of {len(ratios)}: {statistics.median(ratios):.3f} (min {min(ratios):.3f})")


def watch_memory(arguments: argparse.Namespace, folder: Path) -> None:
    """Resident memory at the end of sets of growing size; a cheap backbone, so that 10,000 images take minutes."""
    with Workspace.create(folder / "workspace", backbone="efficientnet-lite0", workers=arguments.workers) as workspace:
        backbone = workspace.load_backbone()
        for count in arguments.memory:
            source = write_images(folder / f"memory-{count}", count, 64, "png", first=count * 10)
            speed = ingest_images_per_second(workspace, backbone, source, f"memory-{count}")
            own, mapped = resident_mib()
            memory = f"{own:.0f} MiB of its own, {mapped:.0f} MiB mapped"
            print(f"{count:,} images: {memory}, {speed:.1f} images/s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--format", choices=["jpeg", "png"], default="jpeg")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="*", help="numbers of images, instead of the comparison")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (watch_memory if arguments.memory else compare)(arguments, Path(folder))


if __name__ == "__main__":
    main()
