"""One worker process at a time: its messages and its end."""

import subprocess
import sys
from pathlib import Path

import pytest
import worker_functions as functions

from provenance.embedding.executor import Worker, describe, signal_name
from provenance.errors import EmbeddingError

ROOT = Path(__file__).resolve().parents[3]


def test_a_worker_that_ignores_the_signal_is_killed(monkeypatch):
    monkeypatch.setattr("provenance.embedding.executor._END_TIMEOUT_SECONDS", 0.2)
    worker = Worker(functions.wait_for_interrupts)
    assert worker.call("stubborn") == "stubborn"
    worker.end()
    worker.close()
    assert worker._process.returncode == -9


def test_a_call_after_the_end_is_an_error():
    worker = Worker(functions.double)
    assert worker.call(4) == 8
    worker.end()
    with pytest.raises(EmbeddingError, match="ended by SIGTERM while it prepared 5"):
        worker.call(5)
    worker.close()


def test_an_item_that_can_not_be_rebuilt_is_an_error_and_the_worker_goes_on():
    worker = Worker(functions.double)
    with pytest.raises(TypeError):
        worker.call(functions.OddError(1, 2))
    assert worker.call(4) == 8
    worker.end()
    worker.close()


def test_names():
    assert describe(functions.Refusal("a.png")) == "a.png"
    assert len(describe("x" * 1000)) == 200
    assert signal_name(9) == "SIGKILL"
    assert signal_name(1000) == "signal 1000"


SCRIPT = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import worker_functions as functions
from provenance.embedding import Processes
print("main ran", flush=True)
stream = Processes(2).prepared(range(10**6), functions.process_facts)
print(next(stream)[0], flush=True)
{end}
"""


def run_script(tmp_path, end):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), end=end))
    return subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
        check=False,
    )


def test_scripts_need_no_guard_and_may_just_end(tmp_path):
    done = run_script(tmp_path, "")
    assert done.returncode == 0
    assert done.stdout.count("main ran") == 1
    assert done.stderr == ""


def test_the_interrupt_key_is_answered_by_the_parent_alone(tmp_path):
    # A shell's background jobs inherit an ignored SIGINT: the script takes Python's own handler back first.
    done = run_script(
        tmp_path,
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n    os.killpg(0, signal.SIGINT); list(stream)\n"
        "except KeyboardInterrupt:\n    stream.close(); print('interrupted')",
    )
    assert done.returncode == 0
    assert done.stdout.endswith("interrupted\n")
    assert done.stderr == ""


def test_workers_end_with_a_parent_that_was_killed(tmp_path):
    # Returns only when every process that holds the pipes is gone.
    done = run_script(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    assert done.returncode == -9
