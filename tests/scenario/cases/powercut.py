# SPDX-License-Identifier: GPL-3.0-or-later
"""
The power goes while everything runs: applications, the migration, its catalog on the same disk.

One life: a migration with a load beside it on a disk that is copied at random moments (lib/powercut.py).  Then each copy
is mounted, recovered by its journal, and the migration continues from it; some lose the power again on
the way.  At the end nothing of the source is missing, and whatever an application had made durable before the cut is there
(lib/model.py), the ledger balances, catalog and target agree, and the file system is sound.

The controls leave flushes out and must be caught by the very same test.  Environment:

  DMM_CUTS=N	power_cuts: how many cuts on this file system (default 4)
  DMM_SECONDS=S	power_cuts: no new life after S seconds
"""
import json
import os
import random
import subprocess
import threading
import time
import zlib
from concurrent import futures

from lib import dmm, env, load, model, points, powercut, sysx, work
from lib.env import Failed, check

OPTIONS = ("--whole-file-limit", "512K")
# A migration of two seconds instead of a fraction of one.
_SLOW = "read name=rest* delay=1500ms; read delay=30ms; readdir delay=60ms; lookup every=4 delay=5ms"
_LIFE = 2.5	# the last cuts often come during or after the detach
_CUTS_A_LIFE = 5
_PARALLEL = 3	# a life mostly waits


class _Cut(model.Model):
    """
    The model's reading of a cut, and what file systems make of two things: a file that grew without an fsync may have any size
    between, because it is written back in pieces; O_SYNC and O_DSYNC make what was written durable, not the rest of the file.
    """

    def _set(self, change, value):
        low = change.fact.value
        super()._set(change, value)
        if change.what == "size" and isinstance(low, int) and isinstance(value, int) and low < value:
            change.fact.past += (model.Range(low, value),)

    def end(self, line):
        pending, durable = self.pending[line["n"]], self.durable
        if "sync" not in pending.line:
            return super().end(line)
        self.durable = False
        super().end(line)
        self.durable = durable
        for change in pending.changes if durable and line["r"] == "ok" else ():
            if change.what in ("block", "size"):
                change.fact.past = ()


def _replay(source, path, before, after):
    then = _Cut(source, keep=True)
    at = 0
    with open(path, "rb") as f:
        for text in f:
            at += len(text)
            if at > after:
                break
            then.durable = at <= before
            then.feed(json.loads(text))
    then.close_pending()
    return then


class Life:
    """One live run with its cuts, and what came of each."""

    def __init__(self, e, seed, forgetful, rules="", barriers=True):
        self.e, self.seed, self.rules = e, seed, rules
        self.random = random.Random(seed)
        self.disk = powercut.Disk(e.work, e.target_kind, forgetful, barriers=barriers)
        self.target, self.state = self.disk.path + "/data", self.disk.path + "/state"
        os.mkdir(self.target)
        os.chmod(self.target, 0o755)
        sysx.syncfs(self.disk.path)
        self.log = self.disk.dir + "/log"	# not on the disk that is cut
        self.cuts = []		# (Cut, log position before, after, seconds after the start)
        self.runs = []

    def _launch(self, faults=None):
        run = self.e.run(*OPTIONS, target=self.target, state=self.state, faults=faults, env={"DMM_POINTS": self.rules})
        self.runs.append(run)
        return run

    def start(self, faults=None):
        run = self._launch(faults)
        try:
            run.mounted()
        except dmm.Unexpected:
            if not run.find("finished"):	# the power went after the detach was decided
                raise
        return run

    def _kill(self, run):
        """The worker is gone when this returns, and the lock on the target with it."""
        if run.process.poll() is None:
            try:
                run.kill_worker()	# first: it would stop cleanly when its display dies
            except (dmm.Unexpected, ProcessLookupError):
                pass			# it has ended by itself
            run.abandon()
        end = time.monotonic() + 20
        while any(work.start_time(s["pid"]) and work.alive(s["pid"], work.start_time(s["pid"])) for s in run.all("starting")):
            check(time.monotonic() < end, "the worker does not die")
            time.sleep(0.005)

    # -- before

    def live(self, count):
        began = time.monotonic()
        moments = sorted(self.random.uniform(0.02, _LIFE) if self.random.random() < 0.9 else self.random.uniform(0, 0.1)
                         for _ in range(count))
        run = self._launch(_SLOW)
        with load.Load(self.e.source_dir, self.target, self.log, self.seed, players=2, sync=0.5) as players:
            playing = False
            for moment in moments:
                if moment > 0.1 and not playing:
                    run.mounted()
                    players.start()
                    playing = True
                    began = self._busy(players, began)
                time.sleep(max(0, began + moment - time.monotonic()))
                players.check()
                before = players.log.position()
                cut = self.disk.cut()
                self.cuts.append((cut, before, players.log.position(), time.monotonic() - began))
            self._kill(run)
            if playing:
                players.park()
                players.stop()
            self.operations = players.count
        self.disk.stop()

    @staticmethod
    def _busy(players, began):
        """On a slow machine the load needs a moment until there is something to lose; returns a later beginning."""
        end = time.monotonic() + 5
        while players.count < 20 and time.monotonic() < end:
            time.sleep(0.01)
        return max(began, time.monotonic() - 0.1)

    def live_to_point(self, weights):
        """One cut, when the worker dies at its point; False: it came to its end."""
        run = self._launch(_QUICK)
        with load.Load(self.e.source_dir, self.target, self.log, self.seed, players=2, sync=0.5, weights=weights) as players:
            try:
                run.mounted()
                players.start()
            except dmm.Unexpected:
                check(run.process.wait(10) == dmm.EXIT["worker-died"], "the run ended before it was mounted")
            self._wait(run, 8)
            if run.process.poll() is None:	# the load can hold a detach up for long
                players.park()
                self._wait(run, 6)
            before = players.log.position()
            self.cuts.append((self.disk.cut(), before, players.log.position(), 0))
            reached = run.process.poll() == dmm.EXIT["worker-died"]
            self._kill(run)
            players.stop()
        self.disk.stop()
        return reached

    @staticmethod
    def _wait(run, seconds):
        end = time.monotonic() + seconds
        while run.process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)

    # -- after

    def again(self, cut, before, after):
        """The power comes back; returns what is wrong, [] if nothing."""
        self.disk.revive(cut)
        wrong = []
        if self.random.random() < 0.3:
            cut = self._once_more(cut)
        try:
            wrong += self._continue(before, after)
        except dmm.Unexpected as error:
            wrong.append("the migration does not continue: %s" % str(error)[:1500])
        self._kill(self.runs[-1])
        try:
            self._unmount()
            self.disk.bury(cut)
        except powercut.Broken as error:
            wrong.append(str(error))
            self.disk.stop()
        return wrong

    def _once_more(self, cut):
        """The power goes again while the migration continues."""
        try:
            run = self.start(_SLOW)
            time.sleep(self.random.uniform(0, 0.8))
            second = self.disk.cut()
            self._kill(run)
        except dmm.Unexpected:
            return cut		# the next run will say the same
        self._unmount()
        self.disk.bury(cut, check=False)
        self.disk.revive(second)
        return second

    def _continue(self, before, after):
        wrong = self._check_state("right after the cut")
        run = self.start()
        readers = [threading.Thread(target=self._read_all, args=(k,), daemon=True) for k in range(self.random.randrange(2))]
        for reader in readers:
            reader.start()
        final = powercut.finish(run, 40)
        for reader in readers:
            reader.join(20)
        ledger = dict(final["ledger"]) if final else {"found": 0, "failed": 0}
        found = ledger.pop("found")
        if sum(ledger.values()) != found or ledger["failed"]:
            wrong.append("the ledger: %s" % final["ledger"])
        wrong += self._check_state("at the end")
        then = _replay(self.e.source_dir, self.log, before, after)
        try:
            wrong += then.judge(self.target)
        finally:
            then.close()
        return wrong

    def _read_all(self, seed):
        """An application that reads whatever it finds, cold."""
        names = [os.path.join(top, n) for top, _, files in os.walk(self.target) for n in files]
        random.Random(seed).shuffle(names)
        for name in names:
            try:
                with open(name, "rb") as f:
                    f.read(1 << 20)
            except OSError:
                pass

    def _check_state(self, when):
        if not os.path.exists(self.state + "/catalog.db"):
            return []		# the power went before there was one
        done = subprocess.run([env.program(), "check-state", self.state], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=60)
        if not done.returncode or b"there is no catalog" in done.stdout:	# it was being made
            return []
        return ["check-state %s, exit code %d:\n%s" % (when, done.returncode, done.stdout.decode(errors="replace")[-1500:])]

    def _unmount(self):
        while any(m[0] == os.fsencode(self.target) for m in sysx.mounts_below(os.fsencode(self.target))):
            sysx.umount_lazy(self.target)

    def close(self):
        for run in self.runs:
            self._kill(run)
        self._unmount()
        self.disk.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def _source(e):
    load.make_tree(e.source_dir, e.seed, players=2, files=30, large=(300000, 1300000, 3 << 20), rest=40)
    e.serve()


def _told(life, number, wrong):
    cut, before, after, seconds = life.cuts[number]
    with open(life.log) as f:
        log = f.read(after)
    return "%s%s, seed %d, cut %d (%.2f s after the start, log %d to %d):\n%s\n%s" % (
        life.disk.kind, " forgetful" if life.disk.forgetful else "", life.seed, number, seconds, before, after, "\n".join(wrong),
        "the log:\n" + log if len(log) < 3000 else "")


def _one_life(e, seed, forgetful, count):
    with Life(e, seed, forgetful) as life:
        life.live(count)
        bad = []
        for number, (cut, before, after, _) in enumerate(list(life.cuts)):
            wrong = life.again(cut, before, after)
            if wrong:
                bad.append(_told(life, number, wrong))
        longest = max(c.seconds for c, *_ in life.cuts)
        e.say("%-12s seed %d: %d operations, %d cuts (longest %.1f ms), %d broken"
              % ("forgetful" if forgetful else "plain", seed, life.operations, len(life.cuts), longest * 1000, len(bad)))
        if bad:
            raise Failed("\n\n".join(bad))
        for run in life.runs:
            run.check_sanitizer()
            e.runs.remove(run)


def power_cuts(e):
    """Cut, mount, continue, compare; on a disk without a cache and on one that forgets what was not flushed."""
    _source(e)
    left = int(os.environ.get("DMM_CUTS", "2" if e.quick else "4"))
    end = time.monotonic() + float(os.environ.get("DMM_SECONDS", "100000"))
    each = min(_CUTS_A_LIFE, max(1, left // 2))
    done = lives = 0
    while left > 0 and time.monotonic() < end:
        count = min(each, left)
        _one_life(e, (e.seed + lives) & 0xffffffff, bool(lives % 2), count)
        lives += 1
        left -= count
        done += count
    e.say("%d cuts in %d lives, nothing lost" % (done, lives))


# ---- controls ----

_CONTROLS = (
    # what is left out, on a disk that forgets?, with barriers?
    ("target.sync-all skip; target.sync-one skip", False, True),	# the catalog says "resident" before the data is
    ("mount.fsync skip", False, True),				# an application's fsync is a lie: does the model notice?
    ("catalog.flush skip", True, True),				# a record that an application waited for is not durable
    ("", True, False),						# the file system's own flushes: does the disk forget?
)


def power_cut_control(e):
    """Without the flushes the same test must find something."""
    _source(e)
    for rules, forgetful, barriers in _CONTROLS:
        if not barriers and e.target_kind == "xfs":
            continue	# it cannot do without
        for attempt in range(6):
            found = _caught(e, (e.seed + attempt) & 0xffffffff, forgetful, rules, barriers)
            if found:
                break
        what = rules or "no barriers"
        check(found, "not caught in 6 lives of 3 cuts:", what)
        e.say("%-46s caught in life %d: %s" % (what, attempt + 1, found.replace("\n", " ")[:100]))


def _caught(e, seed, forgetful, rules, barriers):
    with Life(e, seed, forgetful, rules, barriers) as life:
        life.live(3)
        life.rules = ""	# the next worker is a good one
        try:
            for cut, before, after, _ in list(life.cuts):
                wrong = life.again(cut, before, after)
                if wrong:
                    return wrong[0]
            return None
        finally:
            for run in life.runs:
                e.runs.remove(run)


# ---- at the fault points ----

_QUICK = "read delay=8ms; readdir delay=25ms; lookup every=3 delay=4ms"
_DELETING = {"unlink": 50, "rename": 30, "rename_over": 50, "read": 0, "stat": 0}
_SITUATIONS = ("load", "end", "start", "any start")	# the others need a past: cases/kills.py


def power_cut_points(e):
    """
    The worker is killed at a point and the power goes with it: what was not flushed between two steps is lost, not only what was in
    the worker.  A point is told on one of the two kinds of disk; DMM_ALL=1: each on both, else the file systems share them.
    """
    _source(e)
    every = bool(os.environ.get("DMM_ALL"))
    only = [p for p in os.environ.get("DMM_ONLY", "").split(",") if p]
    cells = []
    for point in sorted(points.all_points()):
        turn = zlib.crc32(point.encode())
        if points.situation(point) in _SITUATIONS and (point in only if only else every or turn % 3 == powercut.KINDS.index(e.target_kind)):
            cells += [(point, forgetful) for forgetful in ((False, True) if every or only else (bool(turn // 3 % 2),))]
    with futures.ThreadPoolExecutor(_PARALLEL) as pool:
        told = list(pool.map(lambda cell: _point(e, *cell), cells))
    bad = [text for _, text in told if text]
    missed = [cell[0] for cell, (reached, _) in zip(cells, told) if not reached]
    e.say("%d cells, %d broken; not reached: %s" % (len(cells), len(bad), " ".join(missed) or "none"))
    check(not bad, "\n\n".join(bad))
    check(len(missed) <= len(cells) // 3, "too many points were not reached:", missed)


def _point(e, point, forgetful):
    """(reached?, what is wrong)"""
    seed = (e.seed + zlib.crc32(point.encode())) & 0xffffffff
    with Life(e, seed, forgetful, "%s kill after=%d" % (point, min(3, points.passes(point, random.Random(seed))))) as life:
        reached = life.live_to_point(_DELETING if point.startswith(("delete.", "rename.")) else None)
        life.rules = ""
        cut, before, after, _ = life.cuts[0]
        wrong = life.again(cut, before, after)
        text = "%s: %s" % (point, _told(life, 0, wrong)) if wrong else None
        if wrong:
            text += "\n" + "\n".join(run.report(12) for run in life.runs)
        for run in life.runs:
            run.check_sanitizer()
            e.runs.remove(run)
    return reached, text
