"""Order, bounded look-ahead, dying workers, early closing; vectors whatever the number of workers."""

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import worker_functions as functions

from provenance.embedding import Processes, load_backbone
from provenance.errors import EmbeddingError, SourceError
from provenance.limits import Limits
from provenance.vocabulary import RejectReason


def prepared_stream(items, function, *, workers, **more):
    return Processes(workers).prepared(items, function, **more)


def embed_stream(stream, backbone, *, wanted):
    def pixels_of(each):
        return each.pixels if isinstance(each, functions.Picture) and wanted(each) else None

    return Processes(0).embedded(stream, backbone, pixels_of)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_the_order_of_the_items(workers):
    assert list(prepared_stream(range(200), functions.double, workers=workers)) == list(range(0, 400, 2))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_empty_stream(workers):
    assert list(prepared_stream([], functions.double, workers=workers)) == []


def test_items_are_read_only_so_far_ahead():
    taken = []
    stream = prepared_stream((taken.append(n) or n for n in range(100)), functions.double, workers=2, look_ahead=8)
    assert [next(stream) for _ in range(3)] == [0, 2, 4]
    assert len(taken) == 10
    stream.close()
    assert len(taken) == 10


def test_workers_are_children_that_import_no_model_library_and_give_way():
    facts = list(prepared_stream(range(6), functions.process_facts, workers=2))
    assert {parent for _, parent, _, _ in facts} == {os.getpid()}
    assert os.getpid() not in {pid for pid, _, _, _ in facts}
    assert all(niceness > os.nice(0) for _, _, niceness, _ in facts)
    assert all(heavy == [] for _, _, _, heavy in facts)
    assert not any(is_alive(pid) for pid, _, _, _ in facts)


def test_what_workers_print_does_not_get_between_the_results(capfd):
    assert list(prepared_stream(range(5), functions.print_and_return, workers=1)) == list(range(5))
    assert "printed in a worker" in capfd.readouterr().err


def test_a_killed_worker_names_its_item():
    items = [functions.Refusal(name) for name in ("a.png", "b.png", "deadly.png", "c.png")]
    with pytest.raises(EmbeddingError, match=r"ended by SIGKILL while it prepared deadly\.png") as caught:
        list(prepared_stream(items, functions.kill_oneself_at, workers=2))
    assert "take it out" in caught.value.hint
    assert caught.value.exit_code == 4


def test_results_before_a_dead_worker_are_given_out():
    got: list[object] = []
    with pytest.raises(EmbeddingError, match="ended with code 3 while it prepared 'deadly'"):
        got.extend(each for each in prepared_stream(["a", "b", "deadly", "c"], functions.leave_at, workers=1))
    stream = prepared_stream(["a", "b", "deadly", "c"], functions.leave_at, workers=1, look_ahead=1)
    assert [next(stream), next(stream)] == ["a", "b"]
    with pytest.raises(EmbeddingError):
        next(stream)


def test_a_worker_killed_from_outside():
    stream = prepared_stream(range(1000), functions.process_facts, workers=1, look_ahead=1)
    pid = next(stream)[0]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(EmbeddingError, match="ended by SIGKILL"):
        list(stream)


def rejected(item, reason, cause):
    return f"{item} | {reason} | {cause}"


def test_an_item_that_ends_its_worker_is_answered_for_and_the_stream_goes_on():
    items = ["a", "deadly", "b", "deadly", "deadly", *map(str, range(20)), "deadly"]
    stream = Processes(2).prepared(items, functions.leave_at, failed=rejected)
    told = "deadly | broken | the process that read it ended with code 3"
    assert list(stream) == [told if item == "deadly" else item for item in items]


def test_a_worker_killed_from_outside_is_replaced():
    stream = Processes(1).prepared(range(30), functions.process_facts, failed=rejected, look_ahead=1)
    pid = next(stream)[0]
    os.kill(pid, signal.SIGKILL)
    first, *rest = stream
    assert (
        first == "1 | oversized | the process that read it was ended by SIGKILL: as the system does where memory "
        "runs short"
    )
    assert len(rest) == 28
    assert {facts[0] for facts in rest} != {pid}
    assert len({facts[0] for facts in rest}) == 1


def test_an_item_has_so_much_memory_and_time_and_the_next_one_has_as_much():
    stream = Processes(1, Limits(memory_bytes=600 * 2**20, seconds=1)).prepared(
        ["memory", "a", "time", "b"], functions.use_up, failed=rejected
    )
    late = "it took more computing time than a worker has"
    assert list(stream) == [
        "memory | oversized | it does not fit into the memory of a worker",
        "a",
        f"time | oversized | the process that read it was ended by SIGXCPU: {late}",
        "b",
    ]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not say what a process holds")
def test_a_worker_that_lost_memory_is_replaced_between_items():
    items = ["a", "leak", "b", "c"]
    stream = Processes(1, Limits(memory_bytes=2**30)).prepared(items, functions.lose, failed=rejected)
    first, leaking, third, fourth = stream
    assert first == leaking != third == fourth


@pytest.mark.parametrize("workers", [1, 3])
def test_what_items_give_one_after_another_is_not_made_far_ahead(workers, tmp_path):
    items = [str(tmp_path / str(number)) for number in range(20)]
    stream = Processes(workers).streamed(items, functions.many_of, failed=lambda *told: told)
    assert next(stream) == 0
    time.sleep(1)
    assert len(list(tmp_path.iterdir())) == workers  # each waits to hand over more
    assert list(stream) == [*range(1, 200), *(19 * list(range(200)))]


def test_a_stream_that_is_left_ends_its_workers():
    stream = Processes(2).streamed(range(0, 40, 2), functions.fail_behind, failed=lambda *told: told)
    assert next(stream) == 0
    started = time.monotonic()
    stream.close()
    assert time.monotonic() - started < 5


def test_what_came_before_the_end_of_a_worker_stays_and_what_is_raised_comes_behind_it():
    def failed(item, reason, _detail):
        return item, reason

    stream = Processes(2).streamed([2, -1, 4], functions.fail_behind, failed=failed)
    assert list(stream) == [2, 2, -1, -1, (-1, RejectReason.OVERSIZED), 4, 4]
    whole = Processes(2).streamed(
        [2, -1, 4], functions.fail_behind, failed=failed, is_last=lambda *both: both[0] == both[1]
    )
    assert list(whole) == [2, 2, -1, -1, 4, 4]  # behind the last of its item a worker takes nothing along
    stream = Processes(2).streamed([2, 3, 4], functions.fail_behind, failed=failed)
    assert [next(stream) for _ in range(4)] == [2, 2, 3, 3]
    with pytest.raises(ValueError, match="3"):
        next(stream)
    assert list(Processes(0).streamed([2, 4], functions.fail_behind, failed=failed)) == [2, 2, 4, 4]


def test_a_worker_that_can_not_start_ends_the_stream(monkeypatch):
    monkeypatch.setattr("provenance.embedding.executor._BOOTSTRAP", "raise SystemExit(7)")
    with pytest.raises(EmbeddingError, match="ended as it started, with code 7"):
        list(Processes(2).prepared(["a", "b"], functions.leave_at, failed=rejected))


@pytest.mark.parametrize("workers", [0, 1])
def test_what_the_function_raises_comes_through(workers):
    with pytest.raises(ValueError, match="a defect"):
        list(prepared_stream(["value"], functions.fail_at, workers=workers))
    with pytest.raises(SourceError, match="gone") as caught:
        list(prepared_stream(["source"], functions.fail_at, workers=workers))
    assert caught.value.hint == "look again"


def test_an_error_from_a_worker_says_where():
    with pytest.raises(ValueError, match="a defect") as caught:
        list(prepared_stream(["value"], functions.fail_at, workers=1))
    assert "in a worker process, on 'value'" in caught.value.__notes__[0]
    with pytest.raises(EmbeddingError, match="preparing 'odd' failed: OddError"):
        list(prepared_stream(["odd"], functions.fail_at, workers=1))


def test_a_function_of_a_script_is_refused_in_words(monkeypatch):
    import __main__

    def local(item):
        return item

    local.__module__, local.__qualname__ = "__main__", "local"
    monkeypatch.setattr(__main__, "local", local, raising=False)
    with pytest.raises(EmbeddingError, match="can't import the function") as caught:
        list(prepared_stream([1], local, workers=1))
    assert "workers=0" in caught.value.hint


def test_an_error_of_the_source_ends_the_workers():
    pids = []

    def items():
        yield 1
        raise SourceError("the source broke")

    stream = prepared_stream(items(), functions.process_facts, workers=1, look_ahead=1)
    pids.append(next(stream)[0])
    with pytest.raises(SourceError, match="the source broke"):
        next(stream)
    assert not is_alive(pids[0])


def test_closing_early_ends_workers_and_threads():
    before = threading.active_count()
    stream = prepared_stream(range(10_000), functions.process_facts, workers=2)
    pid = next(stream)[0]
    stream.close()
    assert not is_alive(pid)
    assert threading.active_count() == before


@pytest.fixture(scope="module")
def backbone(seeded_weights):
    return load_backbone("resnet18", weights=seeded_weights("resnet18"), device="cpu", batch_size=4, threads=2)


def vectors_by_name(seeds, backbone, workers, wanted=lambda _: True):
    stream = embed_stream(prepared_stream(seeds, functions.picture_of, workers=workers), backbone, wanted=wanted)
    batches = list(stream)
    return {each.name: vector for batch in batches for each, vector in batch}, batches


@pytest.mark.slow
def test_vectors_do_not_depend_on_workers_order_or_company(backbone):
    first, _ = vectors_by_name(range(14), backbone, 0)
    for seeds, workers in ((range(14), 1), (range(14), 3), (reversed(range(14)), 2), ([3, 12, 0], 0)):
        again, _ = vectors_by_name(seeds, backbone, workers)
        for name, vector in again.items():
            if vector is None:
                assert first[name] is None
            else:
                assert vector.shape == (1, 512)
                assert vector.tobytes() == first[name].tobytes()


@pytest.mark.slow
def test_everything_comes_out_once_in_order_with_full_batches(backbone):
    vectors, batches = vectors_by_name(range(23), backbone, 0, wanted=lambda each: each.name != "6")
    names = [each.name for batch in batches for each, _ in batch]
    assert names == [str(n) for n in range(23)]
    assert {name for name, vector in vectors.items() if vector is None} == {"2", "5", "6", "8", "11", "14", "17", "20"}
    sizes = [sum(vector is not None for _, vector in batch) for batch in batches]
    assert sizes == [4, 4, 4, 3]


class Counting:
    """A backbone that counts, and fails where it is told."""

    batch_size = 4

    def __init__(self, fail_at=None):
        self.calls = 0
        self.threads = set()
        self.fail_at = fail_at

    def embed(self, pixels):
        self.calls += 1
        self.threads.add(threading.get_ident())
        if self.calls == self.fail_at:
            raise EmbeddingError("out of memory")
        return pixels.reshape(len(pixels), -1)[:, :3].astype(np.float32)[:, None]


def pictures(count):
    return (functions.Picture(str(n), np.full((2, 2, 3), n % 256, np.uint8)) for n in range(count))


def test_inference_runs_in_one_other_thread_and_bounded_ahead():
    taken, counting = [], Counting()
    stream = embed_stream((taken.append(each) or each for each in pictures(100)), counting, wanted=lambda _: True)
    next(stream)
    assert len(taken) <= 4 * 3
    assert sum(len(batch) for batch in stream) == 96
    assert len(counting.threads) == 1
    assert threading.get_ident() not in counting.threads


def test_a_long_run_of_known_images_is_passed_on_in_pieces():
    counting = Counting()
    batches = list(embed_stream(pictures(5000), counting, wanted=lambda _: False))
    assert counting.calls == 0
    assert max(map(len, batches)) <= 1024
    assert sum(map(len, batches)) == 5000


def test_wanted_is_asked_once_an_image_in_order():
    asked = []
    things = [*pictures(3), functions.Refusal("r"), *pictures(2)]
    list(embed_stream(things, Counting(), wanted=lambda each: asked.append(each.name) or True))
    assert asked == ["0", "1", "2", "0", "1"]


def test_a_failing_backbone_ends_everything():
    before = threading.active_count()
    closed = []

    def source():
        try:
            yield from pictures(100)
        finally:
            closed.append(True)

    with pytest.raises(EmbeddingError, match="out of memory"):
        list(embed_stream(source(), Counting(fail_at=3), wanted=lambda _: True))
    assert closed == [True]
    assert threading.active_count() == before


def test_closing_the_outer_stream_ends_the_workers():
    facts = prepared_stream(range(10_000), partial(functions.picture_of), workers=1)
    stream = embed_stream(facts, Counting(), wanted=lambda _: True)
    next(stream)
    before = threading.active_count()
    stream.close()
    assert threading.active_count() < before
    with pytest.raises(StopIteration):
        next(facts)
