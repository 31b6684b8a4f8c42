# SPDX-License-Identifier: GPL-3.0-or-later
"""What stops a migration, and how it goes on: Ctrl-C, kill -9, a server that is gone."""
import errno
import os
import stat
import time

from lib import compare, sysx, trees
from lib.env import Background, check


def _application(e, number):
    """A few changes to cold objects; returns what the end must show."""
    expected = {}

    def pick(kind):
        names = sorted(n for n in os.listdir(os.fsencode(e.source_dir)) if n.startswith(b"app-%d-" % number))
        return [n for n in names if n.endswith(kind)]
    for name in pick(b"write"):
        with open(e.path(os.fsdecode(name)), "r+b") as f:
            f.seek(5)
            f.write(b"application")
        with open(os.fsencode(e.source_dir) + b"/" + name, "rb") as f:
            old = f.read()
        expected[name] = old[:5] + b"application" + old[16:]
    for name in pick(b"delete"):
        os.unlink(e.path(os.fsdecode(name)))
        expected[name] = compare.DELETED
    for name in pick(b"trunc"):
        with open(e.path(os.fsdecode(name)), "wb") as f:
            f.write(b"short")
        expected[name] = b"short"
    for name in pick(b"rename"):
        os.rename(e.path(os.fsdecode(name)), e.path(os.fsdecode(name) + "d"))
        expected[name] = compare.DELETED
        with open(os.fsencode(e.source_dir) + b"/" + name, "rb") as f:
            expected[name + b"d"] = f.read()
    new = b"new by application %d" % number
    with open(e.path(os.fsdecode(new)), "wb") as f:
        f.write(new)
    expected[new] = new
    return expected


# These come last, however fast the rest: nothing is over before it is stopped, and everything is listed
# long before everything is here.
_SLOW = "read name=slow* delay=100s"


def _source(e, objects):
    trees.mixed(e.source_dir, e.seed, objects)
    for number in range(4):
        for kind in ("write", "delete", "trunc", "rename"):
            for i in range(3):
                with open(e.source_dir + "/app-%d-%d-%s" % (number, i, kind), "wb") as f:
                    f.write(os.urandom(e.random.choice((20, 5000, 70000))))
    for i in range(40):
        with open(e.source_dir + "/slow %d" % i, "wb") as f:
            f.write(os.urandom(9000))


def _check_guarded(e):
    """Between runs: no mount, and the raw root is closed to applications."""
    check(not sysx.mounts_below(os.fsencode(e.target)), "still mounted")
    mode = stat.S_IMODE(os.stat(e.target).st_mode)
    check(mode == 0, "the raw root of an unfinished migration has mode %o" % mode)


def ctrl_c_and_continue(e):
    """Ctrl-C in the middle; the same command line continues, and lists no directory twice."""
    _source(e, 300 if e.quick else 800)
    e.serve()
    run = e.run(faults=_SLOW)
    run.mounted()
    expected = _application(e, 0)
    run.wait_for("status", 90, lambda s: not s["directories_left"] and 100 < s["here_objects"] < s["found_objects"])
    last = run.stop(15)
    check(last["mounted"], last)
    before = run.all("status")[-1]
    _check_guarded(e)
    e.say("stopped at %d of %d objects" % (before["here_objects"], before["found_objects"]))
    # Everything was listed: nothing may be listed again.
    run = e.run(faults=_SLOW)
    check(run.mounted()["continued"], "does not say that it continues")
    expected.update(_application(e, 1))
    ops = run.source_ops()
    run.stop(15)
    check(not any(lane["readdir"] for lane in ops.values()), "lists again:", ops)
    _check_guarded(e)
    run = e.run()
    final = run.finish()
    ops = (run.find("status") or {"source": {"ops": {}}})["source"]["ops"]
    check(not any(lane["readdir"] for lane in ops.values()), "lists again:", ops)
    e.say("ledger:", final["ledger"])
    e.check_plain()
    e.check_same(expected=expected, ignore_directory_mtime=[b""])


def ctrl_c_any_time(e):
    """Ctrl-C at arbitrary moments, also before there is a mount."""
    _source(e, 150 if e.quick else 1000)
    e.serve()
    expected = {}
    for number, pause in enumerate([0, 0.03] + [e.random.uniform(0, 1.2) for _ in range(4)]):
        run = e.run(faults=_SLOW + "; any delay=20ms")
        run.wait_for("starting")
        time.sleep(pause)
        if number >= 2:
            run.mounted()
            expected.update(_application(e, number - 2))
            time.sleep(e.random.uniform(0, 0.3))
        run.interrupt()
        code = run.exit()
        check(code == 3, "exit code", code, "after Ctrl-C %.2f s after the start" % pause)
        check(not sysx.mounts_below(os.fsencode(e.target)), "still mounted")
    run = e.run()
    run.finish()
    e.check_plain()
    e.check_same(expected=expected, ignore_directory_mtime=[b""])


def ctrl_c_at_start(e):
    """Ctrl-C in each of the first milliseconds: the same command line must be able to begin."""
    trees.mixed(e.source_dir, e.seed, 40)
    e.serve()
    for number in range(15 if e.quick else 30):
        target, state = "%s/target %d" % (e.target_fs.path, number), "%s/state %d" % (e.work, number)
        os.mkdir(target)
        run = e.run(target=target, state=state, hold=True)
        run.wait_for("starting")
        time.sleep(number * (0.02 if e.quick else 0.004))
        run.interrupt()
        check(run.exit() == 3, "exit code after Ctrl-C")
        run = e.run(target=target, state=state, hold=True)
        run.mounted()
        check(os.listdir(target), "an empty mount")
        run.stop()


def kill9_and_continue(e):
    """kill -9 of the worker at arbitrary moments: the next run cleans the dead mount and loses nothing."""
    _source(e, 200 if e.quick else 1500)
    e.serve()
    expected = {}
    for number in range(4):
        run = e.run(faults=_SLOW + "; read delay=100ms")
        mounted = run.mounted()
        check(mounted["continued"] == bool(number), mounted)
        if number:
            check(run.find("cleaned-dead-mount"), "did not say that it cleaned the dead mount")
        expected.update(_application(e, number))
        time.sleep(e.random.uniform(0, 1.5))
        run.kill_worker()
        check(run.exit() == 4, "exit code after kill -9 of the worker")
        try:
            os.listdir(e.target)
            check(False, "the dead mount answers")
        except OSError as error:
            check(error.errno in (errno.ENOTCONN, errno.ECONNABORTED), error)
    run = e.run()
    final = run.finish()
    e.say("ledger:", final["ledger"])
    e.check_plain()
    e.check_same(expected=expected, ignore_directory_mtime=[b""])


def server_vanishes(e):
    """The server is killed, then frozen, for some seconds: everything waits, nothing fails."""
    trees.mixed(e.source_dir, e.seed, 200 if e.quick else 1500)
    contents = {}
    for i in range(8):
        contents[i] = os.urandom(300000)
        with open(e.source_dir + "/cold %d" % i, "wb") as f:
            f.write(contents[i])
    e.serve()
    run = e.run(hold=True)
    run.mounted()

    def read(i):
        with open(e.path("cold %d" % i), "rb") as f:
            return f.read()
    check(read(0) == contents[0])
    os.stat(e.path("cold 1"))
    for number, (away, back) in enumerate(((e.server.kill, e.server.restart), (e.server.freeze, e.server.thaw)), 1):
        away()
        reader = Background(read, number)
        lister = Background(os.listdir, e.target)
        time.sleep(4)
        check(reader.alive(), "a cold read ended without a server")
        check(read(0) == contents[0], "what is here reads")
        os.stat(e.path("cold 0"))
        back()
        check(reader.join(60) == contents[number], "wrong bytes after the server came back")
        lister.join(60)
        e.say("a cold read waited for the server and got its bytes")
    trouble = run.all("source-trouble")
    check(trouble and run.all("source-back"), "no event tells of the trouble")
    run.release_background()
    for _ in range(2):
        time.sleep(0.15)
        e.server.kill()
        time.sleep(2)
        e.server.restart()
    run.finish(180)
    check(not run.all("quarantined"), "objects were quarantined:", run.all("quarantined")[:3])
    e.check_plain()
    e.check_same()
