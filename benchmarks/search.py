"""The audit against FAISS IndexFlatIP and a bare matrix product: times, ratios, recall, and resident memory.

    python benchmarks/search.py                      # 1,000 generated x 20,000 real images, 2048 numbers each
    python benchmarks/search.py --sets 2 --rounds 9  # half of them used, half unknown: twice as many neighbors
    python benchmarks/search.py --memory 100000      # peak memory of whole audits, each in a process of its own

Everything is measured in turn in one run with the same number of threads, so that the ratios hold where the
machine's speed drifts; in brackets, processor seconds. Vectors are synthetic (clusters with cosines of about 0.6 to
0.95, with planted copies and near copies) and come in through the contracts of catalog and index, as an ingest would
bring them. FAISS comes with the extra ``bench``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provenance import Workspace

BATCH = 1000
COPIES = 20
SPREADS = (0.02, 0.1, 0.2, 0.3)
NEAR = (1e-2, 1e-3, 1e-4, 1e-6)


class Vectors:
    """Unit vectors in 200 clusters around one common direction; any part of them can be made by itself.

    The first ``COPIES`` of ``generated`` are exact copies of real vectors and the next ones near copies; likewise
    ``COPIES`` real vectors are exact copies of other real ones.
    """

    def __init__(self, dimension: int, seed: int = 0) -> None:
        self.dimension = dimension
        self.seed = seed
        random = np.random.default_rng(seed)
        self.common = random.standard_normal(dimension) / np.sqrt(dimension)
        self.centers = random.standard_normal((200, dimension)) / np.sqrt(dimension)

    def real(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        """The real vectors of these rows, ``(n, 1, dimension)``."""
        made = self._cloud(start, stop, salt=1)
        for row in range(max(start, COPIES), min(stop, 2 * COPIES)):
            made[row - start] = self._cloud(row - COPIES, row - COPIES + 1, salt=1)[0]
        return made[:, None]

    def generated(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        """The generated vectors of these rows, ``(n, 1, dimension)``."""
        made = self._cloud(start, stop, salt=2)
        for row in range(start, min(stop, 2 * COPIES)):
            original = self.real(50 + row % COPIES, 51 + row % COPIES)[0, 0]
            noise = np.random.default_rng((self.seed, 3, row)).standard_normal(self.dimension) / np.sqrt(self.dimension)
            made[row - start] = original if row < COPIES else _unit(original + NEAR[row % len(NEAR)] * noise)
        return made[:, None]

    def _cloud(self, start: int, stop: int, salt: int) -> np.ndarray[Any, Any]:
        made = np.empty((stop - start, self.dimension), dtype=np.float32)
        for row in range(start, stop):
            random = np.random.default_rng((self.seed, salt, row))
            cluster = int(random.integers(len(self.centers)))
            noise = random.standard_normal(self.dimension) / np.sqrt(self.dimension)
            share = SPREADS[cluster % len(SPREADS)]
            made[row - start] = _unit(
                np.sqrt(0.6) * self.common + np.sqrt(0.4 - share) * self.centers[cluster] + np.sqrt(share) * noise
            )
        return made


def _unit(vectors: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def fill(workspace: Workspace, vectors: Vectors, generated: int, real: int, sets: int) -> list[str]:
    """Puts a release ``synthetic`` and sets ``real-0`` ... into the workspace; gives the names of the sets."""
    from provenance.records import Generator
    from provenance.vocabulary import Membership, Space

    space = Space("synthetic", "0" * 64, {"seed": vectors.seed}, vectors.dimension)
    catalog = workspace.catalog
    catalog.ensure_space(space)
    release = catalog.create_release("synthetic", Generator("synthetic", "none", ""), "")
    _fill_dataset(workspace, release.dataset_id, space, "g", range(generated), vectors.generated)
    catalog.seal(release.dataset_id, None, "sha256:" + "0" * 64, generated)
    names = [f"real-{number}" for number in range(sets)]
    edges = [real * number // sets for number in range(sets + 1)]
    for name, first, last in zip(names, edges[:-1], edges[1:], strict=True):
        dataset = catalog.create_set(name, Membership.UNKNOWN, "")
        _fill_dataset(workspace, dataset.dataset_id, space, "r", range(first, last), vectors.real)
    return names


def _fill_dataset(
    workspace: Workspace,
    dataset_id: str,
    space: Any,
    kind: str,
    rows: range,
    make: Callable[[int, int], np.ndarray[Any, Any]],
) -> None:
    from provenance.index import CollectionSpec, Points, point_id, vector_digest
    from provenance.records import NewImage
    from provenance.vocabulary import ImageFacts, RunState

    catalog, index = workspace.catalog, workspace.index
    run = catalog.start_run("ingest", dataset_id, space.space_id, {}, "benchmark")
    key = catalog.ensure_collection(dataset_id, space.space_id)
    index.create(CollectionSpec(key, space.dimension))
    for start in range(rows.start, rows.stop, BATCH):
        stop = min(start + BATCH, rows.stop)
        vectors = make(start, stop)
        ids = ["sha256:" + hashlib.sha256(f"{kind}{row}".encode()).hexdigest() for row in range(start, stop)]
        points = [point_id(image_id, space.space_id) for image_id in ids]
        digests = [vector_digest(vector) for vector in vectors]
        images = [
            NewImage(ImageFacts(image_id, image_id, 1, 1, "PNG", "L", 1), (), None, point, digest)
            for image_id, point, digest in zip(ids, points, digests, strict=True)
        ]
        catalog.record_batch(dataset_id, key, run, images)
        index.upsert(key, Points(points, vectors, [{"image_key": point} for point in points]))
        catalog.acknowledge(key, points)
    index.flush(key)
    catalog.finish_run(run, RunState.FINISHED, {})


def audit(workspace: Workspace, names: list[str], subject: str = "generated") -> Any:
    from provenance.audit import AuditRequest, Policy, run_audit
    from provenance.vocabulary import Subject

    used, unknown = tuple(names[::2]), tuple(names[1::2])
    request = AuditRequest("synthetic", used=used, against=unknown, policy=Policy(subject=Subject(subject), top_k=10))
    return run_audit(workspace, request)


def clock(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds, seconds of processors (which others on the machine hardly change), and the result."""
    started, worked = time.perf_counter(), time.process_time()
    result = call()
    return time.perf_counter() - started, time.process_time() - worked, result


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    import faiss
    from threadpoolctl import threadpool_limits

    from provenance import Workspace
    from provenance.index import neighbors_in_file

    faiss.omp_set_num_threads(arguments.threads)
    threadpool_limits(arguments.threads, "blas")
    vectors = Vectors(arguments.dimension)
    queries, references = vectors.generated(0, arguments.generated), vectors.real(0, arguments.real)
    flat_queries, flat_references = queries[:, 0].copy(), references[:, 0].copy()
    index = faiss.IndexFlatIP(arguments.dimension)
    index.add(flat_references)
    with Workspace.create(folder / "workspace", threads=arguments.threads) as workspace:
        names = fill(workspace, vectors, arguments.generated, arguments.real, arguments.sets)
    with Workspace.open(folder / "workspace") as workspace:
        cold, _, first = clock(lambda: audit(workspace, names))
    calls: dict[str, Callable[[], Any]] = {
        "faiss": lambda: index.search(flat_queries, 10),
        "matmul": lambda: flat_queries @ flat_references.T,
        "search": lambda: neighbors_in_file(queries, references, 10, threads=arguments.threads),
        "audit": lambda: _warm_audit(folder, names),
    }
    for call in calls.values():
        call()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    results: dict[str, Any] = {}
    for number in range(arguments.rounds):
        for name, call in calls.items():
            seconds, worked, results[name] = clock(call)
            times[name].append((seconds, worked))
        line = "  ".join(f"{name} {values[-1][0]:.2f} s ({values[-1][1]:.2f})" for name, values in times.items())
        print(f"round {number + 1}: {line}  load {os.getloadavg()[0]:.2f}", flush=True)
        assert results["audit"].audit.verdict_digest == first.audit.verdict_digest
    print(f"\ncold audit (vector files made from the index): {cold:.2f} s")
    for name in ("matmul", "search", "audit"):
        pairs = list(zip(times["faiss"], times[name], strict=True))
        ratios = [base[0] / own[0] for base, own in pairs]
        work = statistics.median(base[1] / own[1] for base, own in pairs)
        best = min(base[0] for base, _ in pairs) / min(own[0] for _, own in pairs)
        print(
            f"{name}: {statistics.median(ratios):.2f} of FAISS's speed, median of {len(ratios)} "
            f"(min {min(ratios):.2f}, max {max(ratios):.2f}); by the best times {best:.2f}, "
            f"by processor seconds {work:.2f}"
        )
    check_recall(results["search"], results["faiss"], flat_queries, flat_references, arguments.sample)


def _warm_audit(folder: Path, names: list[str]) -> Any:
    """A whole audit by a workspace that has just been opened; its vector files are there."""
    from provenance import Workspace

    with Workspace.open(folder / "workspace") as workspace:
        return audit(workspace, names)


def check_recall(ours: Any, faiss_result: Any, queries: Any, references: Any, sample: int) -> None:
    """Ours against math.fsum over every pair of a sample, and FAISS's neighbors against ours for all."""
    from provenance.index import similarities

    chosen = np.linspace(0, len(queries) - 1, min(sample, len(queries))).astype(int)
    for query in chosen:
        exact = similarities(np.repeat(queries[query : query + 1], len(references), axis=0), references)
        best = np.lexsort((np.arange(len(references)), -exact))[:10]
        assert (ours[0][query] == best).all(), f"query {query}: other neighbors than the oracle's"
        assert (ours[1][query] == exact[best]).all(), f"query {query}: other similarities than the oracle's"
    print(f"recall: all 10 neighbors of {len(chosen)} queries equal the float64 oracle's, order and last bit included")
    rows, other = ours[0], faiss_result[1]
    order = int((rows != other).any(axis=1).sum())
    lost = [(query, sorted(set(rows[query]) - set(other[query]))) for query in range(len(rows))]
    lost = [(query, gone) for query, gone in lost if gone]
    top = int((rows[:, 0] != other[:, 0]).sum())
    print(f"FAISS: another order for {order} of {len(rows)} queries, another first for {top}, neighbors lost: {lost}")


def watch_memory(arguments: argparse.Namespace, folder: Path) -> None:
    """Peak resident memory of whole audits, each in a process of its own, for growing numbers of real images."""
    from provenance import Workspace

    for count in arguments.memory:
        place = folder / f"workspace-{count}"
        with Workspace.create(place, threads=arguments.threads) as workspace:
            fill(workspace, Vectors(arguments.dimension), arguments.generated, count, arguments.sets)
        for what, subject in _memory_cases():
            command = [sys.executable, __file__, "--child", str(place), subject, "--sets", str(arguments.sets)]
            answer = subprocess.run(command, check=True, capture_output=True, text=True)
            print(
                f"{count:,} real images, {arguments.generated:,} generated, {what}: {answer.stdout.strip()}", flush=True
            )


def _memory_cases() -> Iterator[tuple[str, str]]:
    yield "cold, generated images judged", "generated"
    yield "warm, generated images judged", "generated"
    yield "warm, real images judged", "real"


def child(place: str, subject: str, sets: int) -> None:
    from provenance import Workspace

    with Workspace.open(place) as workspace:
        seconds, _, report = clock(lambda: audit(workspace, [f"real-{number}" for number in range(sets)], subject))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{peak:.2f} GiB resident at most, {seconds:.1f} s, {len(report.verdicts):,} verdicts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generated", type=int, default=1000)
    parser.add_argument("--real", type=int, default=20_000)
    parser.add_argument("--dimension", type=int, default=2048)
    parser.add_argument("--sets", type=int, default=1, help="real images in so many sets: used, unknown, used ...")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sample", type=int, default=50, help="queries that are compared with the float64 oracle")
    parser.add_argument("--memory", type=int, nargs="*", help="numbers of real images, instead of the comparison")
    parser.add_argument("--child", nargs=2, metavar=("WORKSPACE", "SUBJECT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child, arguments.sets)
        return
    with tempfile.TemporaryDirectory() as folder:
        (watch_memory if arguments.memory else compare)(arguments, Path(folder))


if __name__ == "__main__":
    main()
