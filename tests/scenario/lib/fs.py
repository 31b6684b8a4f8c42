# SPDX-License-Identifier: GPL-3.0-or-later
"""
Fresh file systems on image files.

Each test gets file systems of its own: nothing survives from one test to the
next, thousands of files disappear with one unlink of the image, and the
source's file system can differ from the target's.  Access times are not
updated (noatime), so that reading for a comparison changes nothing.
"""
import os
import subprocess
import tempfile

from . import sysx

_MKFS = {
    # Many inodes for trees of small files; no lazy initialisation in the background of a measurement.
    "ext4": ["mkfs.ext4", "-q", "-F", "-i", "8192", "-I", "256", "-E", "nodiscard"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K"],
    "btrfs": ["mkfs.btrfs", "-q", "-f", "-K"],
    "vfat": ["mkfs.vfat"],
}
_OPTIONS = {"ext4": "noatime,noinit_itable", "xfs": "noatime", "btrfs": "noatime"}


class LoopFs:
    """with LoopFs(work, "ext4") as fs: use fs.path.  mkfs, options: more arguments of mkfs, more mount options."""

    def __init__(self, work, kind, size="20G", name="fs", mkfs=(), options=None):
        self.kind = kind
        self.options = ",".join(filter(None, (_OPTIONS.get(kind), options))) or "defaults"
        self.dir = tempfile.mkdtemp(prefix=name + "-", dir=str(work))
        os.chmod(self.dir, 0o755)	# other users' programs work on the mounts, too
        self.image = self.dir + "/image"
        self.path = self.dir + "/" + name
        self.device = None
        os.mkdir(self.path)
        _run("truncate", "-s", size, self.image)
        _run(*_MKFS[kind], *mkfs, self.image)
        self.mount()

    def mount(self):
        if not self.device:
            self.device = _run("losetup", "--find", "--show", self.image).strip()
        _run("mount", "-t", self.kind, "-o", self.options, self.device, self.path)

    def remount(self, how):
        """"ro" or "rw"; false if something keeps it busy."""
        return not subprocess.run(["mount", "-o", "remount," + how, self.path], stderr=subprocess.DEVNULL).returncode

    def umount(self):
        for path, _, _ in reversed(sysx.mounts_below(os.fsencode(self.path))):
            if subprocess.run(["umount", path], stderr=subprocess.DEVNULL).returncode:
                try:
                    sysx.umount_lazy(path)
                except OSError:
                    pass

    def close(self):
        self.umount()
        if self.device:
            # With a lazily unmounted user left this detaches when the user goes.
            subprocess.run(["losetup", "-d", self.device], stderr=subprocess.DEVNULL)
            self.device = None
        try:
            os.unlink(self.image)
        except FileNotFoundError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def _run(*argv):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode:
        raise RuntimeError("%s: %s" % (" ".join(argv), done.stderr.decode(errors="replace").strip()))
    return done.stdout.decode()
