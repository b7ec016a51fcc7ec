"""A child process: ready, restarted, given up, ended with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from embedded_help import is_running, wait_until

from deploy.embedded import child as child_module
from deploy.embedded.child import Child, ChildSpec
from pearlstream.errors import EXIT_CONFIG, ServiceError


def python(tmp_path: Path, code: str, **options) -> ChildSpec:
    options.setdefault("stop_timeout_s", 2.0)
    argv = [sys.executable, "-c", textwrap.dedent(code)]
    return ChildSpec(name="worker", argv=argv, log_file=tmp_path / "logs" / "worker.log", **options)


SLEEP = "import time; time.sleep(60)"


def test_a_child_is_ready_when_its_condition_holds_and_ends_when_told(tmp_path: Path):
    mark = tmp_path / "ready"
    child = Child(python(tmp_path, f"open({str(mark)!r}, 'w').close(); {SLEEP}", ready=mark.exists))
    child.start()
    try:
        assert mark.exists()
        assert child.alive
        assert child.pid is not None
    finally:
        child.stop()
    assert not child.alive
    assert child.exit_code == -signal.SIGTERM
    assert child.restarts == 0


def test_what_a_child_says_is_in_its_log_file(tmp_path: Path):
    spec = python(tmp_path, f"import sys; print('out'); print('err', file=sys.stderr, flush=True); {SLEEP}")
    child = Child(spec)
    child.start()
    wait_until(lambda: "err" in child.log_tail())
    child.stop()
    assert "out" in spec.log_file.read_text()


def test_a_child_gets_the_environment_it_is_given(tmp_path: Path):
    spec = python(tmp_path, "import os; print(os.environ['SAID'])", env={"SAID": "hello"}, ready=lambda: False)
    with pytest.raises(ServiceError, match="hello"):
        Child(spec).start()


def test_a_child_that_ends_at_once_is_an_error_with_its_last_words(tmp_path: Path):
    child = Child(python(tmp_path, "raise SystemExit('the port is taken')", ready=lambda: False))
    with pytest.raises(ServiceError) as caught:
        child.start()
    assert "worker ended at once with exit code 1" in caught.value.message
    assert "the port is taken" in caught.value.message
    assert "worker.log" in caught.value.remedy


def test_the_last_words_are_those_of_the_last_life(tmp_path: Path):
    child = Child(python(tmp_path, "raise SystemExit('said once')", ready=lambda: False))
    for _ in range(2):
        with pytest.raises(ServiceError) as caught:
            child.start()
    assert caught.value.message.count("said once") == 1


def test_a_child_that_is_not_ready_in_time_is_ended(tmp_path: Path):
    child = Child(python(tmp_path, SLEEP, ready=lambda: False, ready_timeout_s=0.3))
    with pytest.raises(ServiceError, match="not ready within"):
        child.start()
    assert not child.alive


def test_a_child_that_does_not_listen_is_killed_with_what_it_started(tmp_path: Path):
    mark = tmp_path / "pid"
    code = f"""
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
        with open({str(mark) + ".new"!r}, 'w') as file: file.write(str(grandchild.pid))
        import os; os.rename({str(mark) + ".new"!r}, {str(mark)!r})
        time.sleep(60)
    """
    child = Child(python(tmp_path, code, ready=mark.exists, stop_timeout_s=0.2))
    child.start()
    child.stop()
    assert child.exit_code == -signal.SIGKILL
    wait_until(lambda: not is_running(int(mark.read_text())))


def test_a_dead_child_is_started_again_and_the_owner_is_told(tmp_path: Path):
    told: list[str] = []
    back = threading.Event()

    def after() -> None:
        told.append("after")
        back.set()

    child = Child(python(tmp_path, SLEEP), before_restart=lambda: told.append("before"), after_restart=after)
    child.start()
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert back.wait(30)
    try:
        assert told == ["before", "after"]
        assert child.alive
        assert child.pid != first
        assert child.restarts == 1
    finally:
        child.stop()


def test_a_child_that_keeps_dying_is_given_up(tmp_path: Path):
    given_up: list[ServiceError] = []
    spec = python(tmp_path, "import time; time.sleep(0.05); raise SystemExit(3)", max_restarts=2, backoff_s=0.01)
    child = Child(spec, given_up=given_up.append)
    child.start()
    wait_until(lambda: given_up)
    assert "died 3 times" in given_up[0].message
    assert child.failure is given_up[0]
    assert child.restarts == 2
    child.stop()


def test_a_child_that_refuses_its_configuration_is_not_started_again(tmp_path: Path):
    given_up: list[ServiceError] = []
    child = Child(python(tmp_path, f"raise SystemExit({EXIT_CONFIG})"), given_up=given_up.append)
    child.start()
    wait_until(lambda: given_up)
    assert child.restarts == 0
    child.stop()


def test_stopping_during_the_pause_before_a_restart_starts_nothing(tmp_path: Path):
    paused = threading.Event()
    child = Child(python(tmp_path, SLEEP, backoff_s=30.0, backoff_limit_s=30.0), before_restart=paused.set)
    child.start()
    os.kill(child.pid or 0, signal.SIGKILL)
    assert paused.wait(30)
    child.stop()
    assert not child.alive
    assert child.restarts == 0


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path):
    child = Child(python(tmp_path, SLEEP))
    thread = threading.Thread(target=child.start)
    thread.start()
    thread.join()
    started = child.pid
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            child._process.wait(0.3)
        assert child.pid == started
    finally:
        child.stop()


@pytest.mark.parametrize("manner", [pytest.param(None, id="as-here"), pytest.param("hold", id="as-elsewhere")])
def test_children_end_when_their_parent_is_killed(tmp_path: Path, manner: str | None):
    mark = tmp_path / "pid"
    parent = f"""
        import os, sys, time
        from pathlib import Path
        from deploy.embedded import child as child_module
        if {manner!r}: child_module._MANNER = {manner!r}
        code = "import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
        child = child_module.Child(child_module.ChildSpec(
            "worker", [sys.executable, "-c", code], Path({str(tmp_path)!r}) / "worker.log",
            ready=lambda: Path({str(mark)!r}).exists() and Path({str(mark)!r}).read_text()))
        child.start()
        print("ready", flush=True)
        time.sleep(60)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(parent)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    pid = int(mark.read_text())
    assert is_running(pid)
    process.kill()
    process.wait()
    process.stdout.close()
    wait_until(lambda: not is_running(pid))


def test_holding_passes_the_request_to_end_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(child_module, "_MANNER", "hold")
    mark = tmp_path / "ready"
    code = f"""
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
        open({str(mark)!r}, 'w')
        time.sleep(60)
    """
    child = Child(python(tmp_path, code, ready=mark.exists))
    child.start()
    child.stop()
    assert child.exit_code == 5
