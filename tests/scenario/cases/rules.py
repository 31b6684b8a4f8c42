# SPDX-License-Identifier: GPL-3.0-or-later
"""
Every sequence that broke an earlier version of the durability rules D1-D9, replayed.

A story stops the worker at a named fault point, cuts the power where it needs to, lets the next run finish, and looks at
what is left.  It is told twice: with the rule, where nothing may be wrong, and with the rule switched off
(`rule.NAME skip` and the like in DMM_POINTS), where it must find something, otherwise it proves nothing.

Stories that hold everywhere are told on every kind of file system; without the rule only where the file system is known
to punish it (`punished`), and what every one punishes only on ext4.  Environment:

  DMM_TEST_RULE=TEXT	only stories whose name contains it, with all their controls
  DMM_ALL=1		all controls on every file system
"""
import errno
import os
import shutil
import signal
import stat
import struct
import subprocess
import threading
import time
from concurrent import futures

from lib import compare, dmm, powercut, sysx
from lib.env import check
from lib.story import OLD, Story, quietly, read, sync_directory, wait_stopped, write_at

_PARALLEL = 3	# a story mostly waits
_SLOW_GROUPS = "target.sync-all delay=4s"	# no group is recorded before the story ends
_DIES_BEFORE_RECORD = "target.sync-all delay=400ms; group.flushed kill"	# the application has 400 ms for what it does
_EVERY = powercut.KINDS
STORIES = []


def story(rule, off, kinds=_EVERY, punished=None, state_apart=False):
    """
    `off` switches the rule off ("": there is nothing to switch).  state_apart: the state directory is on another disk, whose
    flushes do not commit the journal under test.
    """
    def add(function):
        STORIES.append((rule, function, off, kinds, kinds if punished is None else punished, state_apart))
        return function
    return add


def _recorded(run):
    """What is known is recorded by a group: an idle worker takes 100 ms to begin one."""
    time.sleep(0.4)


# ---- D1: identity travels with the inode ----

@story("D1 torn stub", "rule.reserved-owner skip", punished=("ext4", "xfs"))
def torn_stub(s):
    """After create, another file's fsync and a cut an empty file without mark remains."""
    s.file("f")
    s.dies(s.run("stub.created kill"), os.stat, s.path("f"))
    s.neighbour()
    s.power()
    left = s.raw("f")
    check(left and not left[0].st_size and left[1] is None, "the cut did not leave a torn stub but", left)
    s.finish()


@story("D1 torn directory", "rule.reserved-owner skip", kinds=("ext4", "xfs"))
def torn_directory(s):
    s.directory("d", "f")
    s.dies(s.run("stub.created kill"), os.stat, s.path("d"))
    s.neighbour()
    s.power()
    left = s.raw("d")
    check(left and left[1] is None, "the cut did not leave a torn directory but", left)
    s.finish()


def _adopt(s, points, touch):
    s.directory("d", "f")
    s.dies(s.run(points), touch, s.path("d"))
    s.unmount()
    left = s.raw("d")
    check(left and left[1], "there is no stub to adopt:", left)
    # Somebody got in before the guard, or a worker without rule D3: whatever it is, it stays.
    with open(s.path("d", "application"), "wb") as f:
        f.write(b"fsynced")
        f.flush()
        os.fsync(f.fileno())
    sync_directory(s.path("d"))
    sync_directory(s.target)
    inode = os.stat(s.path("d")).st_ino
    s.power()
    s.finish({b"d/application": b"fsynced"}, (b"", b"d"))
    s.expect(os.stat(s.path("d")).st_ino == inode, "the directory is another inode now")


@story("D1 adopt after a group's flush", "rule.adopt skip")
def adopt_group(s):
    _adopt(s, "group.flushed kill", os.stat)


@story("D1 adopt after an urgent flush", "rule.adopt skip")
def adopt_urgent(s):
    _adopt(s, _SLOW_GROUPS + "; urgent.flushed kill", lambda path: os.chmod(path, 0o700))


def _oids(s, *names):
    marks = [s.raw(n) for n in names]
    check(all(m and m[1] for m in marks), "stubs without marks:", marks)
    return {struct.unpack_from("<Q", m[1], 24)[0] for m in marks}


@story("D1 oids are never used again", "rule.oids-ahead skip")
def oids(s):
    """Stubs whose rows were lost keep their oids; what is made after the crash must not get the same."""
    for name in "abcdef":
        s.file(name, b"of " + name.encode())
    for names in ("abc", "def"):
        def look(names=names):
            for name in names:
                os.stat(s.path(name))
        s.dies(s.run(_DIES_BEFORE_RECORD), look)
        s.neighbour()
        sysx.syncfs(s.disk.path)
        s.power()
    s.expect(len(_oids(s, *"abcdef")) == 6, "an oid was given twice:", _oids(s, *"abcdef"))
    s.finish()


# ---- D2: the catalog says what is resident; the data is there first ----

@story("D2 a failed flush", "rule.failed-flush skip", punished=("ext4", "xfs"))
def failed_flush(s):
    """After EIO a repeated syncfs succeeds without the data: nothing since the last good one is resident."""
    for i in range(20):
        s.file("f%d" % i)
    run = s.run("target.sync-all error=EIO after=1 times=1; target.sync-all skip; clean.begin kill", hold=False)
    run.process.wait(20)	# refuses to go on, or dies when it has recorded the files
    check(run.exit(5) in (dmm.EXIT["error"], dmm.EXIT["worker-died"]), "ended well after a failed flush")
    s.power()
    s.finish()


@story("D2 a state directory from a copy", "rule.stamps skip")
def stamps(s):
    """An older copy of the state directory does not know what applications changed since."""
    for name in "abc":
        s.file(name)
    run = s.run()
    os.stat(s.path("a"))
    _recorded(run)
    run.stop()
    shutil.copytree(s.state, s.state + ".copy", ignore=shutil.ignore_patterns("*.sock"))
    run = s.run()
    write_at(s.path("a"), 0, b"application")
    for name in "bc":	# some groups further
        os.stat(s.path(name))
        _recorded(run)
    run.stop()
    shutil.rmtree(s.state)
    os.rename(s.state + ".copy", s.state)
    try:
        run = s.run(hold=False)
    except dmm.Unexpected:
        s.refused("restored from a copy")
        return
    s.complain("starts with a state directory from a copy")
    run.abandon()


# ---- D3: an application's change waits for the record ----

@story("D3a deleted names stay deleted", "rule.change-waits skip")
def names(s):
    """A listed cold file is deleted; listing must not bring the name back."""
    s.file("f")
    s.file("other")
    run = s.run(_DIES_BEFORE_RECORD)
    os.stat(s.path("f"))
    os.unlink(s.path("f"))
    sync_directory(s.target)
    s.dies(run)
    s.power()
    s.finish({b"f": compare.DELETED})


@story("D3a renamed names stay renamed", "rule.change-waits skip")
def renames(s):
    data = s.file("f")
    run = s.run(_DIES_BEFORE_RECORD)
    os.rename(s.path("f"), s.path("g"))
    sync_directory(s.target)
    s.dies(run)
    s.power()
    s.finish({b"f": compare.DELETED, b"g": data})


@story("D3a a link's name that nobody claimed yet", "rule.claim-links skip")
def claim_links(s):
    """The worker dies between making a further name of an object and recording it; then the application removes that name."""
    s.file("a")
    s.link("a", "b")
    run = s.run("admit.linked kill")
    os.stat(s.path("a"))
    _recorded(run)
    s.dies(run, os.stat, s.path("b"))
    s.unmount()
    check(s.raw("b"), "there is no second name")
    run = s.run()
    os.unlink(s.path("b"))
    run.release_background()
    s.finish({b"b": compare.DELETED}, run=run)


@story("D3a changes of attributes stay", "rule.change-waits skip")
def attributes(s):
    """An adopted stub is dressed again: what an application set before its record would be undone."""
    s.file("f")
    run = s.run(_DIES_BEFORE_RECORD)
    os.chmod(s.path("f"), 0o640)
    fd = os.open(s.path("f"), os.O_RDONLY | os.O_NONBLOCK)
    os.fsync(fd)
    os.close(fd)
    sync_directory(s.target)
    s.dies(run)
    s.power()
    s.finish({b"f": compare.CHANGED})
    s.expect(stat.S_IMODE(os.stat(s.path("f")).st_mode) == 0o640, "the chmod is lost")


@story("D3a emptiness is judged after the listing", "rule.emptiness skip")
def emptiness(s):
    """A cold directory looks empty on the target."""
    s.directory("d", "f")
    s.directory("e", "f")
    s.directory("new")
    run = s.run()
    for act in (lambda: os.rmdir(s.path("d")), lambda: os.rename(s.path("new"), s.path("e"))):
        try:
            act()
            s.complain("a directory with files was replaced or removed as empty")
        except OSError as error:
            s.expect(error.errno in (errno.ENOTEMPTY, errno.EEXIST), error)	# xfs says EEXIST to a rename
    run.release_background()
    s.finish(run=run)


@story("D3a the source is asked before a name is added", "")
def ask_first(s):
    """
    Nothing is listed yet; a file of that name exists all the same.  Without the rule nothing breaks: the kernel looks a name up
    before it creates it, and that asks the source, too.
    """
    s.file("f")
    s.directory("d", "f")
    run = s.run()
    for name in ("f", "d/f"):
        try:
            os.close(os.open(s.path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            s.complain("a name that the source has was created anew")
        except FileExistsError:
            pass
    run.release_background()
    s.finish(run=run)


@story("D3b truncated, and as long as before", "truncate.limit skip")
def limit(s):
    """Truncated to nothing and extended to the old size: zeros, not the source's bytes."""
    size = len(s.file("f"))
    run = s.run(_DIES_BEFORE_RECORD)
    os.truncate(s.path("f"), 0)
    os.truncate(s.path("f"), size)
    fd = os.open(s.path("f"), os.O_RDONLY | os.O_NONBLOCK)
    os.fsync(fd)
    os.close(fd)
    s.dies(run)
    s.power()
    s.finish({b"f": bytes(size)})


def _rewrite(s):
    size = len(s.file("f"))
    new = b"A" * size
    run = s.run(_DIES_BEFORE_RECORD)
    write_at(s.path("f"), 0, new, flags=os.O_TRUNC)
    s.dies(run)
    s.power()
    s.finish({b"f": new})


@story("D3b O_TRUNC, rewritten to the old size", "truncate.limit skip; rule.content-recorded skip")
def rewrite(s):
    """An intent cannot tell this from nothing having happened."""
    _rewrite(s)


@story("D3b written before its record", "rule.content-recorded skip")
def content(s):
    """The file is here but not recorded; an application's byte must not be fetched over."""
    data = s.file("f")
    run = s.run(_DIES_BEFORE_RECORD)
    check(read(s.path("f")) == data, "wrong bytes")
    write_at(s.path("f"), 100, b"application")
    s.dies(run)
    s.power()
    s.finish({b"f": data[:100] + b"application" + data[111:]})


@story("D3b killed between a truncation and its limit", "rule.limit-is-size skip")
def limit_is_size(s):
    """The application finds its file empty after the crash; it must not grow back by itself."""
    s.file("f")
    s.dies(s.run("truncate.done kill"), os.truncate, s.path("f"), 0)
    s.unmount()
    run = s.run()
    seen = os.path.getsize(s.path("f"))
    run.release_background()
    s.finish({b"f": b"" if not seen else read(s.source + "/f")}, run=run)


_MIB = 1 << 20


@story("D3b a range written before its record", "rule.content-recorded skip")
def content_range(s):
    data = s.file("f", os.urandom(3 * _MIB))
    run = s.run(_DIES_BEFORE_RECORD, options=("--whole-file-limit", "1M"))
    with open(s.path("f"), "rb") as f:
        f.seek(_MIB)
        check(f.read(4096) == data[_MIB:_MIB + 4096], "wrong bytes")
    write_at(s.path("f"), _MIB + 100, b"application")
    s.dies(run)
    s.power()
    s.finish({b"f": data[:_MIB + 100] + b"application" + data[_MIB + 111:]})


@story("D3c a change does not pay for others' pages", "")
def cheap(s):
    """A chmod of a fresh stub pays for an fsync, never for a syncfs."""
    s.file("f")
    s.file("g")
    run = s.run(_SLOW_GROUPS)
    started = time.monotonic()
    os.chmod(s.path("f"), 0o600)
    took = time.monotonic() - started
    s.expect(took < 2, "a chmod took %.1f s while a syncfs takes 4" % took)
    s.kill(run)
    s.unmount()
    run = s.run(_SLOW_GROUPS + "; target.sync-one delay=500ms")
    started = time.monotonic()
    os.chmod(s.path("g"), 0o600)
    took = time.monotonic() - started
    s.expect(took >= 0.5, "a chmod took %.3f s while an fsync takes 0.5: it did not wait for one" % took)
    s.kill(run)


@story("D3c the stub is flushed, too", "rule.flush-stub skip", punished=("btrfs",), state_apart=True)
def flush_stub(s):
    """btrfs: fsync of the directory alone leaves stubs with size 0, which then counts as a truncation."""
    s.file("f")
    s.run().stop()
    sysx.syncfs(s.disk.path)
    run = s.run(_SLOW_GROUPS)
    os.chmod(s.path("f"), 0o600)
    s.kill(run)
    s.power()
    left = s.raw("f")
    check(left and left[1], "there is no stub after the cut:", left)
    s.finish({b"f": compare.CHANGED})
    s.expect(os.path.getsize(s.path("f")) == 5000, "the file has %d bytes" % os.path.getsize(s.path("f")))
    s.expect(read(s.path("f")) == read(s.source + "/f"), "wrong bytes")


# ---- D4: complete is one-way ----

@story("D4 data before the record", "target.sync-all skip; target.sync-one skip", punished=("ext4", "xfs"))
def data_first(s):
    """The file is opened for writing, so it is recorded at once; then the power goes."""
    s.file("f", os.urandom(300000))
    run = s.run()
    os.close(os.open(s.path("f"), os.O_RDWR))
    s.kill(run)
    s.power()
    s.finish()


@story("D4 fsync, not fdatasync", "target.sync-metadata skip", punished=("ext4",), state_apart=True)
def metadata(s):
    """
    ext4: data written back, then the time put back, then fdatasync: after a cut the file has the time of fetching.
    The state directory is elsewhere and the stub recorded before: flushes of either would commit ext4's journal, and the
    time with it.
    """
    s.file("f")
    run = s.run()
    os.stat(s.path("f"))
    run.stop()
    run = s.run(_SLOW_GROUPS + "; fetch.whole delay=600ms")
    opened = threading.Thread(target=lambda: os.close(os.open(s.path("f"), os.O_RDWR)))
    opened.start()
    time.sleep(0.3)
    sysx.syncfs(s.disk.path)
    opened.join(10)
    s.kill(run)
    s.power()
    s.finish()


# ---- D5: deleted means the inode is gone ----

def _other_name(s, change, points=""):
    data = s.file("first")
    s.directory("late")
    s.link("first", "late/second")
    s.file("over")
    run = s.run(points)
    os.stat(s.path("first"))
    change(s)
    return run, data


def _unlink_first(s):
    os.unlink(s.path("first"))
    sync_directory(s.target)


def _rename_over_first(s):
    os.rename(s.path("over"), s.path("first"))
    sync_directory(s.target)


@story("D5 the last known name is deleted", "rule.hide-last-name skip")
def hide(s):
    """The source has another name of it, not discovered yet; it must come with all its bytes."""
    run, data = _other_name(s, _unlink_first)
    run.release_background()
    s.finish({b"first": compare.DELETED, b"late/second": data}, run=run)


@story("D5 the last known name is renamed over", "rule.hide-last-name skip")
def hide_rename(s):
    run, data = _other_name(s, _rename_over_first)
    run.release_background()
    s.finish({b"over": compare.DELETED, b"first": read(s.source + "/over"), b"late/second": data}, run=run)


@story("D5 hidden by rename", "rule.hide-by-rename skip", punished=("btrfs",), state_apart=True)
def hide_by_rename(s):
    """btrfs: link, unlink and fsync of the directory lose the inode."""
    s.directory("early", "first")
    data = read(s.source + "/early/first")
    s.directory("late")
    s.link("early/first", "late/second")
    run = s.run(_SLOW_GROUPS)
    os.chmod(s.path("early", "first"), 0o600)	# its row is durable
    sysx.syncfs(s.disk.path)
    os.unlink(s.path("early", "first"))
    sync_directory(s.path("early"))
    s.kill(run)
    s.power()
    s.finish({b"early/first": compare.DELETED, b"late/second": data}, (b"", b"early"))


def _intent(point, over):
    def tell(s):
        s.file("victim", b"the victim's bytes ")
        new = s.file("over", b"the other's bytes ")
        run = s.run(point + " kill")
        for name in ("victim", "over"):
            os.stat(s.path(name))
        _recorded(run)
        if over:
            s.dies(run, os.rename, s.path("over"), s.path("victim"))
        else:
            s.dies(run, os.unlink, s.path("victim"))
        s.unmount()
        gone = s.raw("over" if over else "victim") is None
        for i in range(4):	# the inode's number is somebody else's now: only a handle can tell
            os.mknod("%s/other-%d" % (s.disk.path, i), 0o600)
        check(gone == (not point.endswith("ready")), "the worker died at the wrong moment")
        expected = {}
        if gone and over:
            expected = {b"over": compare.DELETED, b"victim": new}
        elif gone:
            expected = {b"victim": compare.DELETED}
        final = s.finish(expected)
        if final:
            s.expect(final["ledger"]["deleted"] == int(gone), "the ledger says", final["ledger"])
    return tell


for _point in ("delete.ready", "delete.unlinked", "delete.done"):
    # Without the intent nothing tells a deleted object from a lost one.  Only where the inode is gone can that show.
    story("D5 intent, killed at " + _point, "rule.change-waits skip",
          punished=() if _point == "delete.ready" else _EVERY)(_intent(_point, False))
for _point in ("rename.ready", "rename.done"):
    story("D5 intent of a rename-over, killed at " + _point, "rule.change-waits skip",
          punished=() if _point == "rename.ready" else _EVERY)(_intent(_point, True))


# ---- D6: metadata comes back ----

@story("D6 fdatasync of an incomplete file", "rule.datasync-is-full skip", punished=("ext4",), state_apart=True)
def datasync(s):
    """ext4: setxattr, overwrite, fdatasync: the data is durable and the mark is not; then the source's time would come back."""
    data = s.file("f", os.urandom(3 * _MIB))
    run = s.run(options=("--whole-file-limit", "1M"))
    fd = os.open(s.path("f"), os.O_RDWR)
    check(os.pread(fd, 4096, 0) == data[:4096], "wrong bytes")
    _recorded(run)
    sysx.syncfs(s.disk.path)
    written = time.time()
    os.pwrite(fd, b"application", 0)
    os.fdatasync(fd)
    s.kill(run)
    quietly(os.close, fd)
    s.power()
    s.finish({b"f": b"application" + data[11:]})
    s.expect(os.stat(s.path("f")).st_mtime > written - 5, "the file of an application has the source's time")


@story("D6 times of an application win", "rule.app-times skip")
def app_times(s):
    """Set before the content came, and a crash between."""
    data = s.file("f")
    run = s.run(_SLOW_GROUPS)
    os.utime(s.path("f"), ns=(OLD + 7, OLD + 123456789))
    fd = os.open(s.path("f"), os.O_RDONLY | os.O_NONBLOCK)
    os.fsync(fd)
    os.close(fd)
    s.kill(run)
    s.power()
    s.finish({b"f": data})
    s.expect(os.stat(s.path("f")).st_mtime_ns == OLD + 123456789, "an application's time is lost")


@story("D6 changed after its times were set by hand", "rule.app-times skip")
def changed_after(s):
    """The time that was set by hand must not come back over the change."""
    data = s.file("f", os.urandom(3 * _MIB))
    run = s.run(_SLOW_GROUPS, options=("--whole-file-limit", "1M"))
    os.utime(s.path("f"), ns=(OLD + 7, OLD + 7))
    write_at(s.path("f"), 0, b"application")
    s.kill(run)
    s.power()
    s.finish({b"f": b"application" + data[11:]})
    s.expect(os.stat(s.path("f")).st_mtime > OLD / 10**9 + 1, "a changed file has a time from before the change")


@story("D6 times are put back", "rule.times-back skip")
def times_back(s):
    s.file("f")
    s.file("large", os.urandom(3 * _MIB))
    s.finish(run=s.run(hold=False))


# ---- D7: the source is checked ----

@story("D7 the source changes while it is fetched", "rule.check-source skip")
def check_source(s):
    """Never silently mixed from two versions."""
    old, new = bytes([1]) * (3 * _MIB), bytes([2]) * (3 * _MIB)
    s.file("f", old)
    run = s.run(options=("--whole-file-limit", "1M"))
    with open(s.path("f"), "rb") as f:
        check(f.read(10) == old[:10], "wrong bytes")
        with open(s.source + "/f", "r+b") as g:
            g.write(new)
        try:
            f.seek(2 * _MIB)
            mixed = f.read(10) != old[:10]
        except OSError:
            mixed = False
    s.expect(not mixed, "a reader saw two versions of the source in one file")
    run.release_background()
    try:
        run.finish(20)
    except dmm.Unexpected:
        check(run.all("quarantined"), "neither finished nor quarantined")
        return
    s.expect(read(s.path("f")) in (old, new), "the file is mixed from two versions of the source")


@story("D7 the directory changes while it is listed", "rule.same-directory skip")
def same_directory(s):
    """What comes into the directory between its first page and its last must not be missed."""
    os.mkdir(s.source + "/d")
    for i in range(300):
        os.close(os.open("%s/d/%06d" % (s.source, i), os.O_CREAT | os.O_WRONLY))
    run = s.run(hold=False, faults="readdir name=d after=1 count=1 delay=3s")
    run.wait_for("status", 30, lambda status: status["source"]["ops"]["background"]["readdir"] >= 3)	# two of the root, one of d
    for i in range(200):
        os.close(os.open("%s/d/late-%d" % (s.source, i), os.O_CREAT | os.O_WRONLY))
    s.finish(run=run)


# ---- D8: the ledger balances ----

@story("D8 no end while a stub exists", "rule.detach-waits skip")
def detach_waits(s):
    """A file that cannot be read is never left as a plausible file of zeros."""
    s.file("good")
    s.file("bad")
    run = s.run(hold=False, faults="read name=bad err=EACCES")
    try:
        run.process.wait(4)
        s.complain("ended although a file could not be brought over")
        return
    except subprocess.TimeoutExpired:
        check(run.find("errors-left"), "there are no errors left")
    s.expect(os.path.ismount(s.target), "the mount is gone")
    try:
        s.expect(read(s.path("bad")) == read(s.source + "/bad"), "wrong bytes without an error")
    except OSError as error:
        s.expect(error.errno == errno.EIO, error)
    run.abandon()
    s.finish()


# ---- D9: one writer ----

@story("D9 the old worker is stuck in a write", "rule.one-writer skip")
def one_writer(s):
    """
    Its mount was torn away by hand, and the state directory was copied, so that only the lock on the target is left
    to tell the new worker that the old one lives.
    """
    data = s.file("f")
    run = s.run("fetch.landed stop")
    reader = threading.Thread(target=lambda: quietly(read, s.path("f")), daemon=True)
    reader.start()
    wait_stopped(run.worker)
    shutil.copytree(s.state, s.state + ".copy", ignore=shutil.ignore_patterns("*.sock"))
    sysx.umount_lazy(s.target)
    try:
        try:
            second = s.run(state=s.state + ".copy")
            s.complain("a second worker started while the first was stuck in a write")
            second.abandon()
        except dmm.Unexpected:
            s.refused("already being migrated")
    finally:
        os.kill(run.worker, signal.SIGKILL)
        run.exit(30)
    s.unmount()
    s.finish({b"f": data})


# ---- telling them ----

_TRIES = 3


def _tell(e, function, kind, off, state_apart):
    with Story(e, kind, off, state_apart) as s:
        function(s)
    for run in s.runs:
        run.check_sanitizer()
        if off or not s.wrong:	# only what failed is worth a report
            e.runs.remove(run)
    return s.wrong


def _both(e, kind, everything, rule, function, off, kinds, punished, state_apart):
    """Returns what failed, or None."""
    started = time.monotonic()
    wrong = _tell(e, function, kind, "", state_apart)
    failure = "%s: %s" % (rule, "; ".join(wrong)) if wrong else None
    without = "-"
    if off and kind in punished and (everything or kind == "ext4" or punished != _EVERY):
        # A flush of the program's own, every 5 s, may happen to save what the missing rule would lose.
        found = next(filter(None, (_tell(e, function, kind, off, state_apart) for _ in range(_TRIES))), None)
        without = "without the rule: " + (found[0].replace("\n", " ")[:100] if found else "NOTHING WRONG")
        if not found:
            failure = failure or "%s: not caught without the rule (%s)" % (rule, off)
    e.say("%-4s %-48s %4.1f s  %s" % ("BAD" if failure else "good", rule, time.monotonic() - started, without))
    return failure


def rules(e):
    """Each story with the rule and, where it must show, without."""
    kind = e.target_kind
    part = os.environ.get("DMM_TEST_RULE", "")
    everything = bool(part or os.environ.get("DMM_ALL"))
    told = [s for s in STORIES if part in s[0] and kind in s[3]]
    with futures.ThreadPoolExecutor(_PARALLEL) as pool:
        failures = [f for f in pool.map(lambda s: _both(e, kind, everything, *s), told) if f]
    check(not failures, "\n".join(failures))
