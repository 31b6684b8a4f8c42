# SPDX-License-Identifier: GPL-3.0-or-later
"""
`dmm run --json` as a child process, and its event lines.

A thread collects the events as they come; tests wait for kinds of them and read the
counters of the last status line.  What the programs print on stderr and stdout is kept
in files of the work directory and shown when a test fails.
"""
import json
import os
import signal
import subprocess
import tempfile
import threading
import time

from . import sysx, work as _work

FINAL = ("finished", "stopped", "error", "worker-died")
EXIT = {"finished": 0, "error": 1, "stopped": 3, "worker-died": 4}
_SANITIZER = (b"ERROR: AddressSanitizer", b"ERROR: LeakSanitizer", b"runtime error:", b"SUMMARY: UndefinedBehaviorSanitizer")


class Unexpected(AssertionError):
    pass


class Dmm:
    """One run of the program.  Started by the constructor; .finish() is the ordinary end."""

    errors_settled = False	# a test has asked for a retry since "errors-left"

    def __init__(self, work, program, source, target, state, *options, env=None, wrapper=()):
        self.events = []
        self._changed = threading.Condition()
        self._work, self._target = work, target
        self._born = {}		# worker's pid -> its start time: pids are reused
        self.logs = tempfile.mkdtemp(prefix="run-", dir=str(work))
        self.argv = [*wrapper, program, "run", source, target, "--state", state, "--json", *options]
        self.started = time.monotonic()
        with open(self.logs + "/stderr", "wb") as err:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err,
                                            env=dict(os.environ, **(env or {})), start_new_session=True,
                                            preexec_fn=sysx.die_with_parent)
        work.remember(self.process.pid)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    # -- events

    def _read(self):
        with open(self.logs + "/stdout", "wb") as copy:
            for line in self.process.stdout:
                copy.write(line)
                copy.flush()
                try:
                    event = json.loads(line)
                    event["event"], event["time"], event["seconds"]
                except (ValueError, KeyError, TypeError):
                    event = {"event": "not-an-event", "line": line.decode(errors="replace")}
                event["_at"] = time.monotonic()
                if event["event"] == "starting":
                    self._born[event["pid"]] = _work.start_time(event["pid"])
                    self._work.remember(event["pid"])
                with self._changed:
                    self.events.append(event)
                    self._changed.notify_all()
        with self._changed:
            self.events.append({"event": "end-of-output", "_at": time.monotonic()})
            self._changed.notify_all()

    def find(self, kind):
        """The last event of this kind so far, or None."""
        with self._changed:
            return next((e for e in reversed(self.events) if e["event"] == kind), None)

    def all(self, kind):
        with self._changed:
            return [e for e in self.events if e["event"] == kind]

    def wait_for(self, kind, timeout=60, when=lambda event: True):
        """Wait for an event of this kind for which when() holds; fails at once if the run ended without it."""
        end = time.monotonic() + timeout
        seen = 0
        with self._changed:
            while True:
                for event in self.events[seen:]:
                    if event["event"] == kind and when(event):
                        return event
                    if event["event"] in FINAL + ("end-of-output",) and kind not in FINAL:
                        raise Unexpected("the run ended (%s) before %r" % (_brief(event), kind))
                    if event["event"] == "end-of-output":
                        raise Unexpected("output ended before %r" % kind)
                seen = len(self.events)
                left = end - time.monotonic()
                if left <= 0:
                    raise Unexpected("no %r within %g s; last: %s" % (kind, timeout, _brief(self._last())))
                self._changed.wait(left)

    def _last(self):
        return self.events[-1] if self.events else {"event": "nothing at all"}

    def mounted(self, timeout=30):
        return self.wait_for("mounted", timeout)

    def status(self, timeout=10):
        """A status line that was produced after this call began."""
        now = time.monotonic()
        return self.wait_for("status", timeout, lambda e: e["_at"] > now + 0.05)

    def phase(self):
        """What the last status line said."""
        return (self.find("status") or {"phase": "starting"})["phase"]

    def source_ops(self, settle=1.2):
        """Requests to the source so far, {"demand": {...}, "background": {...}}."""
        time.sleep(settle)
        return self.status()["source"]["ops"]

    # -- processes

    @property
    def worker(self):
        """pid of the worker"""
        return self.wait_for("starting", 30)["pid"]

    def signal_worker(self, number):
        pid = self.worker
        if _work.start_time(pid) is None or _work.start_time(pid) != self._born[pid]:
            raise ProcessLookupError("the worker has ended")
        os.kill(pid, number)

    def kill_worker(self):
        self.signal_worker(signal.SIGKILL)

    def signal(self, number):
        self.process.send_signal(number)

    def interrupt(self):
        """Ctrl-C reaches the whole foreground process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def release_background(self):
        """Ends DMM_TEST_HOLD_BACKGROUND."""
        self.signal_worker(signal.SIGUSR2)

    def exit(self, timeout=60):
        """Wait for the program's end; returns its exit code.  Checks the contract between it and the final event."""
        end = time.monotonic() + timeout
        while (code := self.process.poll()) is None:
            if self.find("errors-left") and not self.find("stopping") and not self.errors_settled:
                raise Unexpected("waits with errors left: " + "; ".join(e["text"] for e in self.all("quarantined")[:8]))
            if time.monotonic() > end:
                raise Unexpected("does not end within %g s; last: %s" % (timeout, _brief(self._last())))
            time.sleep(0.01)
        self._reader.join(10)
        self.check_sanitizer()
        finals = [e for e in self.events if e["event"] in FINAL]
        if len(finals) != 1 or EXIT[finals[0]["event"]] != code:
            raise Unexpected("exit code %s, final events %s; stderr: %s" % (code, [_brief(e) for e in finals], self.stderr()))
        garbage = self.all("not-an-event")
        if garbage:
            raise Unexpected("not an event line: %r" % garbage[0]["line"][:200])
        return code

    def finish(self, timeout=120):
        """Everything must come here and end well."""
        code = self.exit(timeout)
        if code:
            raise Unexpected("exit code %d: %s" % (code, _brief(self._last_final())))
        return self._last_final()

    def stop(self, timeout=60):
        """Ctrl-C, clean."""
        self.interrupt()
        code = self.exit(timeout)
        if code != EXIT["stopped"]:
            raise Unexpected("stopped with exit code %d: %s" % (code, _brief(self._last_final())))
        return self._last_final()

    def _last_final(self):
        return next(e for e in reversed(self.events) if e["event"] in FINAL)

    def abandon(self):
        """For the end of a test that failed: no process stays."""
        for pid, born in list(self._born.items()):
            if born and _work.start_time(pid) == born:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.process.kill()	# nothing when it has been waited for
        sysx.fuse_abort(self._target)
        self.process.wait()

    # -- what it printed

    def stderr(self):
        with open(self.logs + "/stderr", errors="replace") as f:
            return f.read()

    def check_sanitizer(self):
        with open(self.logs + "/stderr", "rb") as f:
            text = f.read()
        if any(mark in text for mark in _SANITIZER):
            raise Unexpected("sanitizer report:\n" + text.decode(errors="replace")[:6000])

    def report(self, lines=25):
        """What a person needs to see when the test failed."""
        out = ["$ " + " ".join(self.argv), "exit code: %s" % self.process.poll()]
        kept = [e for e in self.events if e["event"] not in ("status", "end-of-output")]
        out += [_brief(e) for e in kept[-lines:]]
        statuses = self.all("status")
        if statuses:
            out.append("last status: " + _brief(statuses[-1]))
        out += ["stderr: " + line for line in self.stderr().splitlines()[-lines:]]
        return "\n".join(out)


def _brief(event):
    return json.dumps({k: v for k, v in event.items() if k not in ("_at", "time")})[:1500]
