# SPDX-License-Identifier: GPL-3.0-or-later
"""
A story: one small migration on a disk of its own, stopped at fault points, cut, continued, and judged.

What is found wrong is collected, not raised: a story that is told with a rule switched off must find something.
An exception means that the story itself could not be told.
"""
import errno
import itertools
import os
import shutil
import subprocess
import threading
import time

from . import compare, dmm, env, powercut, sysx
from .env import Failed, check

OLD = 1500000000 * 10**9
_numbers = itertools.count()


class Story:
    """One disk, one source, runs one after the other, and what was found wrong."""

    def __init__(self, e, kind, off="", state_apart=False):
        self.e = e
        self.off = off
        self.wrong = []
        number = next(_numbers)
        self.source = "%s/%d" % (e.source_dir, number)
        os.mkdir(self.source)
        self.disk = powercut.Disk(e.work, kind)
        self.target = self.disk.path + "/data"
        self.state = "%s/state-%d" % (e.work, number) if state_apart else self.disk.path + "/state"
        os.mkdir(self.target)
        sysx.syncfs(self.disk.path)
        self._cut = None
        self.runs = []

    # -- the source

    def file(self, name, data=b"of the source "):
        """An old file; returns its content."""
        data = (data * 400)[:5000] if len(data) < 100 else data
        with open(self.source + "/" + name, "wb") as f:
            f.write(data)
        os.utime(self.source + "/" + name, ns=(OLD, OLD))
        return data

    def directory(self, name, *files):
        os.mkdir(self.source + "/" + name)
        for each in files:
            self.file(name + "/" + each)
        os.utime(self.source + "/" + name, ns=(OLD, OLD))

    def link(self, old, new):
        os.link(self.source + "/" + old, self.source + "/" + new)

    # -- runs

    def run(self, points="", hold=True, faults=None, options=(), state=None):
        os.utime(self.source, ns=(OLD, OLD))
        rules = "; ".join(p for p in (self.off, points) if p)
        run = self.e.run(*options, source="file://" + self.source, target=self.target, state=state or self.state,
                         hold=hold, faults=faults, env={"DMM_POINTS": rules})
        self.runs.append(run)
        run.mounted()
        return run

    def path(self, *names):
        return os.path.join(self.target, *names)

    def dies(self, run, function=None, *args):
        """The application's call during which the worker dies at its point; False if the call came through before."""
        answered = []

        def call():
            try:
                function(*args)
                answered.append(True)
            except OSError as error:
                if error.errno not in (errno.ENOTCONN, errno.ECONNABORTED, errno.ENOENT, errno.EIO, errno.EINTR):
                    raise
        if function:
            thread = threading.Thread(target=call, daemon=True)
            thread.start()
        code = run.exit(30)
        check(code == dmm.EXIT["worker-died"], "the worker did not die at the point: exit code", code)
        if function:
            thread.join(10)
            check(not thread.is_alive(), "the application hangs after the worker died")
        return bool(answered)

    def kill(self, run):
        run.kill_worker()
        run.exit(30)

    # -- crashes

    def neighbour(self):
        """Somebody else's fsync on the same file system (btrfs: a sync, its fsync takes nobody along)."""
        fd = os.open(self.disk.path + "/neighbour", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(fd, b"somebody else's")
        os.fsync(fd)
        os.close(fd)
        if self.disk.kind == "btrfs":
            sysx.syncfs(self.disk.path)

    def unmount(self):
        """The dead mount goes; what is below can be seen."""
        while any(m[0] == os.fsencode(self.target) for m in sysx.mounts_below(os.fsencode(self.target))):
            sysx.umount_lazy(self.target)

    def power(self):
        """Off, and on again.  The worker must be dead."""
        cut = self.disk.cut()
        self.disk.stop()
        if self._cut:
            os.unlink(self._cut.image)
        self._cut = cut
        self.disk.revive(cut)

    def raw(self, *names):
        """What is on the target itself: (stat, mark or None), or None.  Only while nothing is mounted over it."""
        path = self.path(*names)
        check(not os.path.ismount(self.target), "the mount is in the way")
        try:
            st = os.lstat(path)
        except FileNotFoundError:
            return None
        try:
            return st, os.getxattr(path, "trusted.dmm", follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
            return st, None

    def refused(self, why):
        """The last run must have ended by itself, and said why."""
        run = self.runs[-1]
        self.expect(run.exit(10) == dmm.EXIT["error"] and why in run.stderr(), "refused without saying why:", run.stderr())

    # -- the verdict

    def complain(self, *words):
        self.wrong.append(" ".join(str(w) for w in words))

    def expect(self, truth, *words):
        if not truth:
            self.complain(*words)

    def finish(self, expected=None, dirs=(b"",), reference=None, run=None, state=None, **rules):
        """The next run brings everything here; the ledger, the tree and the file system must be right."""
        try:
            final = powercut.finish(run or self.run(hold=False, state=state), 20)
        except dmm.Unexpected as error:
            self.complain("the next run:", str(error)[:300])
            self.runs[-1].abandon()
            self.unmount()
            return None
        if final:
            ledger = dict(final["ledger"])
            found = ledger.pop("found")
            self.expect(sum(ledger.values()) == found, "the ledger does not balance:", final["ledger"])
        result = compare.compare(reference or self.source, self.target,
                                 compare.Rules(expected=expected, ignore_directory_mtime=dirs, **rules))
        self.expect(result, result)
        self._check_state()
        return final

    def _check_state(self):
        done = subprocess.run([env.program(), "check-state", self.state], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        self.expect(not done.returncode, "check-state:", done.stdout.decode(errors="replace")[-500:])

    def close(self):
        for run in self.runs:
            run.abandon()
        self.unmount()
        try:
            if self._cut:
                self.disk.bury(self._cut)
        except powercut.Broken as error:
            self.complain(error)
        finally:
            self.disk.close()
            shutil.rmtree(self.state, ignore_errors=True)	# when it is apart

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


# -- what applications do


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write_at(path, offset, data, sync=os.fsync, flags=0):
    fd = os.open(path, os.O_WRONLY | flags)
    try:
        os.pwrite(fd, data, offset)
        if sync:
            sync(fd)
    finally:
        os.close(fd)


def sync_directory(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


def quietly(function, *args):
    try:
        function(*args)
    except OSError:
        pass


def wait_stopped(pid, timeout=20):
    """Until a process has stopped at its point."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        with open("/proc/%d/stat" % pid) as f:
            if f.read().rsplit(")", 1)[1].split()[0] == "T":
                return
        time.sleep(0.01)
    raise Failed("the worker did not stop at its point")
