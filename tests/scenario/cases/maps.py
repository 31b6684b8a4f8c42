# SPDX-License-Identifier: GPL-3.0-or-later
"""
Large files that are only partly here: every way to change one, each on a file of its own, beside the same on a plain twin.
Then the worker is killed, and what came of it must survive to the end.
"""
import errno
import fcntl
import mmap
import os
import time

from lib import fs, sysx
from lib.env import Failed, check

_SIZE = (6 << 20) + 4321
_DATA = bytes(i * 7 % 251 for i in range(70000))
_COLLAPSE, _INSERT = 8, 0x20


def _overwrite(fd):
    os.pwrite(fd, _DATA, (2 << 20) - 30000)


def _append(fd):
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    os.write(fd, _DATA)


def _shorter(fd):
    os.ftruncate(fd, (3 << 20) + 17)


def _shorter_longer(fd):
    os.ftruncate(fd, (3 << 20) + 17)
    os.ftruncate(fd, _SIZE)


def _longer(fd):
    os.ftruncate(fd, _SIZE + 100000)


def _punch(fd):
    sysx.fallocate(fd, sysx.FALLOC_KEEP_SIZE | sysx.FALLOC_PUNCH_HOLE, (1 << 20) + 1000, 2 << 20)


def _zero_range(fd):
    sysx.fallocate(fd, sysx.FALLOC_ZERO_RANGE, 4 << 20, 500000)


def _allocate(fd):
    sysx.fallocate(fd, 0, _SIZE - 1000, 300000)


def _allocate_keep(fd):
    sysx.fallocate(fd, sysx.FALLOC_KEEP_SIZE, 0, _SIZE + 300000)


def _mapped(fd):
    with mmap.mmap(fd, _SIZE) as m:
        m[(5 << 20) - 5:(5 << 20) + 5] = b"0123456789"
        m.flush()


def _copy_in(fd):
    with open(os.readlink("/proc/self/fd/%d" % fd) + ".from", "rb") as f:
        done = 0
        while done < len(_DATA):
            done += os.copy_file_range(f.fileno(), fd, len(_DATA) - done, done, (1 << 20) - 777 + done)


def _truncate_rewrite(fd):
    again = os.open("/proc/self/fd/%d" % fd, os.O_WRONLY | os.O_TRUNC)
    os.write(again, _DATA)
    os.close(again)


def _direct(fd):
    again = os.open("/proc/self/fd/%d" % fd, os.O_RDWR | os.O_DIRECT)
    with mmap.mmap(-1, 65536) as page:
        page[:] = b"D" * 65536
        check(os.pwrite(again, page, 3 << 20) == 65536)
        os.preadv(again, [page], (3 << 20) - 4096)
        check(page[4096:] == b"D" * 61440, "reading back through O_DIRECT")
    os.close(again)


def _synchronous(fd):
    again = os.open("/proc/self/fd/%d" % fd, os.O_WRONLY | os.O_DSYNC)
    os.pwrite(again, _DATA, 4444444)
    os.close(again)


CHANGES = (_overwrite, _append, _shorter, _shorter_longer, _longer, _punch, _zero_range, _allocate, _allocate_keep, _mapped, _copy_in,
           _truncate_rewrite, _direct, _synchronous)


def large_files_change(e):
    twin = e.add(fs.LoopFs(e.work, e.target_kind, name="twin")).path + "/data"
    os.mkdir(twin)
    for number, change in enumerate(CHANGES + (None,)):
        name = change.__name__.strip("_") if change else "ranges"
        block = os.urandom(_SIZE)
        for root in (e.source_dir, twin):
            with open(root + "/" + name, "wb") as f:
                f.write(block)
            if change is _copy_in:
                with open(root + "/" + name + ".from", "wb") as f:
                    f.write(_DATA[::-1])
    for name in os.listdir(twin):
        at = os.stat(e.source_dir + "/" + name)
        os.utime(twin + "/" + name, ns=(at.st_atime_ns, at.st_mtime_ns))
    e.serve()
    since = time.time()
    run = e.run("--whole-file-limit", "64K", hold=True, faults="read delay=15ms")
    run.mounted()
    for change in CHANGES:
        name = change.__name__.strip("_")
        for root in (e.target, twin):
            fd = os.open(root + "/" + name, os.O_RDWR)
            change(fd)
            os.close(fd)
        _agree(e, twin, name, range(0, _SIZE + 400000, 1234567))
    # What moves bytes inside a file never reaches a file system in user space: refused, and nothing has happened.
    fd = os.open(e.target + "/ranges", os.O_RDWR)
    for mode in (_COLLAPSE, _INSERT):
        try:
            sysx.fallocate(fd, mode, 1 << 20, 1 << 20)
            raise Failed("fallocate mode %d was not refused" % mode)
        except OSError as error:
            check(error.errno == errno.EOPNOTSUPP, error)
    os.close(fd)
    run.kill_worker()
    check(run.exit() == 4)
    run = e.run("--whole-file-limit", "64K")
    run.mounted()
    for change in CHANGES:
        _agree(e, twin, change.__name__.strip("_"), range(0, _SIZE + 400000, 777777))
    final = run.finish()
    changed = len(CHANGES) - 3	# appending, longer and allocating keep every byte of the source
    check(changed - 1 <= final["ledger"]["overwritten"] <= len(CHANGES), final["ledger"])
    check(final["ledger"]["migrated"] >= 2, final["ledger"])
    e.check_plain()
    e.check_same(reference=twin, mtime_since=since, blocks=False, ignore_directory_mtime=[b""])


def _agree(e, twin, name, offsets):
    fds = [os.open(root + "/" + name, os.O_RDONLY) for root in (e.target, twin)]
    try:
        sizes = [os.fstat(fd).st_size for fd in fds]
        check(sizes[0] == sizes[1], name, "sizes", sizes)
        for at in offsets:
            here, there = (os.pread(fd, 70000, at) for fd in fds)
            check(here == there, name, "differs at", at)
    finally:
        for fd in fds:
            os.close(fd)
