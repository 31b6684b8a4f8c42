# SPDX-License-Identifier: GPL-3.0-or-later
"""
No room: the target's blocks, inodes or quota, a read-only remount, the catalog's disk, a flush that fails.

The background pauses with a state that can be read, quietly; applications meet ENOSPC only for their own writes; room alone lets it
go on; nothing is lost.
"""
import errno
import os
import signal
import time

from lib import compare, dmm, fs, sysx, trees
from lib.env import Failed, check, sh
from lib.proc import Meter


def _small(e, size="512M", **options):
    """A target file system that can be filled."""
    small = e.add(fs.LoopFs(e.work, options.pop("kind", e.target_kind), size=size, name="small", **options))
    e.target = small.path + "/data"
    os.mkdir(e.target)
    return small


def _fill(directory, leave):
    """A file that takes all room of a file system but so many bytes.  Its path."""
    path = directory + "/filler"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    size = 0
    step = 64 << 20
    while step >= 4096:
        v = os.statvfs(directory)
        step = min(step, (v.f_bavail * v.f_frsize - leave) & ~4095)
        if step < 4096:
            break
        try:
            sysx.fallocate(fd, 0, size, step)
            size += step
        except OSError as error:
            check(error.errno == errno.ENOSPC, error)
            step //= 2
    os.fsync(fd)
    os.close(fd)
    return path


def _tree(e, files, size=1 << 20):
    """A mixed tree, so many larger files, and a few names for the application."""
    trees.mixed(e.source_dir, e.seed, 100 if e.quick else 300)
    for i in range(files):
        trees.patterned(e.source_dir + "/bulk %02d" % i, size, e.seed + i, size)
    for name in ("here", "here to delete", "cold to delete", "cold to chmod", "cold to rename", "cold to read"):
        with open(e.source_dir + "/" + name, "wb") as f:
            f.write(e.random.randbytes(30000))
    trees.Tree(e.source_dir, e.seed).close_directories()


def _read(path):
    with open(path, "rb") as f:
        return f.read()


def _no_space(function, *args):
    try:
        function(*args)
    except OSError as error:
        check(error.errno in (errno.ENOSPC, errno.EDQUOT), "an application's write says", error)
        return
    raise Failed("an application's write finds room on a full disk")


def _write_much(path, size):
    with open(path, "wb", buffering=0) as f:
        while size > 0:
            size -= f.write(b"a" * (1 << 20))
        os.fsync(f.fileno())


def _begin(e, faults="", **options):
    """A run that holds back the content of cold files until _applications() is through."""
    e.rules = str(e.work) + "/faults"
    with open(e.rules, "w") as f:
        f.write("read name=cold* stall\n" + faults)
    run = e.run(hold=True, faults="@" + e.rules, **options)
    run.mounted()
    for name in ("here", "here to delete"):
        check(_read(e.path(name)) == _read(e.source_dir + "/" + name), name)
    check(len(os.listdir(e.target)) > 10)	# the names are here; directories below are not listed
    return run


def _applications(e, run, expected, changes=True):
    """While there is no room: reads of what is here and deletes go on, renames and modes, too.  Fills in what the end must show."""
    check(_read(e.path("here")) == _read(e.source_dir + "/here"), "a complete file reads")
    check(len(os.listdir(e.target)) > 10, "the directory lists")
    if changes:
        for name in ("here to delete", "cold to delete"):
            os.unlink(e.path(name))
            expected[name.encode()] = compare.DELETED
        os.rename(e.path("cold to rename"), e.path("cold renamed"))
        expected[b"cold to rename"] = compare.DELETED
        expected[b"cold renamed"] = _read(e.source_dir + "/cold to rename")
        os.chmod(e.path("cold to chmod"), 0o640)
    with open(e.rules, "w"):
        pass
    os.kill(run.worker, signal.SIGHUP)


def _is_quiet(e, run, seconds=4, share=0.2):
    """It waits: no CPU, and the source is left in peace."""
    before = run.status()["source"]["ops"]["background"]
    with Meter(run.worker) as meter:
        time.sleep(seconds)
    after = run.status()["source"]["ops"]["background"]
    asked = sum(after.values()) - sum(before.values())
    e.say("paused: %s, %d requests to the source" % (meter, asked))
    check(e.quick or meter.share() < share, "spins while it waits:", meter)
    check(asked <= 12 * seconds, "asks the source while it waits:", before, after)


def _finish(e, run, expected, **rules):
    final = run.finish(120)
    check(not final["ledger"]["failed"] and not run.all("quarantined"), final, run.all("quarantined")[:3])
    e.say("ledger:", final["ledger"])
    e.check_plain()
    if b"cold renamed" in expected:
        os.chmod(e.source_dir + "/cold to chmod", 0o640)	# as the application did; the reference from now on
    e.check_same(expected=expected, **dict({"ignore_directory_mtime": [b""]}, **rules))


def target_full(e):
    """No room on the target, then room again."""
    small = _small(e)
    _tree(e, 24 if e.quick else 60)
    trees.patterned(e.source_dir + "/large", 12 << 20, e.seed)
    e.serve()
    run = _begin(e)
    filler = _fill(small.path, 16 << 20)
    run.release_background()
    full = run.wait_for("target-full", 60)
    e.say(full["text"])
    run.wait_for("status", 10, lambda s: s["target_full"])
    _fill_rest(small)
    expected = {}
    _applications(e, run, expected)
    own = e.path("application's own")
    _no_space(_write_much, own, 64 << 20)
    if os.path.exists(own):
        os.unlink(own)
    _fill_rest(small)
    _is_quiet(e, run)
    status = run.status()
    check(status["target_full"] and not status["quarantined"], status)
    check(len(run.all("target-full")) <= 3, "says it again and again:", len(run.all("target-full")))
    for path in (filler, filler + " 2"):
        if os.path.exists(path):
            os.unlink(path)
    started, full = time.monotonic(), run.status()["background_bytes"]
    while run.process.poll() is None and run.find("status")["background_bytes"] < full + (2 << 20):
        check(time.monotonic() < started + 30, "does not go on although there is room")
        time.sleep(0.1)
    e.say("goes on %.1f s after there was room" % (time.monotonic() - started))
    _finish(e, run, expected)


def _fill_rest(small):
    """To the last block, whoever has given some back meanwhile."""
    path = small.path + "/filler 2"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        at = os.fstat(fd).st_size
        while True:
            at += os.pwrite(fd, b"f" * 65536, at)
    except OSError as error:
        check(error.errno == errno.ENOSPC, error)
    finally:
        try:
            os.fsync(fd)
        except OSError:
            pass
        os.close(fd)


def no_inodes(e):
    """Blocks are plenty, inodes are not (ext4)."""
    inodes = 1000
    small = _small(e, kind="ext4", mkfs=["-N", str(inodes)])
    _tree(e, 4)
    trees.wide(e.source_dir + "/", 300, per_directory=40, data=b"x")
    e.serve()
    run = _begin(e)
    os.mkdir(small.path + "/filler")
    left = 200
    for i in range(os.statvfs(small.path).f_ffree - left):
        os.close(os.open(small.path + "/filler/%d" % i, os.O_CREAT | os.O_WRONLY))
    run.release_background()
    e.say(run.wait_for("target-full", 60)["text"])
    expected = {}
    _applications(e, run, expected)
    made = []
    try:
        while True:
            with open(e.path("application's own %d" % len(made)), "x"):
                made.append(e.path("application's own %d" % len(made)))
    except OSError as error:
        check(error.errno == errno.ENOSPC, error)
    before = -1		# content of what has a stub still arrives
    while before != (now := run.status()["background_bytes"]):
        before = now
        time.sleep(1)
    _is_quiet(e, run)
    for path in made:
        os.unlink(path)
    with os.scandir(small.path + "/filler") as entries:
        for entry in entries:
            os.unlink(entry.path)
    _finish(e, run, expected)


def _limit(e, group, size):
    """A quota of btrfs binds root, too."""
    sh("btrfs qgroup limit %s %s '%s'" % (size, group, e.target_fs.path))


def quota(e):
    """The quota on the target is used up: a real one on btrfs, a fault point elsewhere."""
    real = e.target_kind == "btrfs"
    _tree(e, 20)
    e.serve()
    if real:
        os.rmdir(e.target)
        sh("btrfs subvolume create '%s' && btrfs quota enable '%s'" % (e.target, e.target))
        group = "0/" + sh("btrfs inspect-internal rootid '%s'" % e.target).strip()
    points = str(e.work) + "/points"
    with open(points, "w") as f:
        f.write("" if real else "target.land error=EDQUOT after=5")
    run = _begin(e, env={"DMM_POINTS": "@" + points})
    if real:
        _limit(e, group, "10M")
    run.release_background()
    told = run.wait_for("target-full", 60)
    e.say(told["text"])
    check("quota exceeded" in told["text"], told)
    expected = {}
    _applications(e, run, expected, changes=not real)	# btrfs itself refuses even deletes then
    _is_quiet(e, run)
    check(not run.status()["quarantined"], run.all("quarantined")[:3])
    if real:
        _limit(e, group, "none")
    else:
        with open(points, "w"):
            pass
        os.kill(run.worker, signal.SIGHUP)
    _finish(e, run, expected)


def _remount_ro(e, mounted, limit=20):
    """A descriptor open for writing makes the kernel refuse: try until a moment without one."""
    end = time.monotonic() + limit
    tries = 0
    while time.monotonic() < end:
        tries += 1
        if mounted.remount("ro"):
            return tries
        time.sleep(0.002)
    raise Failed("cannot be remounted read-only within %g s" % limit)


def _read_only(function, *args):
    try:
        function(*args)
    except OSError as error:
        check(error.errno == errno.EROFS, "an application's write on a read-only disk says", error)
        return
    raise Failed("an application's write succeeds on a read-only disk")


def read_only(e):
    """The target's file system becomes read-only in the middle, and read-write again: first while idle, then while it works."""
    _tree(e, 30)
    e.serve()
    run = _begin(e, faults="read every=3 delay=20ms")
    expected = {}
    for number in range(2):
        tries = _remount_ro(e, e.target_fs)
        e.say("read-only (%d tries)" % tries)
        if not number:
            run.release_background()
        told = run.wait_for("target-read-only", 30, lambda event, n=number: len(run.all("target-read-only")) > n)
        check("read-write" in told["text"], told)
        check(_read(e.path("here")) == _read(e.source_dir + "/here"), "a complete file reads")
        check(len(os.listdir(e.target)) > 10, "the directory lists")
        _read_only(os.unlink, e.path("here"))
        _read_only(os.mkdir, e.path("new directory %d" % number))
        _is_quiet(e, run, 3)
        check(not run.all("quarantined"), "quarantined:", run.all("quarantined")[:3])
        check(e.target_fs.remount("rw"), "cannot be remounted read-write")
        run.wait_for("target-room", 30, lambda event, n=number: len(run.all("target-room")) > n)
        time.sleep(0.3)
    _applications(e, run, expected)
    _finish(e, run, expected)


def catalog_full(e):
    """The state directory's disk is full: nothing can be recorded, applications can still delete."""
    disk = e.add(fs.LoopFs(e.work, "ext4", size="32M", name="state"))
    e.state = disk.path + "/state"
    _tree(e, 10)
    trees.wide(e.source_dir + "/", 1500 if e.quick else 6000, data=b"x")
    e.serve()
    run = _begin(e)
    filler = _fill(disk.path, 0)
    _fill_rest(disk)
    run.release_background()
    e.say(run.wait_for("catalog-full", 60)["text"])
    with Meter(run.worker) as meter:
        time.sleep(4)
    e.say("paused:", meter)
    check(e.quick or meter.share() < 0.3, "spins while it waits:", meter)
    landed = run.status()
    time.sleep(3)
    now = run.status()
    check(now["background_bytes"] - landed["background_bytes"] < 4 << 20, "the background goes on without a record:",
          landed["background_bytes"], now["background_bytes"])
    expected = {}
    _applications(e, run, expected)
    for i in range(20):	# each is an intent that must be durable first
        name = "d00000/f%05d" % i
        os.unlink(e.path(name))
        expected[name.encode()] = compare.DELETED
    for path in (filler, filler + " 2"):
        os.unlink(path)
    run.wait_for("catalog-room", 30)
    _finish(e, run, expected, ignore_directory_mtime=[b"", b"d00000"])


def failed_flush(e):
    """A flush fails: one clear line, and the next run fetches again what was not recorded."""
    _tree(e, 6)
    trees.wide(e.source_dir + "/", 400, per_directory=50, data=b"x")
    for name in os.listdir(e.source_dir):
        if name.startswith("d0"):
            os.utime(e.source_dir + "/" + name, ns=(7, 7))
    e.serve()
    for number, point in enumerate(("target.sync-one error=EIO times=1", "target.sync-all error=EIO after=1 times=1",
                                    "catalog.flush error=EIO after=4 times=1", "target.sync-all error=ENOSPC after=2 times=1")):
        run = e.run(env={"DMM_POINTS": point}, hold=True, faults="read name=cold* stall")
        run.mounted()
        try:
            os.chmod(e.path("d%05d/f00001" % number), 0o600)	# waits for its record: a flush of its own
        except OSError as error:
            check(error.errno in (errno.EIO, errno.ENOTCONN, errno.ECONNABORTED), error)
        else:
            os.kill(run.worker, signal.SIGUSR2)
        code = run.exit(60)
        final = next(event for event in reversed(run.events) if event["event"] in dmm.FINAL)
        e.say(point, "->", final.get("text"))
        check(code == 1 and final["event"] == "error", code, final)
        check("again" in final["text"] and "\n" not in final["text"], "not a clear line:", final)
        check(len(run.stderr().splitlines()) <= 2, "more than one line:", run.stderr())
    run = e.run()
    run.finish(120)
    check(not run.all("quarantined"), run.all("quarantined")[:3])
    e.check_plain()
    for number in range(4):
        name = "/d%05d/f00001" % number
        mode = os.stat(e.target + name).st_mode & 0o7777
        check(mode in (0o600, 0o644), "%o" % mode)
        os.chmod(e.source_dir + name, mode)
    e.check_same()
