# SPDX-License-Identifier: GPL-3.0-or-later
"""
A run's own directory, and the sweep that cleans up after runs that were killed.

Everything a test run makes (images, mounts, loop devices, servers) is found
again through its work directory, whose name starts with PREFIX: mounts by
their mount point, loop devices by their image, processes by a list with
their start times.  The directory holds a lock file; as long as its lock is held the run
lives, and nobody else touches anything of it.  Nothing is ever found by a
program's name, so other people's servers and mounts are safe.
"""
import fcntl
import glob
import os
import shutil
import signal
import subprocess
import tempfile
import time

from . import sysx

PREFIX = "dmm-scenario-"


def base():
    return os.environ.get("DMM_TEST_DIR", "/var/tmp")


class Work:
    """The work directory of this run.  close() undoes whatever is left inside."""

    def __init__(self):
        sweep()
        self.path = tempfile.mkdtemp(prefix=PREFIX, dir=base())
        os.chmod(self.path, 0o755)
        self._lock = os.open(self.path + "/lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def __str__(self):
        return self.path

    def remember(self, pid):
        with open(self.path + "/pids", "a") as f:
            f.write("%d %s\n" % (pid, start_time(pid) or "gone"))

    def close(self):
        _undo(self.path)
        os.close(self._lock)


def sweep():
    """Clean up after runs that no longer live."""
    for path in glob.glob(os.path.join(base(), PREFIX + "*")):
        try:
            fd = os.open(path + "/lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            # Being made this moment, or its owner died before it had a lock.
            if time.time() - os.stat(path).st_mtime > 60:
                shutil.rmtree(path, ignore_errors=True)
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _undo(path)
        except BlockingIOError:
            pass
        finally:
            os.close(fd)


def start_time(pid):
    """Field 22 of /proc/PID/stat: a reused pid has another one."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return None


def _undo(path):
    _end_processes(path)
    # Now: when a file system is gone, the names of images on it are, too.  Newest first: images may lie in mounts.
    devices = {os.fsencode(device) for device, image in loop_devices() if image.startswith(path + "/")}
    for mount, _, source in reversed(sysx.mounts_below(os.fsencode(path))):
        if subprocess.run(["umount", mount], stderr=subprocess.DEVNULL).returncode:
            try:
                sysx.umount_lazy(mount)
            except OSError:
                pass
        if source in devices:
            subprocess.run(["losetup", "-d", source], stderr=subprocess.DEVNULL)
            devices.discard(source)
    for device in devices:
        subprocess.run(["losetup", "-d", device], stderr=subprocess.DEVNULL)
    shutil.rmtree(path, ignore_errors=True)


def _end_processes(path):
    try:
        with open(path + "/pids") as f:
            known = [line.split() for line in f]
    except OSError:
        return
    for pid, started in ((int(p), s) for p, s in known):
        if start_time(pid) == started:
            os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 5
    while time.monotonic() < end and any(alive(int(p), s) for p, s in known):
        time.sleep(0.02)


def alive(pid, started):
    """Not gone, not a zombie."""
    if start_time(pid) != started:
        return False
    with open("/proc/%d/stat" % pid) as f:
        return f.read().rsplit(")", 1)[1].split()[0] != "Z"


def loop_devices():
    out = subprocess.run(["losetup", "-l", "-n", "-O", "NAME,BACK-FILE"], stdout=subprocess.PIPE, check=True).stdout
    for line in out.decode(errors="surrogateescape").splitlines():
        fields = line.split(None, 1)
        if len(fields) == 2:
            yield fields[0], fields[1].removesuffix(" (deleted)")
