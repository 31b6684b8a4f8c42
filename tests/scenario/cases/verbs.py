# SPDX-License-Identifier: GPL-3.0-or-later
"""
What can be asked about a migration: report, verify, retry, check-state; while it runs, after a stop, and after the end.
"""
import errno
import json
import os
import pty
import signal
import socket
import subprocess
import time

from lib import sysx, trees
from lib.env import Background, check, program, timed

_FINAL = ("done", "stopped", "error")
_MANY = 25


class Answer:
    """One `dmm VERB STATE --json`."""

    def __init__(self, e, verb, *args, state=None, expect=0, timeout=120, quiet=False):
        argv = [program(), verb, state or e.state, *args, "--json"]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, preexec_fn=sysx.die_with_parent)
        self.code = done.returncode
        self.stderr = done.stderr.decode(errors="replace")
        self.events = [json.loads(line) for line in done.stdout.splitlines()]
        if not quiet:
            e.say("dmm %s %s: %d %s" % (verb, " ".join(map(str, args)), self.code, self.stderr.strip()[:200]))
        check(self.code == expect, "dmm", verb, *args, "exit code", self.code, "instead of", expect, self.stderr, self.events[-3:])
        check(all({"event", "time", "seconds"} <= set(o) for o in self.events), "an event without the common fields:", self.events)
        finals = [o["event"] for o in self.events if o["event"] in _FINAL]
        check(self.code == 2 or (len(finals) == 1 and self.events[-1]["event"] == finals[0]), "final events:", finals)
        check("Sanitizer" not in self.stderr, self.stderr)

    def all(self, kind):
        return [o for o in self.events if o["event"] == kind]

    def one(self, kind):
        found = self.all(kind)
        check(len(found) == 1, "%d events %r" % (len(found), kind), self.events[-3:])
        return found[0]

    def names(self, which):
        return sorted(o["path"] for o in self.all("object") if o["list"] == which)


def text(e, *argv, expect=0, **more):
    """As a person sees it."""
    done = subprocess.run([program(), *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, text=True, **more)
    e.say("$ dmm " + " ".join(argv) + "\n" + done.stdout + done.stderr)
    check(done.returncode == expect, "dmm", *argv, "exit code", done.returncode, "instead of", expect)
    return done.stdout + done.stderr


def _objects(ledger, *states):
    return sum(ledger["states"][s]["objects"] for s in states)


_STATES = ("found", "cleaning", "quarantined", "migrated", "overwritten", "deleted", "shadowed", "excluded", "failed")


def _sums(ledger):
    check(_objects(ledger, *_STATES) == ledger["found_objects"], "states do not add up:", ledger)
    check(sum(ledger["states"][s]["bytes"] for s in _STATES) == ledger["found_bytes"], "bytes do not add up:", ledger)


def _report_when(e, condition, within=15):
    """What happens is recorded a moment later, in a group."""
    end = time.monotonic() + within
    while True:
        answer = Answer(e, "report", quiet=True)
        if condition(answer):
            return answer
        check(time.monotonic() < end, "the report does not come to this:", answer.events)
        time.sleep(0.2)


def _tree(e):
    """Some files for every fate."""
    count = 0
    for name in ("keep", "over", "dead", "bad"):
        os.mkdir(e.source_dir + "/" + name)
        for i in range(4):
            with open("%s/%s/%s%d" % (e.source_dir, name, name, i), "wb") as f:
                f.write(os.urandom(5000 + i))
        count += 5
    os.mkdir(e.source_dir + "/shade")
    with open(e.source_dir + "/shade/name", "wb") as f:
        f.write(b"of the source")
    return count + 3		# and the root


def _faults(e, rules):
    """A rules file, and how to change it while a worker runs."""
    path = str(e.work) + "/faults"
    with open(path, "w") as f:
        f.write(rules)
    return path


def _set_faults(run, path, rules):
    with open(path, "w") as f:
        f.write(rules)
    os.kill(run.worker, signal.SIGHUP)
    time.sleep(0.3)


def report_ledger(e):
    """Everything an application can do to what has not arrived, and the report on it: live, at rest, and after the end."""
    objects = _tree(e) + 1 + _MANY
    os.mkdir(e.source_dir + "/many")
    many = ["many/%02d \\xe9\\x0a" % i for i in range(_MANY)]		# as reports spell them
    for i in range(_MANY):
        with open(os.fsencode(e.source_dir) + b"/many/%02d \xe9\n" % i, "wb") as f:
            f.write(b"something")	# what is empty is here at once
    e.serve()
    run = e.run(hold=True)
    run.mounted()
    live = Answer(e, "report").one("ledger")
    check(live["phase"] == "running" and live["worker"] and live["balanced"], live)
    for i in range(2):
        with open(e.path("over", "over%d" % i), "wb") as f:
            f.write(b"an application was here first")
        os.unlink(e.path("dead", "dead%d" % i))
    for i in range(_MANY):
        os.unlink(os.fsencode(e.target) + b"/many/%02d \xe9\n" % i)
    with open(e.path("shade", "late"), "wb") as f:
        f.write(b"of an application")
    with open(e.source_dir + "/shade/late", "wb") as f:		# after the lookup, before the listing
        f.write(b"of the source")
    answer = _report_when(e, lambda a: len(a.names("deleted")) == 2 + _MANY)
    check(answer.names("deleted") == ["dead/dead0", "dead/dead1"] + many, answer.events)
    _sums(answer.one("ledger"))
    run.release_background()
    final = run.finish()
    after = Answer(e, "report")
    ledger = after.one("ledger")
    e.say(ledger)
    _sums(ledger)
    check(ledger["balanced"] and ledger["phase"] == "detached" and not ledger["worker"], ledger)
    check(ledger["waiting_objects"] == 0 and _objects(ledger, "found", "cleaning", "quarantined") == 0, ledger)
    check(ledger["found_objects"] == objects + 1 == final["ledger"]["found"], objects, ledger, final)
    check(after.names("overwritten") == ["over/over0", "over/over1"], after.events)
    check(after.names("deleted") == ["dead/dead0", "dead/dead1"] + many, after.events)
    check(after.names("shadowed") == ["shade/late"], after.events)
    with open(e.path("shade", "late"), "rb") as f:
        check(f.read() == b"of an application", "the shadowed name shows the source's bytes")
    shown = text(e, "report", e.state)
    check("The ledger balances" in shown and all("  %s\n" % name in shown for name in many), "the text is not complete")
    _bounded_on_a_terminal(e, many)


def _bounded_on_a_terminal(e, many):
    shown = _terminal(e, "report", e.state)
    e.say("on a terminal:\n" + shown)
    there = sum("  %s\n" % name in shown for name in many)
    check(10 < there < _MANY and "... and %d more (--json lists all)\n" % (_MANY + 2 - 20) in shown, "not bounded: %d names" % there)
    check("The ledger balances" in shown.splitlines()[-1], "the last line is another")


def _terminal(e, *argv):
    """What stands on a terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen([program(), *argv], stdin=slave, stdout=slave, stderr=slave, env=dict(os.environ, TERM="xterm", LC_ALL="C.UTF-8"),
                               preexec_fn=sysx.die_with_parent)
    os.close(slave)
    out = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        out += piece
    os.close(master)
    check(process.wait(60) == 0, "exit code", process.returncode, out)
    return out.decode().replace("\r\n", "\n")


def retry_and_give_up(e):
    """An unreadable file is put aside and everything else arrives; then it is retried, another is given up, and the migration ends."""
    _tree(e)
    os.mkdir(e.source_dir + "/odd")
    with open(os.fsencode(e.source_dir) + b"/odd/bad \xe9\n*", "wb") as f:
        f.write(b"an odd name")
    e.serve()
    faults = _faults(e, "read name=bad* err=EACCES")
    run = e.run(faults="@" + faults)
    run.mounted()
    run.wait_for("errors-left", 60)
    try:
        with open(e.path("bad", "bad0"), "rb") as f:
            f.read()
        check(False, "a quarantined file can be read")
    except OSError as error:
        e.say("reading it says", error)
    odd = "odd/bad \\xe9\\x0a*"		# as reports spell it
    bad = ["bad/bad%d" % i for i in range(4)] + [odd]
    answer = Answer(e, "report")
    check(answer.names("quarantined") == bad, answer.events)
    for o in answer.all("object"):
        check(o["errno"] == "EACCES" and o["reason"], o)
    check(answer.one("ledger")["waiting_objects"] == 5, answer.one("ledger"))
    shown = text(e, "retry", e.state, expect=2)
    check(all(name in shown for name in bad) and "--all" in shown, "the choice is not shown:", shown)
    _still_bad(e, bad)
    by_bytes = Answer(e, "retry", b"./odd/bad \xe9\n*")
    check([o["path"] for o in by_bytes.all("retried")] == [odd], by_bytes.events)
    _report_when(e, lambda a: a.names("quarantined") == bad)
    _set_faults(run, faults, "")
    again = Answer(e, "retry", "bad/bad0")
    check([o["path"] for o in again.all("retried")] == ["bad/bad0"], again.events)
    _report_when(e, lambda a: a.names("quarantined") == bad[1:] and _readable(e.path("bad", "bad0")))
    again = Answer(e, "retry", odd)
    check([o["path"] for o in again.all("retried")] == [odd], again.events)
    _report_when(e, lambda a: a.names("quarantined") == bad[1:4])
    missed = Answer(e, "retry", "keep/keep0", "bad/no such name", expect=5)
    check(len(missed.all("no-match")) == 2 and not missed.all("retried"), missed.events)
    up = Answer(e, "retry", "--give-up", "*bad1")
    check([o["path"] for o in up.all("given-up")] == ["bad/bad1"], up.events)
    check(not os.path.lexists(e.path("bad", "bad1")), "the name of a file that was given up is still there")
    rest = Answer(e, "retry", "--all")
    check(sorted(o["path"] for o in rest.all("retried")) == bad[2:4], rest.events)
    final = run.process.wait(60)
    check(final == 0, "exit code", final)
    after = Answer(e, "report")
    ledger = after.one("ledger")
    _sums(ledger)
    check(ledger["balanced"] and after.names("failed") == ["bad/bad1"] and not after.names("quarantined"), after.events)
    check(not os.path.lexists(e.path("bad", "bad1")) and _readable(e.path("bad", "bad3")), os.listdir(e.path("bad")))
    Answer(e, "retry", "--all", expect=1)
    check(text(e, "retry", e.state) == "nothing is quarantined\n", "an empty choice")
    os.unlink(e.source_dir + "/bad/bad1")
    e.check_same(ignore_directory_mtime=(b"bad",))


def _still_bad(e, bad):
    """While the fault lasts a retry puts it aside again."""
    Answer(e, "retry", "--all")
    _report_when(e, lambda a: a.names("quarantined") == bad)


def _readable(path):
    try:
        with open(path, "rb") as f:
            return bool(f.read())
    except OSError:
        return False


def verify_verb(e):
    """Verify, stopped and continued; what applications changed is no damage, what nobody can have changed is."""
    _tree(e)
    for i in range(3):
        with open("%s/keep/large%d" % (e.source_dir, i), "wb") as f:
            f.write(os.urandom(12 << 20))
    e.serve()
    run = e.run(hold=True)
    run.mounted()
    with open(e.path("keep", "keep0"), "rb") as f:
        f.read()
    os.listdir(e.path("keep"))
    time.sleep(1.5)		# recorded by then
    live = Answer(e, "verify").one("verified")
    check(live["finished"] and live["files"]["waiting"] and not live["problems"], live)
    run.release_background()
    run.finish()
    after = Answer(e, "verify").one("verified")
    check(after["files"]["same"] >= 19 and not after["files"]["waiting"] and after["done_bytes"] == after["total_bytes"], after)
    _stopped_and_continued(e)
    shown = _terminal(e, "verify", e.state, "--restart", "--rate", "30M")
    check("\r\x1b[K" in shown and "No damage found.\n" in shown, "progress on a terminal:", shown)
    with open(e.path("keep", "keep1"), "ab") as f:
        f.write(b"more")
    os.unlink(e.path("keep", "keep2"))
    changed = Answer(e, "verify", "--restart")
    check({f["path"]: f["verdict"] for f in changed.all("finding")} == {"keep/keep1": "changed", "keep/keep2": "gone"}, changed.events)
    with open(e.source_dir + "/over/over0", "ab") as f:
        f.write(b"a new version")
    source = Answer(e, "verify", "--restart", "--against-source")
    check({f["path"]: f["verdict"] for f in source.all("finding")}.get("over/over0") == "source-changed", source.events)
    check(source.one("verified")["files"]["same"] >= 15, source.events)
    st = os.stat(e.path("over", "over1"))
    with open(e.path("over", "over1"), "r+b") as f:
        f.write(b"not what was migrated")
    os.utime(e.path("over", "over1"), ns=(st.st_atime_ns, st.st_mtime_ns))
    bad = Answer(e, "verify", "--restart", expect=5)
    check({f["path"]: f["verdict"] for f in bad.all("finding")}.get("over/over1") == "suspect", bad.events)
    shown = text(e, "verify", e.state, "--restart", expect=5)
    check("over/over1" in shown and "PROBLEMS with 1 objects" in shown, shown)
    for wrong in (("--rate", "fast"), ("--rate",), ("--nonsense",)):
        text(e, "verify", e.state, *wrong, expect=2)


def _stopped_and_continued(e):
    process = subprocess.Popen([program(), "verify", e.state, "--restart", "--rate", "8M", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               stdin=subprocess.DEVNULL, preexec_fn=sysx.die_with_parent, start_new_session=True)
    time.sleep(2.5)
    os.killpg(process.pid, signal.SIGINT)
    started = time.monotonic()
    out, err = process.communicate(timeout=30)
    events = [json.loads(line) for line in out.splitlines()]
    e.say("stopped after %.2f s: %s" % (time.monotonic() - started, err.decode().strip()))
    check(process.returncode == 3 and events[-1]["event"] == "stopped", process.returncode, events[-2:], err)
    check(time.monotonic() - started < 5, "Ctrl-C took long")
    done = [o for o in events if o["event"] == "progress"][-1]
    rest = Answer(e, "verify").one("verified")
    check(0 < done["done_bytes"] < rest["total_bytes"], done)
    check(rest["resumed"] and rest["finished"] and rest["done_bytes"] == rest["total_bytes"] and not rest["problems"], rest)


def names_and_refusals(e):
    """A migration by its state, by its name, by its target; and what is said when there is none, or when it cannot be done now."""
    _tree(e)
    e.serve()
    name = "test-%d-%d" % (os.getpid(), e.seed)
    state = "/var/lib/dmm/" + name
    try:
        run = e.run(state=state, hold=True)
        run.mounted()
        for what in (state, name, state + "/"):
            check(Answer(e, "report", state=what).one("ledger")["state"] == state, what)
        check("stop it first" in Answer(e, "check-state", state=name, expect=1).stderr, "check-state of a running migration")
        check(name in Answer(e, "report", state="no such thing", expect=1).stderr, "the migrations that exist are not named")
        _control(e, run, state)
        run.stop()
        check(Answer(e, "report", state=name).one("ledger")["worker"] is False, "a worker that has been stopped")
        refused = Answer(e, "retry", "--all", state=name, expect=1)
        check("dmm run '" + e.url.split("?")[0] in refused.stderr, refused.stderr)
        Answer(e, "check-state", state=name)
        run = e.run(state=state)
        _hammer(e, run, name)
        _sums(Answer(e, "report", state=name).one("ledger"))
    finally:
        subprocess.run(["rm", "-rf", state], check=True)
    default = e.target_fs.path + "/default"
    os.mkdir(default)
    made = None
    try:
        run = subprocess.run([program(), "run", e.url, default, "--json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=60, preexec_fn=sysx.die_with_parent)
        check(run.returncode == 0, run.stdout)
        made = json.loads(run.stdout.splitlines()[0])["state"]
        check(Answer(e, "report", state=default).one("ledger")["state"] == made, "by its target")
        subprocess.run(["rm", "-rf", default], check=True)
        check(Answer(e, "report", state=os.path.basename(made)).one("ledger")["balanced"], "after the target was deleted")
        os.mkdir(default)
        check("is its file system mounted" in Answer(e, "verify", state=made, expect=1).stderr, "verify of another directory")
        os.rmdir(default)
        check("cannot be opened" in Answer(e, "verify", state=made, expect=1).stderr, "verify without a target")
        Answer(e, "check-state", state=made)
    finally:
        if made:
            subprocess.run(["rm", "-rf", made], check=True)


def _ask(state, request):
    """Straight to the control socket."""
    with socket.socket(socket.AF_UNIX) as s:
        fd = os.open(state, os.O_PATH)
        try:
            s.connect("/proc/self/fd/%d/control.sock" % fd)
        finally:
            os.close(fd)
        s.settimeout(20)
        s.sendall(json.dumps(request).encode() + b"\n")
        return [json.loads(line) for line in s.makefile("rb")]


def _control(e, run, state):
    status = _ask(state, {"request": "status"})
    check([o["event"] for o in status] == ["status", "done"] and status[0]["phase"] == "migrating", status)
    check(_ask(state, {"request": "points", "rules": "no.such.point kill"})[-1]["event"] == "error", "an unknown point")
    check(_ask(state, {"request": "points", "rules": ""})[-1]["event"] == "done", "points")
    check(_ask(state, {"request": "make tea"})[-1]["event"] == "error", "an unknown request")
    check(run.status()["phase"] == "migrating", "the migration suffered")


def _hammer(e, run, name):
    """Reports from the first moment to the last and beyond: each is an answer."""
    count = 0
    while run.process.poll() is None:
        Answer(e, "report", state=name, quiet=True)
        count += 1
    e.say("%d reports between start and end" % count)
    run.finish()


def verbs_at_bad_times(e):
    """The source is gone, the worker is stopped, or killed: questions are answered or end, and hold nobody up."""
    _tree(e)
    e.serve()
    faults = _faults(e, "read name=bad* err=EACCES")
    run = e.run(faults="@" + faults)
    run.mounted()
    run.wait_for("errors-left", 60)
    waiting = []
    if e.server:
        e.server.freeze()
        waiting = [Background(_ends, e, "retry", "--all"), Background(_ends, e, "verify", "--against-source", "--restart")]
        time.sleep(1.5)
        check(waiting[0].alive() and waiting[1].alive(), "they do not wait for the source")
    took, answer = timed(Answer, e, "report")
    check(took < 2 and len(answer.names("quarantined")) == 4, "a report took %.1f s without the source" % took, answer.events)
    took, _ = timed(_stop, run)
    e.say("the worker stopped within %.2f s" % took)
    check(e.quick or took < 8, "the worker needed %.1f s to stop" % took)
    for w in waiting:
        w.join(20)
    if e.server:
        e.server.thaw()
    check(not os.path.exists(e.state + "/control.sock"), "the socket is still there")
    _killed(e)
    run = e.run()
    run.mounted()
    run.wait_for("all-here", 60)
    run.finish()
    _sums(Answer(e, "report").one("ledger"))
    Answer(e, "check-state")
    e.check_same()


def _stop(run):
    """Ctrl-C while errors are left, which run.stop() takes for an error."""
    run.interrupt()
    run.wait_for("stopping")
    check(run.exit() == 3, "exit code after Ctrl-C")


def _ends(e, *argv):
    """In whatever way, but with one line that says why."""
    done = subprocess.run([program(), argv[0], e.state, *argv[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=sysx.die_with_parent, timeout=120)
    e.say("dmm %s: %d %s %s" % (" ".join(argv), done.returncode, done.stdout[-200:], done.stderr))
    check(done.returncode in (0, 1, 3, 5) and (not done.stderr or done.stderr.count("\n") == 1), done)


def _killed(e):
    """After kill -9: a stale socket, a dead mount."""
    run = e.run(hold=True)
    run.mounted()
    os.listdir(e.path("over"))
    time.sleep(1)
    run.kill_worker()
    check(run.exit() == 4, "exit code after kill -9")
    check(os.path.exists(e.state + "/control.sock"), "no stale socket to test with")
    ledger = Answer(e, "report").one("ledger")
    check(ledger["balanced"] and not ledger["worker"] and ledger["phase"] == "running", ledger)
    state = Answer(e, "check-state").one("state")
    check(state["rows"] and state["marks"] and not state["problems"], state)
    Answer(e, "verify")
    try:
        os.listdir(e.target)
        check(False, "the dead mount is gone: applications see the raw directory")
    except OSError as error:
        check(error.errno in (errno.ENOTCONN, errno.ECONNABORTED), error)


def balanced_all_the_time(e):
    """Reports beside a background at full speed and applications that overwrite, delete and create: no object is ever missing from one."""
    trees.mixed(e.source_dir, e.seed, 400 if e.quick else 4000)
    e.serve()
    delay = (200 if e.quick else 30) if e.kind == "file" else (800 if e.quick else 150)	# by how many requests are in flight
    run = e.run(hold=True, faults="read delay=%dms" % delay)
    run.mounted()
    paths = [os.path.join(d, f) for d, _, files in os.walk(os.fsencode(e.source_dir)) for f in files]
    e.random.shuffle(paths)
    _scribble(e, run, paths[:20])
    run.release_background()
    busy = Background(_scribble, e, run, paths[20:len(paths) // 3])
    count = moving = 0
    last = None
    while run.process.poll() is None:
        ledger = Answer(e, "report", quiet=True).one("ledger")
        _sums(ledger)
        check(ledger["balanced"], "unbalanced in the middle:", ledger)
        count += 1
        moving += last != ledger["states"]
        last = ledger["states"]
    busy.join()
    e.say("%d reports, %d of them different" % (count, moving))
    check(moving > (2 if e.quick else 5), "too quick to see anything")
    ledger = run.finish()["ledger"]
    e.say(ledger)
    check(ledger["deleted"] + ledger["overwritten"] > 3, "nothing was scribbled in time:", ledger)
    check(Answer(e, "report").one("ledger")["balanced"], "unbalanced in the end")
    Answer(e, "check-state")


def _scribble(e, run, paths):
    for path in paths:
        if run.find("all-here") or run.process.poll() is not None:
            return
        target = os.fsencode(e.target) + path[len(os.fsencode(e.source_dir)):]
        try:
            what = e.random.choice(("unlink", "truncate", "read"))
            if what == "unlink":
                os.unlink(target)
            elif os.path.isfile(target) and not os.path.islink(target):
                with open(target, "wb" if what == "truncate" else "rb") as f:
                    f.write(b"scribble") if what == "truncate" else f.read()
        except FileNotFoundError:
            pass


def retry_refused(e):
    """What an application has changed is not mixed with another version: refused, and given up under a name that says so."""
    os.mkdir(e.source_dir + "/d")
    for name in ("big", "other"):
        with open("%s/d/%s" % (e.source_dir, name), "wb") as f:
            f.write(os.urandom(32 << 20))
    e.serve()
    faults = _faults(e, "")
    run = e.run("--whole-file-limit", "64K", hold=True, faults="@" + faults)
    run.mounted()
    mine = os.urandom(2 << 20)
    with open(e.path("d", "big"), "r+b", buffering=0) as f:
        f.write(mine)
        os.fsync(f.fileno())
    _set_faults(run, faults, "read name=big err=EACCES")
    run.release_background()
    run.wait_for("errors-left", 60)
    _set_faults(run, faults, "")
    refused = Answer(e, "retry", "d/big", expect=5).one("refused")
    check(refused["errno"] == "EBUSY" and "give" in refused["text"], refused)
    check(Answer(e, "report").names("quarantined") == ["d/big"], "after a refusal")
    given = Answer(e, "retry", "d/big", "--give-up").one("given-up")
    check("big.dmm-incomplete" in given["text"], given)
    check(run.process.wait(60) == 0, "exit code", run.process.returncode)
    check(sorted(os.listdir(e.path("d"))) == ["big.dmm-incomplete", "other"], os.listdir(e.path("d")))
    with open(e.path("d", "big.dmm-incomplete"), "rb") as f:
        check(f.read(len(mine)) == mine, "the application's bytes are lost")
    after = Answer(e, "report")
    check(after.names("failed") == ["d/big"] and after.one("ledger")["balanced"], after.events)
    check("d/big" in text(e, "report", e.state), "the text does not name it")
    Answer(e, "check-state")
    Answer(e, "verify")
