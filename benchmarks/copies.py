"""How well copies and pieces are found (`provenance/detection/copies`), and what the search costs.

On real data, with plants of known origin.

    python benchmarks/copies.py ../shared/data/brain-mri                  # plants, false copies
    python benchmarks/copies.py ../shared/data/chest-ct --parts generated-diffusion
    python benchmarks/copies.py ../shared/data/brain-mri --null-images 200   # never-used images as releases
    python benchmarks/copies.py --null 200                                # releases without copies
    python benchmarks/copies.py --speed 2000 --queries 128                # time and memory on made-up images

FOLDER has the ImageCLEF layout with real_unknown_truth.csv. Used: real_used and the used half of real_unknown.
Calibration: real_not_used. The never-used half of real_unknown is passed off as generated. Plants of one kind stand
among ``--release`` generated images, whose scores are those of a sample of ``--generated`` of them, repeated. A plant
whose pixels are those of a used image, mirrored or turned by right angles, is known by identity, as in an audit.
"""

from __future__ import annotations

import argparse
import csv
import io
import resource
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.ndimage import affine_transform, gaussian_filter
from threadpoolctl import threadpool_limits

from provenance.detection.copies.calibration import calibrated_copies
from provenance.detection.copies.judging import Strangers, judge_copies
from provenance.detection.copies.retrieval import sources_of
from provenance.detection.copies.search import search
from provenance.images import POSITIONS
from provenance.vocabulary import Established, Label

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from provenance.detection.copies.found import Found
    from provenance.detection.copies.judging import CopyVerdicts
    from provenance.detection.copies.retrieval import Sources
    from provenance.detection.copies.tail import Tail

    Images = NDArray[np.float32]

EDGE = 64


def load(folder: Path) -> tuple[Images, list[str]]:
    """Grey images at 64 x 64 and their names."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    images = [Image.open(path).convert("L").resize((EDGE, EDGE), Image.Resampling.BILINEAR) for path in files]
    return np.stack([np.asarray(image, np.float32) for image in images]), [path.stem for path in files]


def moved(image: Images, degrees: float = 0.0, down: float = 0.0, right: float = 0.0) -> Images:
    angle, centre = np.radians(degrees), np.full(2, (EDGE - 1) / 2)
    back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    found: Images = affine_transform(image, back, offset=centre - back @ (centre + np.array([down, right])), order=1)
    return found


def jpeg(image: Images, quality: int) -> Images:
    held = io.BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(held, "JPEG", quality=quality)
    return np.asarray(Image.open(held), np.float32)


def cropped(image: Images, share: float) -> Images:
    rim = share * EDGE / 2
    whole = Image.fromarray(image.astype(np.uint8))
    box = (rim, rim, EDGE - rim, EDGE - rim)
    return np.asarray(whole.resize((EDGE, EDGE), Image.Resampling.BILINEAR, box=box), np.float32)


def kinds(rng: np.random.Generator, generated: Images) -> dict[str, Callable[[Images], Images]]:
    """How a plant is made of a used image."""
    return {
        "exact": lambda x: x,
        "jpeg 90": lambda x: jpeg(x, 90),
        "jpeg 50": lambda x: jpeg(x, 50),
        "gamma 0.7": lambda x: 255 * (x / 255) ** 0.7,
        "gamma 1.4": lambda x: 255 * (x / 255) ** 1.4,
        "contrast 0.7": lambda x: 0.7 * (x - 128) + 118,
        "noise 10": lambda x: x + rng.normal(0, 10, x.shape),
        "blur 1": lambda x: gaussian_filter(x, 1),
        "flip": lambda x: x[:, ::-1],
        "rotation 6": lambda x: moved(x, 6),
        "crop 10 %": lambda x: cropped(x, 0.1),
        "shift 6 px": lambda x: moved(x, down=-6, right=6),
        "blend 0.7": lambda x: 0.7 * x + 0.3 * generated[rng.integers(len(generated))],
    }


def plants_report(folder: Path, given: argparse.Namespace) -> None:
    truth = {row["name"]: row["used"] == "1" for row in csv.DictReader((folder / "real_unknown_truth.csv").open())}
    (used, names), (known, _), (unknown, unknown_names) = (
        load(folder / name) for name in ("real_used", "real_not_used", "real_unknown")
    )
    mine = np.array([truth[name] for name in unknown_names])
    used = np.concatenate([used, unknown[mine]])
    names += [name for name, each in zip(unknown_names, mine, strict=True) if each]
    sources, rng = sources_of(used), np.random.default_rng(given.seed)
    release, _ = load(folder / "generated")

    def found(images: Images, left_out: list[list[int]] | None = None) -> tuple[Found, ...]:
        return search(images, sources, left_out=left_out, threads=given.threads)

    rows = np.sort(rng.permutation(len(used))[: given.impostors]).tolist()
    impostors = Strangers(found(used[rows], [[row] for row in rows]))
    never_used = Strangers(found(known[: given.calibration]))
    generated, passed_off = found(release[: given.generated]), found(unknown[~mine])
    repeated = [generated[row % len(generated)] for row in range(given.release)]

    def judged(subjects: Sequence[Found], calibrated: bool = True, made: Images | None = None) -> CopyVerdicts:
        plants = () if made is None else zip(subjects[-len(made) :], made, strict=True)
        same = [identical(image, used[each.matches[0].source]) for each, image in plants]
        return judge_copies(
            subjects,
            sources,
            impostors=impostors,
            never_used=never_used if calibrated else None,
            identical=[False] * (len(subjects) - len(same)) + same,
        )

    print(f"{folder.name}: {len(used)} used, {len(known)} calibration, {len(rows)} impostors, seed {given.seed}")
    for calibrated in (True, False):
        print("by never-used images" if calibrated else "by impostors alone")
        strangers_report(judged(repeated, calibrated), judged(passed_off, calibrated))
    columns = f"{'source':>7} {'copy':>6} {'conformal':>10} {'part':>6} {'verified':>9}"
    print(f"{'kind':14} {columns} {'evidence 5 %, 50 %':>18}")
    for kind, make in kinds(rng, release).items():
        if given.kinds and kind not in given.kinds:
            continue
        chosen = rng.permutation(len(used))[: given.plants]
        made = np.stack([np.round(np.clip(make(used[row]), 0, 255)) for row in chosen]).astype(np.float32)
        plants = [*repeated, *found(made)]
        plants_of_kind(kind, chosen.tolist(), [judged(plants, each, made) for each in (True, False)])
    if given.null_images:
        null_of_images(given.null_images, [*never_used.found, *passed_off], sources, impostors)
    if given.parts:
        parts_report(folder, given.parts, names, found, judged, passed_off, given.every)


def identical(image: Images, real: Images) -> bool:
    positions = (position.of(real) for position in POSITIONS)
    return any(np.abs(image - each).max() <= 1 for each in positions)


def null_of_images(splits: int, never_used: Sequence[Found], sources: Sources, impostors: Strangers) -> None:
    """How many splits of never-used images, two thirds to calibrate and one passed off as generated, have a copy."""
    by: Counter[str] = Counter()
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(never_used)).tolist()
        cut = 2 * len(order) // 3
        known = Strangers([never_used[row] for row in order[:cut]])
        judged = judge_copies([never_used[row] for row in order[cut:]], sources, impostors=impostors, never_used=known)
        rows = zip(judged.labels, judged.by, strict=True)
        by.update({f"{label} by {how}" for label, how in rows if how})
        by["the tail refused"] += bool(judged.whole_family.model.refused)
    print(f"of {splits} splits of {len(never_used)} never-used images: {dict(by) or 'none with a copy'}", flush=True)


def strangers_report(generated: CopyVerdicts, passed_off: CopyVerdicts) -> None:
    for name, family in (("wholes", generated.whole_family), ("pieces", generated.part_family)):
        twins = f"{family.twins_by_whole} and {family.twins_by_score} near-twins as wholes and by score"
        model = family.model
        print(
            f"  {name}: {family.groups} groups, without {twins}; {model.refused or 'the tail fits'}, {shape_of(model)}"
        )
    matches = generated.false_matches
    rate = f"{matches.rate.value:.4f}, at most {matches.rate.upper:.4f} of {matches.rate.groups}"
    print(f"  false matches from {matches.threshold:.2f} on: {rate}; {matches.twins} near-twins left out")
    print(f"  generated, {len(generated.labels)}: {labels_of(generated)}; highest {max(highest(generated)):.2f}")
    print(f"  never-used passed off, {len(passed_off.labels)}: {labels_of(passed_off)}")


def shape_of(model: Tail) -> str:
    return f"{len(model.excesses)} excesses, shape {model.shape:+.2f}, fit p {model.fit_p:.2f}"


def labels_of(judged: CopyVerdicts) -> str:
    counts = Counter(f"{label}{f' ({by})' if by else ''}" for label, by in zip(judged.labels, judged.by, strict=True))
    return ", ".join(f"{count} {label}" for label, count in sorted(counts.items()))


def highest(judged: CopyVerdicts) -> list[float]:
    return [each.evidence for each in judged.found]


def plants_of_kind(kind: str, rows: list[int], judged: list[CopyVerdicts]) -> None:
    calibrated, verified = judged
    count = len(rows)
    labels, by = calibrated.labels[-count:], calibrated.by[-count:]
    found = calibrated.found[-count:]
    right = np.mean([each.matches[0].source == row for each, row in zip(found, rows, strict=True)])
    copy, part = (np.mean([label == each for label in labels]) for each in (Label.COPY, Label.PART_COPY))
    conformal = np.mean([each == Established.CONFORMAL for each in by])
    alone = np.mean([label == Label.COPY for label in verified.labels[-count:]])
    low, middle = np.quantile([each.evidence for each in found], [0.05, 0.5])
    shares = f"{right:7.3f} {copy:6.2f} {conformal:10.2f} {part:6.2f} {alone:9.2f}"
    print(f"{kind:14} {shares} {low:12.2f} {middle:5.2f}", flush=True)


def parts_report(
    folder: Path,
    name: str,
    names: list[str],
    found: Callable[[Images], tuple[Found, ...]],
    judged: Callable[[Sequence[Found]], CopyVerdicts],
    passed_off: Sequence[Found],
    every: int,
) -> None:
    """Are the sources of an image's pieces named, the largest first?"""
    shares: dict[str, dict[str, float]] = defaultdict(dict)
    for row in csv.DictReader((folder / f"{name}.parts.csv").open()):
        shares[row["name"]][row["source"]] = float(row["share"])
    images, image_names = load(folder / name)
    rows = list(range(1, len(images), every))
    results = found(images[rows])
    large = [
        (each, of)
        for each, row in zip(results, rows, strict=True)
        if (of := shares[image_names[row]]) and max(of.values()) >= 0.25
    ]
    named = [names[each.pieces[0].source] if each.pieces else "" for each, _ in large]
    first = np.mean([source == max(of, key=of.__getitem__) for source, (_, of) in zip(named, large, strict=True)])
    true = np.mean([source in of for source, (_, of) in zip(named, large, strict=True)])
    print(
        f"{len(large)} images with a source on 25 % or more: the largest named first {first:.3f}, a true one {true:.3f}"
    )
    verdicts = judged(results)
    print(f"of the release: {labels_of(verdicts)}")
    largest = [max(shares[image_names[row]].values(), default=0.0) for row in rows]
    for label in sorted(set(verdicts.labels)):
        true_shares = [share for share, each in zip(largest, verdicts.labels, strict=True) if each == label]
        print(f"  {label}: median of the largest true share {np.median(true_shares):.2f}")
    print(f"of never-used passed off: {labels_of(judged(passed_off))}")


def null_report(releases: int, subjects: int, groups: int) -> None:
    """How many simulated releases without copies have one, by the shape of what strangers score."""
    shapes: dict[str, Callable[[np.random.Generator, int], NDArray[np.float64]]] = {
        "beta agreement": lambda rng, n: np.arctanh(rng.beta(30, 12, n)),
        "normal": lambda rng, n: rng.normal(size=n),
        "highest of 6 normals": lambda rng, n: rng.normal(size=(n, 6)).max(axis=1),
        "logistic": lambda rng, n: rng.logistic(size=n),
        "exponential": lambda rng, n: rng.exponential(size=n),
        "lognormal": lambda rng, n: rng.lognormal(sigma=0.75, size=n),
        "Student's t, 4": lambda rng, n: rng.standard_t(4, size=n),
        "mixture, 1 in 10 thrice as wide": lambda rng, n: rng.normal(size=n) * np.where(rng.random(n) < 0.1, 3, 1),
    }
    for name, draw in shapes.items():
        conformal = tail = refused = 0
        for seed in range(releases):
            rng = np.random.default_rng(seed)
            judged = calibrated_copies(draw(rng, subjects), draw(rng, groups))
            conformal += int((judged.conformal_q <= 0.05).any())
            refused += bool(judged.model.refused)
            tail += int((judged.tail_q <= 0.05).any())
        print(
            f"{name:32} copies by conformal {conformal}, by the tail {tail} of {releases}; refused {refused}",
            flush=True,
        )


def speed_report(reals: int, queries: int, threads: int) -> None:
    rng = np.random.default_rng(0)
    made = gaussian_filter(rng.normal(size=(reals + queries, EDGE, EDGE)), (0, 1.5, 1.5)).astype(np.float32) * 200 + 100
    started = time.perf_counter()
    sources = sources_of(made[:reals])
    ready, held = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started, cpu = time.perf_counter(), time.process_time()
    search(made[reals:], sources, threads=threads)
    wall, used = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{reals} reals made ready in {ready:.1f} s; {queries} queries in {wall:.1f} s on {threads} threads")
    each, of_processor = 1000 * wall / queries, 1000 * used / queries
    print(f"{each:.1f} ms a query ({of_processor:.1f} ms of processor); {held:.0f} -> {peak:.0f} MB")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--plants", type=int, default=40)
    parser.add_argument("--release", type=int, default=960)
    parser.add_argument("--generated", type=int, default=960)
    parser.add_argument("--calibration", type=int, default=300)
    parser.add_argument("--impostors", type=int, default=300)
    parser.add_argument("--parts", default="", help="a release with a .parts.csv")
    parser.add_argument("--every", type=int, default=1, help="take every nth image of it")
    parser.add_argument("--kinds", nargs="*", help="of plants; all of them without")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--speed", type=int, default=0, help="so many reals, made up")
    parser.add_argument("--queries", type=int, default=128)
    parser.add_argument("--null-images", type=int, default=0, help="so many splits of never-used images")
    parser.add_argument("--null", type=int, default=0, help="so many simulated releases without copies")
    given = parser.parse_args()
    with threadpool_limits(1):
        if given.speed:
            speed_report(given.speed, given.queries, given.threads)
        if given.null:
            null_report(given.null, 1000, 200)
        if given.folder:
            plants_report(given.folder, given)


if __name__ == "__main__":
    main()
