# SPDX-License-Identifier: GPL-3.0-or-later
"""
What one scenario has at hand: a work directory, a source in one of three dresses, a target file system, the program.

Everything made through an Env is undone when it closes, in reverse order, also after a failure.
"""
import contextlib
import os
import random
import subprocess
import threading
import time

from . import compare, dmm, fs, ganesha, sysx, work as _work
from .proxy import Proxy

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
SOURCES = ("v3", "v4", "file")


def build():
    return os.environ.get("DMM_BUILD", ROOT + "/build")


def shim():
    return os.environ.get("DMM_NORPCBIND", build() + "/tests/tools/norpcbind.so")


def program(name="dmm"):
    return build() + "/bin/" + name


def server(work, path, **options):
    return ganesha.Ganesha(work, {"tree": path}, shim(), **options)


class Failed(AssertionError):
    pass


def check(truth, *what):
    """assert that says what was found and survives python -O."""
    if not truth:
        raise Failed(" ".join(str(w) for w in what))


class Env:
    def __init__(self, source="v3", target="ext4", seed=None, quick=False):
        self.kind = source
        self.target_kind = target
        self.quick = quick	# a slow (sanitizer) build: smaller numbers, no time limits on speed
        self.seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
        self.random = random.Random(self.seed)
        self._stack = contextlib.ExitStack()
        self.runs = []
        self.states = {}	# state directories that were used; check_states()
        self.server = self.proxy = None
        self._started = time.monotonic()
        self.work = _work.Work()
        self._stack.callback(self.work.close)
        self.source_fs = self.add(fs.LoopFs(self.work, "ext4", name="source"))
        self.source_dir = self.source_fs.path + "/tree"
        os.mkdir(self.source_dir)
        self.target_fs = self.add(fs.LoopFs(self.work, target, name="target"))
        self.target = self.target_fs.path + "/data"
        os.mkdir(self.target)
        self.state = str(self.work) + "/state"

    def add(self, thing):
        return self._stack.enter_context(thing)

    def say(self, *words):
        print("%7.2f " % (time.monotonic() - self._started), *words, flush=True)

    # -- the source

    def serve(self, proxy=False):
        """Call when the source tree is made; the URL is in self.url then."""
        if self.kind == "file":
            self.url = "file://" + self.source_dir
            return self.url
        self.server = self.add(server(self.work, self.source_dir))
        port = None
        if proxy:
            self.proxy = self.add(Proxy(self.server.nfs_port))
            port = self.proxy.port
        self.url = self.server.url("tree", 3 if self.kind == "v3" else 4, nfs_port=port)
        return self.url

    # -- the program

    def run(self, *options, source=None, target=None, state=None, hold=False, faults=None, env=None):
        extra = dict(env or {})
        if hold:
            extra["DMM_TEST_HOLD_BACKGROUND"] = "1"
        if faults:
            extra["DMM_SOURCE_FAULTS"] = faults
        run = dmm.Dmm(self.work, program(), source or self.url, target or self.target, state or self.state, *options, env=extra)
        self.runs.append(run)
        self.states[state or self.state] = True
        return run

    def path(self, *names):
        return os.path.join(self.target, *names)

    # -- what must hold at the end

    def check_plain(self, root_mode=0o755):
        """Nothing of the product is left but the data."""
        check(not [m for m in sysx.mounts_below(os.fsencode(self.target))], "still mounted:", sysx.mounts_below(os.fsencode(self.target)))
        mode = os.stat(self.target).st_mode & 0o7777
        check(mode == root_mode, "mode of the root is %o, not %o" % (mode, root_mode))

    def check_same(self, reference=None, explain=None, **rules):
        """explain(path): lines that tell how an object came to be what it is."""
        rules.setdefault("time_bits", 32 if self.kind == "v3" else 64)
        started = time.monotonic()
        result = compare.compare(reference or self.source_dir, self.target, compare.Rules(**rules))
        for path in result.paths[:3] if explain else ():
            self.say(compare.show(path), "\n    ".join(["", *explain(path)]))
        check(result, result)
        self.say("compared:", result, "(%.1f s)" % (time.monotonic() - started))

    def check_states(self):
        """
        Each catalog agrees with itself and with its target, also when its worker is killed now.  A scenario that has
        damaged one on purpose takes it out of self.states.
        """
        for run in self.runs:
            run.abandon()
        for state in self.states:
            if os.path.exists(state + "/catalog.db"):
                check_state(state)

    # -- the end

    def report(self):
        for run in self.runs:
            print(run.report(), flush=True)
        if self.server:
            print("server log:\n" + self.server.tail(4), flush=True)

    def close(self):
        for run in self.runs:
            run.abandon()
        self._stack.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def check_state(state):
    done = subprocess.run([program(), "check-state", state], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    if done.returncode:
        raise Failed("dmm check-state %s: exit code %d\n%s" % (state, done.returncode, done.stdout.decode(errors="replace")[-3000:]))


def sh(script, cwd=None, timeout=300, **env):
    """A command of an application on the mount; must succeed."""
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=cwd, env=dict(os.environ, LC_ALL="C", **env),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout)
    if done.returncode:
        raise Failed("%s\nexit code %d:\n%s" % (script, done.returncode, done.stdout.decode(errors="replace")[-3000:]))
    return done.stdout.decode(errors="surrogateescape")


class Background:
    """Run a function in a thread; join() passes its exception on."""

    def __init__(self, function, *args):
        self._error = None
        self._result = None
        self._thread = threading.Thread(target=self._run, args=(function, args), daemon=True)
        self._thread.start()

    def _run(self, function, args):
        try:
            self._result = function(*args)
        except BaseException as e:
            self._error = e

    def alive(self):
        return self._thread.is_alive()

    def join(self, timeout=120):
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise Failed("still running after %g s" % timeout)
        if self._error:
            raise self._error
        return self._result


def timed(function, *args):
    started = time.monotonic()
    result = function(*args)
    return time.monotonic() - started, result
