# SPDX-License-Identifier: GPL-3.0-or-later
"""
kill -9 of the worker, at every fault point and at random moments, with a load beside it.

Each cell or round is a whole migration: killed, started again, finished, and compared with
the model of what the applications did (lib/model.py).  Environment:

  DMM_MATRIX=today   each point on the one file system whose turn it is (make check); else all points
  DMM_ONLY=a.b,c.d   only these points
  DMM_KILLS=N        random_kills: how many (default 12)
  DMM_SECONDS=S      random_kills: no new round after S seconds
"""
import os
import random
import signal
import sqlite3
import subprocess
import threading
import time

from lib import load, points
from lib.dmm import Unexpected
from lib.env import Failed, check, check_state, program

OPTIONS = ("--whole-file-limit", "64K")
PLAYERS = 2
_PARALLEL = 3	# a cell mostly waits


class Migration:
    """A target, a state directory and a load of their own; the source is shared and read-only."""

    def __init__(self, e, name, seed, weights=None, own_source=False):
        self.e, self.name, self.seed = e, name, seed
        self.source = e.source_dir
        if own_source:
            self.source = "%s/%s" % (e.source_fs.path, name)
            subprocess.run(["cp", "-a", e.source_dir, self.source], check=True)
        self.target = "%s/%s" % (e.target_fs.path, name)
        self.state = "%s/state-%s" % (e.work, name)
        os.mkdir(self.target)
        os.chmod(self.target, 0o755)
        self.random = random.Random(seed)
        self.load = load.Load(self.source, self.target, "%s/log-%s" % (e.work, name), seed, PLAYERS, weights=weights)
        self.playing = False
        self.plain_fuse = False		# as on a kernel without passthrough
        self.broken = ""		# rules that are switched off in every run
        self.again = None		# options of dmm retry
        self.failed = 0			# what the ledger must say
        self.incomplete = None		# what was left to the user
        self.run = None
        self.runs = []

    def start(self, points=None, wait=True, **more):
        """One run of the program; with wait, until it is mounted or has ended: True when it is mounted."""
        extra = dict(more.pop("env", None) or {})
        if self.plain_fuse:
            extra["DMM_TEST_NO_PASSTHROUGH"] = "1"
        rules = "; ".join(filter(None, (points, self.broken)))
        if rules:
            extra["DMM_POINTS"] = rules
        source = "file://" + self.source if self.source != self.e.source_dir else None
        self.run = self.e.run(*OPTIONS, source=source, target=self.target, state=self.state, env=extra, **more)
        self.runs.append(self.run)
        return self.mounted() if wait else None

    def mounted(self):
        try:
            self.run.mounted()
            return True
        except Unexpected:
            if self.run.find("mounted"):
                return True
            if self.run.find("finished") or self.run.find("worker-died"):
                return False
            raise

    def play(self):
        if self.playing:
            self.load.resume()
        else:
            self.load.start()
        self.playing = True

    def died(self, timeout=20, after_all_here=None):
        """
        Wait until the run has been killed (True) or has ended well (False).  After the timeout, or so many seconds after everything is
        here: False, too.
        """
        end = time.monotonic() + timeout
        while self.run.process.poll() is None:
            self.load.check()
            if after_all_here is not None and self.run.find("all-here"):
                end, after_all_here = time.monotonic() + after_all_here, None
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        if self.run.find("finished") and self.run.process.returncode == 4:
            return True		# killed between its last event and its end
        code = self.run.exit()
        check(code in (0, 4), self.name, "exit code", code)
        return code == 4

    def park(self):
        if self.playing:
            self.load.park()

    def kill(self):
        """False: the migration had come to its end."""
        if self.run.find("detached"):
            return False
        try:
            self.run.kill_worker()
        except ProcessLookupError:
            return False
        return self.died()

    def finish(self, pause=0.15):
        """Start again, go on for a moment, let everything come here, compare."""
        lost = self.load.lost
        if self.start():
            self.play()
            time.sleep(pause)
        return self.end(lost)

    def end(self, lost):
        self.load.stop()
        if self.again is not None:
            self._again()
        final = self.run.finish(60)
        check(self.load.lost == lost, self.name, "the mount died under an operation although nobody was killed")
        self.compare(final)
        return final

    def _again(self):
        """What the user asked for was cut off: he asks once more, where something is left."""
        end = time.monotonic() + 20
        while not self.run.find("errors-left") and not self.run.find("all-here") and time.monotonic() < end:
            time.sleep(0.02)
        if self.run.find("errors-left"):
            asked = subprocess.run([program(), "retry", self.state, "--all", *self.again], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, timeout=30)
            check(not asked.returncode, "dmm retry: exit code", asked.returncode, asked.stdout.decode(errors="replace"))
            self.run.errors_settled = True

    def compare(self, final):
        ledger = dict(final["ledger"])
        found = ledger.pop("found")
        check(sum(ledger.values()) == found, "the ledger does not balance:", final["ledger"])
        check(ledger["failed"] == self.failed, "the ledger says failed:", final["ledger"])
        objects = len([t for t in self.load.model.things if t.startswith("s:")])
        check(found == objects, "the ledger counts %d objects, the source has %d" % (found, objects))
        if self.incomplete:
            os.unlink(self.incomplete)
        violations = self.load.model.judge(self.target)
        if violations:
            raise Failed("%s (seed %d): %d violations\n%s" % (self.name, self.seed, len(violations), "\n".join(violations)))
        check_state(self.state)

    def close(self):
        """After a success: nothing more is to be reported of it, and its state has been checked."""
        self.load.close()
        self.e.states.pop(self.state, None)
        for run in self.runs:
            self.e.runs.remove(run)

    def abandon(self):
        """A run with something switched off proves nothing about its end."""
        for run in self.runs:
            run.abandon()
        self.close()

    def story(self):
        return "\n".join(run.report(12) for run in self.runs)


# ---- the matrix ----

class Unreached(AssertionError):
    pass


_SLOW = "read delay=8ms; readdir delay=25ms; lookup every=3 delay=4ms"


def _killed_under_load(m, rules, **more):
    """A run with a load beside it that the rules end; False when it ended well."""
    if m.start(rules, faults=_SLOW, **more):
        m.play()
    if m.died(10, 0.3):
        return True
    # The load can hold a detach up for long.
    m.park()
    return m.died()


def _cell_load(m, point, passes):
    if not _killed_under_load(m, "%s kill after=%d" % (point, passes)):
        raise Unreached


def _cell_start(m, point, passes):
    m.start("%s kill" % point, wait=False)
    if not m.died():
        raise Unreached


def _cell_any_start(m, point, passes):
    if m.random.random() < 0.5:
        return _cell_start(m, point, passes)
    return _cell_later_start(m, point, passes)


def _cell_later_start(m, point, passes):
    """The first worker is killed at some moment, the second while it starts."""
    if not _killed_under_load(m, "catalog.committed kill after=%d" % m.random.choice((3, 6, 12))):
        raise Unreached
    m.park()
    m.start("%s kill" % point, wait=False)
    if not m.died():
        raise Unreached


def _cell_adopt(m, point, passes):
    """Stubs without rows are adopted when their directory is listed again, or when somebody looks."""
    if not _killed_under_load(m, "group.stamped kill; urgent.flushed kill"):
        raise Unreached
    m.park()
    if not _killed_under_load(m, "%s kill after=%d" % (point, m.random.choice((0, 1, 3)))):
        raise Unreached


def _cell_intents(m, point, passes):
    before = m.random.choice(("delete.ready", "delete.unlinked", "delete.done"))
    if not _killed_under_load(m, "%s kill after=%d" % (before, m.random.choice((0, 1, 2)))):
        raise Unreached
    m.park()
    m.start("%s kill" % point, wait=False)
    if not m.died():
        raise Unreached


def _cell_hide(m, point, passes):
    """Deletes while nothing is listed but what they look at; then the listing, which settles what was hidden."""
    m.start("%s kill" % point, hold=True)
    m.play()
    if m.died(0.5):
        return
    m.run.release_background()
    if not m.died(10, 0.3):
        m.park()
        if not m.died():
            raise Unreached


def _cell_slow(m, point, passes):
    """While the background is held everything is changed before it is here, and large files are opened in the slow mode."""
    m.start("%s kill after=%d" % (point, passes), hold=True, faults=_SLOW)
    m.play()
    if not m.died(4):
        m.run.release_background()
        m.park()
        m.died()
        raise Unreached


def _cell_upgrade(m, point, passes):
    """A catalog as the version before made it."""
    if not _killed_under_load(m, "catalog.committed kill after=%d" % m.random.choice((3, 6, 12))):
        raise Unreached
    m.park()
    _make_old(m.state + "/catalog.db")
    m.start("%s kill" % point, wait=False)
    if not m.died():
        raise Unreached


def _make_old(path):
    """Schema 2 back to 1 (src/catalog/catalog_schema.c)."""
    db = sqlite3.connect(path, isolation_level=None)
    version, = db.execute("PRAGMA user_version").fetchone()
    check(version == 2, "schema version", version, "is not known to this test")
    db.executescript("BEGIN; ALTER TABLE range DROP COLUMN sum; DROP TABLE finding; PRAGMA user_version=1; COMMIT")
    db.close()


_cell_end = _cell_load


# -- quarantined objects: "rest" belongs to nobody, so what happens to it is known here

def _quarantined(m, point, rule, **more):
    """A run in which the rule puts something aside.  Returns the file of the rule."""
    faults = "%s/faults-%s" % (m.e.work, m.name)
    with open(faults, "w") as f:
        f.write(rule)
    m.start("%s kill" % point, faults="@" + faults, **more)
    return faults


def _retry(m, faults, *options):
    """The source is well again, and the user says so."""
    m.run.wait_for("errors-left", 15)
    open(faults, "w").close()
    m.run.signal_worker(signal.SIGHUP)
    time.sleep(0.05)
    asked = subprocess.run([program(), "retry", m.state, "--all", *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=30)
    m.again = options
    if not m.died(3):
        raise Failed("dmm retry: exit code %d, %s" % (asked.returncode, asked.stdout.decode(errors="replace")))


def _cell_retry(m, point, passes):
    faults = _quarantined(m, point, "read name=a*file touch")
    m.play()
    _retry(m, faults)


def _by_hand(m, op, path, **arguments):
    """What the model takes for an application's doing."""
    m.load.recorder.end(m.load.recorder.begin(-1, op, path, **arguments), "ok")


def _cell_another_type(m, point, passes):
    """A file that cannot be read becomes a link on the source."""
    faults = _quarantined(m, point, "read name=a?file err=EACCES")
    m.play()
    m.run.wait_for("errors-left", 15)
    path = m.source + "/rest/a file"
    os.unlink(path)
    os.symlink("elsewhere", path)
    _by_hand(m, "unlink", "rest/a file")
    _by_hand(m, "symlink", "rest/a file", to="elsewhere")
    _by_hand(m, "utime", "rest/a file", mtime=os.lstat(path).st_mtime_ns)
    _retry(m, faults)


def _cell_give_up(m, point, passes):
    faults = _quarantined(m, point, "read name=a?file err=EACCES")
    m.play()
    _retry(m, faults, "--give-up")
    _by_hand(m, "unlink", "rest/a file")
    m.failed = 1


def _cell_give_up_changed(m, point, passes):
    """What an application has changed is not removed but renamed; the user looks, and deletes it."""
    path = m.target + "/rest/a large file"
    faults = _quarantined(m, point, "read name=a?large?file after=1 err=EACCES", hold=True)
    with open(path, "r+b", buffering=0) as f:
        f.write(b"an application was here")
    m.run.release_background()
    m.play()
    _retry(m, faults, "--give-up")
    _by_hand(m, "unlink", "rest/a large file")
    m.failed, m.incomplete = 1, path + ".dmm-incomplete"


_SITUATIONS = {"load": _cell_load, "start": _cell_start, "any start": _cell_any_start, "later start": _cell_later_start, "adopt": _cell_adopt,
               "intents": _cell_intents, "hide": _cell_hide, "end": _cell_end, "slow": _cell_slow,
               "upgrade": _cell_upgrade, "retry": _cell_retry, "another type": _cell_another_type, "give up": _cell_give_up, "give up what was changed": _cell_give_up_changed}
# How often the load does what leads there.
_WEIGHTS = {"hide": {"unlink": 60, "rename_over": 40}, "delete": {"unlink": 30}, "recover": {"unlink": 30}, "rename": {"rename": 30},
            "truncate": {"truncate": 40, "rewrite": 20}, "write": {"overwrite": 60}}


def _weights(point):
    return _WEIGHTS.get(points.situation(point)) or _WEIGHTS.get(point.split(".")[0])


def _cell(e, point):
    """One point: reached, killed, finished, right.  Returns how many tries it took."""
    chance = random.Random("%d %s" % (e.seed, point))
    where = points.situation(point)
    act = _SITUATIONS.get(where)
    if not act:
        raise Failed("no way is known to the situation %r" % where)
    for number in range(4):
        seed = chance.randrange(1 << 32)
        m = Migration(e, "%s-%d" % (point, number), seed, _weights(point), where == "another type")
        try:
            reached = True
            try:
                act(m, point, points.passes(point, chance) if number < 3 else 0)
            except Unreached:
                reached = False
            m.park()
            final = m.finish()
        except BaseException as error:
            raise Failed("%s\n%s" % (error, m.story())) from error
        finally:
            m.load.close()
        m.close()
        if reached:
            return number + 1, m, final
    raise Failed("the point was never reached")


class _Pool:
    """Cells side by side; each failure is kept with its cell."""

    def __init__(self, e, todo):
        self.e, self.todo = e, list(todo)
        self.lock = threading.Lock()
        self.failures = []
        self.done = 0

    def work(self):
        while True:
            with self.lock:
                if not self.todo:
                    return
                point = self.todo.pop(0)
            began = time.monotonic()
            try:
                tries, m, final = _cell(self.e, point)
                self.e.say("%-26s killed, %.1f s, try %d, %d operations, ledger %s" % (
                    point, time.monotonic() - began, tries, m.load.count, " ".join("%d" % v for v in final["ledger"].values())))
            except BaseException as error:
                self.failures.append((point, error))
                self.e.say("%-26s FAILED: %s" % (point, str(error).splitlines()[0] if str(error) else repr(error)))
            self.done += 1

    def run(self):
        threads = [threading.Thread(target=self.work, daemon=True) for _ in range(_PARALLEL)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def kill_matrix(e):
    """Every fault point: armed, killed there, started again, finished, compared."""
    load.make_tree(e.source_dir, e.seed, PLAYERS, outside=_outside(e))
    e.serve()
    todo = sorted(points.all_points())
    only = os.environ.get("DMM_ONLY")
    if only:
        unknown = set(only.split(",")) - set(todo)
        check(not unknown, "no such point:", unknown)
        todo = [p for p in todo if p in only.split(",")]
    elif os.environ.get("DMM_MATRIX") == "today":
        todo = [p for p in todo if points.turn(p) == e.target_kind]
    e.random.shuffle(todo)
    pool = _Pool(e, todo)
    pool.run()
    e.say("%d cells on %s, %d failed" % (pool.done, e.target_kind, len(pool.failures)))
    if pool.failures:
        raise Failed("\n\n".join("%s: %s" % (point, error) for point, error in pool.failures))


def _outside(e):
    path = e.source_fs.path + "/outside"
    os.mkdir(path)
    return path


# ---- random moments ----

def random_kills(e):
    """kill -9 at random moments; every few of them the migration is finished and compared, and another one begins."""
    wanted = int(os.environ.get("DMM_KILLS", "12"))
    end = time.monotonic() + float(os.environ.get("DMM_SECONDS", "600"))
    load.make_tree(e.source_dir, e.seed, PLAYERS, outside=_outside(e))
    e.serve()
    kills = rounds = operations = 0
    while kills < wanted and time.monotonic() < end:
        m = Migration(e, "round-%d" % rounds, e.random.randrange(1 << 32))
        try:
            kills += _round(m, min(wanted - kills, 6))
        except BaseException:
            m.load.close()
            raise
        operations += m.load.count
        m.close()
        rounds += 1
    e.say("%d kills in %d migrations, %d operations" % (kills, rounds, operations))


def _round(m, kills, hold=False):
    """Up to so many kills of one migration; how many it were."""
    m.plain_fuse = m.random.random() < 0.25
    killed = 0
    while killed < kills:
        lost = m.load.lost
        if m.start(hold=hold, faults="read delay=%dms; readdir delay=40ms" % m.random.choice((10, 60, 200))):
            m.play()
            time.sleep(m.random.choice((0.02, 0.3, 0.8)) * m.random.random())
        if m.run.find("finished") or not m.kill():
            m.end(lost)
            return killed
        killed += 1
        m.park()
        if not m.broken and m.random.random() < 0.3:
            check_state(m.state)	# as the kill has left it
    m.finish()
    return killed


# ---- controls ----

# What is switched off, and what the load does often.
_CONTROLS = (("rule.content-recorded skip", {"overwrite": 60}),
             ("truncate.limit skip", dict.fromkeys(load.OPERATIONS, 0) | {"truncate": 1}),
             ("rule.change-waits skip", {"unlink": 20, "rename": 20, "chmod": 20, "utime": 20}),
             ("rule.times-back skip", {}))


def kill_control(e):
    """With a rule switched off the same kills must be noticed: else random_kills proves nothing."""
    load.make_tree(e.source_dir, e.seed, PLAYERS, outside=_outside(e))
    e.serve()
    for number, (rule, weights) in enumerate(_CONTROLS):
        for attempt in range(40):
            m = Migration(e, "control-%d-%d" % (number, attempt), e.random.randrange(1 << 32), weights)
            m.broken = rule
            text = None
            try:
                _round(m, 3, hold=True)
            except (Failed, Unexpected, load.Violation) as error:
                text = str(error)
            m.load.close()
            m.abandon()
            if text:
                break
        check(text, "not noticed in 40 migrations with 3 kills each:", rule)
        e.say("%-28s noticed in migration %d: %s" % (rule, attempt + 1, " ".join(text.split())[:160]))
