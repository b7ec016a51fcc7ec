"""One supervised child process: started, waited for, watched, started again, ended."""

from __future__ import annotations

import http.client
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from pearlstream.errors import EXIT_CONFIG, EXIT_USAGE, ServiceError

log = logging.getLogger("pearlstream.embedded")

_SPAWN = Path(__file__).with_name("spawn.py")
_MANNER = "become" if sys.platform == "linux" else "hold"
_LOG_LIMIT_BYTES = 16 * 1024 * 1024
_TAIL_BYTES = 2000
_POLL_S = 0.02
_HOPELESS = frozenset({EXIT_USAGE, EXIT_CONFIG})
"""Exit codes after which starting again cannot help."""


@dataclass(frozen=True)
class ChildSpec:
    """What to run and how to know that it runs.

    `ready` is asked until it is true: a callable without arguments, or the URL of a page that answers 200;
    None means ready as soon as started. An exception from the callable counts as "not yet". Times are
    seconds. `env` is added to ours. More than `max_restarts` deaths within `restart_window_s` and it is
    given up. `ends`: exit code 0 is an end that was to come, not a death.
    """

    name: str
    argv: Sequence[str]
    log_file: Path
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    ready: Callable[[], bool] | str | None = None
    ready_timeout_s: float = 30.0
    stop_timeout_s: float = 10.0
    max_restarts: int = 5
    restart_window_s: float = 300.0
    backoff_s: float = 0.2
    backoff_limit_s: float = 10.0
    remedy: str = ""
    ends: bool = False


class Child:
    """A process that runs from `start` to `stop`, and is started again if it dies in between.

    `before_restart` is called when it has died, `after_restart` when it is ready again, `given_up` with
    the reason when it will not be started again; all three on a thread of ours. An exception from the
    first two gives the child up. No method but `stop` may be called from within them.
    """

    def __init__(
        self,
        spec: ChildSpec,
        *,
        before_restart: Callable[[], None] | None = None,
        after_restart: Callable[[], None] | None = None,
        given_up: Callable[[ServiceError], None] | None = None,
    ) -> None:
        self.spec = spec
        self.before_restart = before_restart
        self.after_restart = after_restart
        self.given_up = given_up
        self.restarts = 0
        self.failure: ServiceError | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._watcher: threading.Thread | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()

    @property
    def alive(self) -> bool:
        """Whether the process runs at this moment (ready or not)."""
        process = self._process
        return process is not None and process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id of the present life, None when it does not run."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """How the last life ended (negative: by that signal); None while it runs or before it ran."""
        return self._process.poll() if self._process is not None else None

    def rss_bytes(self) -> int | None:
        """Memory that the process holds, in bytes; None where the system does not tell."""
        pid = self.pid
        if pid is None:
            return None
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            return None
        return pages * os.sysconf("SC_PAGE_SIZE")

    def start(self) -> None:
        """Run it and wait until it is ready.

        Raises ServiceError, with the last lines of its log, if it ends or is not ready in time; then
        nothing of it is left running.
        """
        self._stopping.clear()
        self.failure = None
        self._launch()
        self._watcher = threading.Thread(target=self._watch, name=f"watch-{self.spec.name}", daemon=True)
        self._watcher.start()

    def kill(self) -> None:
        """End it for good without asking it first."""
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            _kill_group(process)
        self.stop()

    def stop(self) -> None:
        """End it for good: asked first, killed after `stop_timeout_s`. Does nothing if it does not run."""
        self._stopping.set()
        self._end()
        watcher = self._watcher
        if watcher is not None and watcher is not threading.current_thread():
            watcher.join(self.spec.stop_timeout_s + self.spec.ready_timeout_s)

    def log_tail(self) -> str:
        """The last lines that it has written in its present or last life."""
        try:
            with self.spec.log_file.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(self._log_start, file.tell() - _TAIL_BYTES))
                return file.read().decode("utf-8", "replace").strip()
        except OSError:
            return ""

    # ---- one life ---------------------------------------------------------

    def _launch(self) -> None:
        with self._lock:
            if self._stopping.is_set():
                return
            self._process = self._spawn()
        try:
            self._await_ready(self._process)
        except ServiceError:
            self._end()
            raise

    def _spawn(self) -> subprocess.Popen[bytes]:
        spec = self.spec
        spec.log_file.parent.mkdir(parents=True, exist_ok=True)
        if spec.log_file.exists() and spec.log_file.stat().st_size > _LOG_LIMIT_BYTES:
            spec.log_file.replace(spec.log_file.with_suffix(".log.1"))
        argv = [sys.executable, "-I", "-S", str(_SPAWN), _MANNER, str(os.getpid()), *spec.argv]
        with spec.log_file.open("ab") as output:
            output.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {spec.name}\n".encode())
            output.flush()
            self._log_start = output.tell()
            return _spawner().run(
                lambda: subprocess.Popen(
                    argv,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **spec.env},
                    # Ctrl-C is for us alone: we end them, in order.
                    start_new_session=True,
                )
            )

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        spec = self.spec
        deadline = time.monotonic() + spec.ready_timeout_s
        while not self._stopping.is_set():
            if process.poll() is not None:
                raise self._error(f"{spec.name} ended at once with {_ending(process.returncode)}")
            if self._is_ready():
                return
            if time.monotonic() > deadline:
                raise self._error(f"{spec.name} was not ready within {spec.ready_timeout_s:g} s")
            time.sleep(_POLL_S)

    def _is_ready(self) -> bool:
        ready = self.spec.ready
        if ready is None:
            return True
        try:
            return page_answers(ready) if isinstance(ready, str) else ready()
        except Exception as error:  # whatever a client library raises: it is not ready yet
            log.debug("%s is not ready: %s", self.spec.name, error)
            return False

    def _end(self) -> None:
        with self._lock:
            process = self._process
            if process is None:
                return
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(self.spec.stop_timeout_s)
                except subprocess.TimeoutExpired:
                    log.warning("%s does not end, killed", self.spec.name)
                    _kill_group(process)
                    process.wait()
            if process.stdin is not None:
                process.stdin.close()

    # ---- life after life --------------------------------------------------

    def _watch(self) -> None:
        """Wait for each death and start the next life, until stopped or given up."""
        deaths: deque[float] = deque()
        while (process := self._process) is not None:
            code = process.wait()
            if self._stopping.is_set() or (self.spec.ends and code == 0):
                return
            log.warning("%s died with %s", self.spec.name, _ending(code))
            try:
                self._live_again(code, deaths)
            except Exception as error:
                if self._stopping.is_set():
                    return
                self._give_up(error)
                return

    def _live_again(self, code: int, deaths: deque[float]) -> None:
        """Count the death, wait, start again, tell the owner. Raises when there is no hope."""
        spec = self.spec
        if self.before_restart is not None:
            self.before_restart()
        while True:
            self._count(code, deaths)
            if self._stopping.wait(min(spec.backoff_s * 2 ** (len(deaths) - 1), spec.backoff_limit_s)):
                return
            try:
                self._launch()
            except ServiceError as error:
                log.warning("%s", error.message)
                code = self.exit_code or 0
                continue
            break
        if self._stopping.is_set():
            return
        self.restarts += 1
        if self.after_restart is not None:
            self.after_restart()

    def _count(self, code: int, deaths: deque[float]) -> None:
        spec, now = self.spec, time.monotonic()
        while deaths and now - deaths[0] > spec.restart_window_s:
            deaths.popleft()
        deaths.append(now)
        if code in _HOPELESS:
            raise self._error(f"{spec.name} refuses to start ({_ending(code)})")
        if len(deaths) > spec.max_restarts:
            raise self._error(f"{spec.name} died {len(deaths)} times within {spec.restart_window_s:g} s, given up")

    def _give_up(self, error: Exception) -> None:
        self.failure = error if isinstance(error, ServiceError) else self._error(f"{self.spec.name}: {error}")
        log.error("%s", self.failure)
        self._end()
        if self.given_up is not None:
            self.given_up(self.failure)

    def _error(self, message: str) -> ServiceError:
        tail = self.log_tail()
        where = f"its log is {self.spec.log_file}"
        remedy = f"{self.spec.remedy}; {where}" if self.spec.remedy else where
        return ServiceError(f"{message}\n{tail}\n" if tail else message, remedy=remedy)


def page_answers(url: str, timeout_s: float = 2.0) -> bool:
    """Whether a GET of `url` (http only) answers 200. Proxies of the environment are not asked."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout_s)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and whatever it has started (it leads a group of its own)."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()


class _Spawner:
    """A thread that lives as long as we do and starts all children.

    The kernel's "kill me when my parent ends" means the *thread* that forked: a child started from a
    short-lived worker thread would be killed when that thread is done.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="spawn-children", daemon=True).start()

    def run(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """What `start` returns or raises, done on the lasting thread."""
        answers: queue.SimpleQueue[subprocess.Popen[bytes] | BaseException] = queue.SimpleQueue()

        def job() -> None:
            try:
                answers.put(start())
            except BaseException as error:
                answers.put(error)

        self._jobs.put(job)
        answer = answers.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _work(self) -> None:
        while True:
            self._jobs.get()()


_the_spawner: tuple[int, _Spawner] | None = None
_spawner_lock = threading.Lock()


def _spawner() -> _Spawner:
    """The spawner of this process (a forked process needs its own thread)."""
    global _the_spawner
    with _spawner_lock:
        if _the_spawner is None or _the_spawner[0] != os.getpid():
            _the_spawner = (os.getpid(), _Spawner())
        return _the_spawner[1]
