# SPDX-License-Identifier: GPL-3.0-or-later
"""
Power cuts: a disk that can be copied at any instant while everything runs on it.

    sparse file -> loop -> outer: xfs with reflink
                             live.img -> loop, direct I/O, sectors of 4096 -> the file system under test

A reflink copy of live.img takes the file's lock and waits for direct I/O in flight: it is one instant, and what the file
system under test had not sent to its device is not in it.  That is a power cut to a disk without a cache.

A disk with a cache (forgetful) has one layer more, and the cut copies the image of the middle:

    outer: middle.img -> loop, direct I/O -> middle: ext4
                                               disk.img -> loop through the page cache -> the file system under test

What the file system under test has written stays in the page cache of the middle until its device gets a flush, which
becomes fsync(disk.img).  So only what a flush covered is sure to be in the copy; a missing barrier shows.

All cuts of one life are taken first, then the live disk is unmounted, and one cut after the other is
mounted at the same path: no twin is ever mounted (btrfs, xfs), and paths stored anywhere stay true.
"""
import fcntl
import os
import subprocess
import tempfile
import time

from . import dmm, sysx

KINDS = ("ext4", "xfs", "btrfs")
_FICLONE = 0x40049409
_MKFS = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-I", "256", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K", "-s", "size=4096"],
    "btrfs": ["mkfs.btrfs", "-q", "-f", "-K"],
}
_FSCK = {
    "ext4": ["e2fsck", "-fn"],
    "xfs": ["xfs_repair", "-n"],
    "btrfs": ["btrfs", "check", "--readonly"],
}
_NO_BARRIERS = {"ext4": ",barrier=0", "btrfs": ",nobarrier"}	# for a control: the device gets no flushes


class Broken(AssertionError):
    """The file system itself is damaged, or does not mount."""


class _Layer:
    """One image file, its loop device, and where it is mounted."""

    def __init__(self, image, kind, path, direct, options=""):
        self.image = image
        self.options = options
        self.kind = kind
        self.path = path
        self.direct = direct
        self.device = None

    def make(self, size):
        with open(self.image, "xb") as f:
            f.truncate(size)
        self.attach()
        _run(*_MKFS[self.kind], self.device)

    def attach(self):
        self.device = _run("losetup", "--find", "--show", "--sector-size", "4096",
                           "--direct-io=" + ("on" if self.direct else "off"), self.image).strip()
        name = os.path.basename(self.device)
        with open("/sys/block/%s/loop/dio" % name) as f:
            if f.read().strip() != str(int(self.direct)):
                raise RuntimeError("%s: direct I/O is not %s" % (self.device, "on" if self.direct else "off"))

    def mount(self):
        os.makedirs(self.path, exist_ok=True)
        if not self.device:
            self.attach()
        options = "noatime,nouuid" if self.kind == "xfs" else "noatime"	# see released()
        _run("mount", "-t", self.kind, "-o", options + self.options, self.device, self.path, error=Broken)

    def umount(self, timeout=5):
        """The users are dead, but the kernel may need a moment to let go of what they had open."""
        end = time.monotonic() + timeout
        while any(m[0] == os.fsencode(self.path) for m in sysx.mounts_below(os.fsencode(self.path))):
            if not subprocess.run(["umount", self.path], stderr=subprocess.DEVNULL).returncode:
                continue
            if time.monotonic() > end:
                sysx.umount_lazy(self.path)
            time.sleep(0.05)

    def released(self, timeout=15):
        """
        A process with a mount namespace of its own may have a copy of any mount, and keep it for as long as it runs: then the
        file system is still in use, and a check of it would mean nothing.
        """
        end = time.monotonic() + timeout
        while True:
            try:
                os.close(os.open(self.device, os.O_RDONLY | os.O_EXCL))
                return True
            except OSError:
                if time.monotonic() > end:
                    print("%s: mounted in somebody's mount namespace, cannot be checked" % self.image, flush=True)
                    return False
                time.sleep(0.05)

    def detach(self):
        if not self.device:
            return
        if self.kind == "btrfs":	# it remembers devices, and would refuse an older copy of one
            subprocess.run(["btrfs", "device", "scan", "--forget", self.device], stderr=subprocess.DEVNULL)
        subprocess.run(["losetup", "-d", self.device], stderr=subprocess.DEVNULL)
        self.device = None

    def check(self):
        done = subprocess.run([*_FSCK[self.kind], self.device], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise Broken("%s finds damage after the cut:\n%s" % (_FSCK[self.kind][0], done.stdout.decode(errors="replace")[-2000:]))


class Cut:
    """One instant: the copy, and how long taking it took."""

    def __init__(self, image, seconds):
        self.image = image
        self.seconds = seconds


class Disk:
    """with Disk(work, "ext4") as disk: use disk.path, disk.cut() ..., disk.stop(), then disk.revive(cut), disk.bury()"""

    def __init__(self, work, kind, forgetful=False, size=1 << 30, barriers=True):
        self.kind = kind
        self._options = "" if barriers else _NO_BARRIERS[kind]
        self.forgetful = forgetful
        self.dir = tempfile.mkdtemp(prefix="disk-", dir=str(work))
        os.chmod(self.dir, 0o755)
        self.path = self.dir + "/fs"
        self._outer = _Layer(self.dir + "/outer.img", "xfs", self.dir + "/outer", False)
        self._outer.make(64 << 30)
        self._outer.mount()
        self._cuts = 0
        self._layers = self._over(self._outer.path + "/live.img")
        self._layers[0].make(size + (1 << 30 if forgetful else 0))
        if forgetful:
            self._layers[0].mount()
            self._layers[1].make(size)
        self._layers[-1].mount()

    def _over(self, image):
        """The layers of one life, lowest first; what is cut is the image of the first."""
        if not self.forgetful:
            return [_Layer(image, self.kind, self.path, True, self._options)]
        middle = self.dir + "/middle"
        return [_Layer(image, "ext4", middle, True), _Layer(middle + "/disk.img", self.kind, self.path, False, self._options)]

    def cut(self):
        """The power goes, now.  The disk that is mounted, live or revived, does not notice."""
        self._cuts += 1
        image = "%s/cut-%d.img" % (self._outer.path, self._cuts)
        started = time.monotonic()
        with open(self._layers[0].image, "rb") as source, open(image, "xb") as copy:
            fcntl.ioctl(copy, _FICLONE, source.fileno())
        return Cut(image, time.monotonic() - started)

    def stop(self):
        """Unmount what is mounted.  Whoever used it must be dead."""
        for path, kind, _ in reversed(sysx.mounts_below(os.fsencode(self.path))):
            if path != os.fsencode(self.path):	# a dead mount of the product, over a directory of ours
                subprocess.run(["umount", path], stderr=subprocess.DEVNULL)
        for layer in reversed(self._layers):
            layer.umount()
            layer.detach()
        self._layers = []

    def revive(self, cut):
        """The power comes back: mounting lets the journals recover."""
        if self._layers:
            self.stop()
        self._layers = self._over(cut.image)
        for layer in self._layers:
            layer.mount()

    def bury(self, cut, check=True):
        """Unmount, check the file system, delete the copy."""
        top = self._layers[-1]
        top.umount()
        if check and top.released():
            top.check()
        self.stop()
        os.unlink(cut.image)

    def close(self):
        try:
            self.stop()
        finally:
            self._outer.umount()
            self._outer.detach()
            os.unlink(self._outer.image)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def _run(*argv, error=RuntimeError):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode:
        raise error("%s: %s" % (" ".join(argv), done.stderr.decode(errors="replace").strip()))
    return done.stdout.decode()


def finish(run, timeout):
    """
    run.finish(); but while somebody's mount namespace has a copy of the mount, the worker serves it and does not end: then the
    worker is killed after the detach, and there is no final event: None.
    """
    try:
        return run.finish(timeout)
    except dmm.Unexpected:
        if run.process.poll() is not None or not run.find("detached"):
            raise
    print("the mount is gone, and the worker serves a copy of it in somebody's mount namespace", flush=True)
    run.kill_worker()
    run.abandon()
    return None
