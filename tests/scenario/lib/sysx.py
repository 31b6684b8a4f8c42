# SPDX-License-Identifier: GPL-3.0-or-later
"""System calls that Python 3.11 does not have, and small helpers around the others."""
import ctypes
import errno
import os
import resource
import signal

_libc = ctypes.CDLL(None, use_errno=True)

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 0x10
AT_EMPTY_PATH = 0x1000
AT_SYMLINK_FOLLOW = 0x400
PR_SET_PDEATHSIG = 1
O_NOATIME = 0o1000000


def _check(result, *names):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), *names[:1])
    return result


def renameat2(olddir, old, newdir, new, flags):
    _check(_libc.renameat2(olddir, os.fsencode(old), newdir, os.fsencode(new), flags), old)


def rename_flags(old, new, flags):
    renameat2(-100, old, -100, new, flags)


def fallocate(fd, mode, offset, length):
    _check(_libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)))


def syncfs(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _check(_libc.syncfs(fd), path)
    finally:
        os.close(fd)


def link_fd(fd, newdir, name):
    """linkat(fd, "", ..., AT_EMPTY_PATH): gives an O_TMPFILE file a name."""
    _check(_libc.linkat(fd, b"", newdir, os.fsencode(name), AT_EMPTY_PATH), name)


def linkat(olddir, old, newdir, new):
    _check(_libc.linkat(olddir, os.fsencode(old), newdir, os.fsencode(new), 0), old)


def die_with_parent():
    """For preexec_fn: a killed test leaves no server behind."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def many_descriptors():
    """Deep trees are walked with one descriptor per level."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def error_name(code):
    return errno.errorcode.get(code, str(code))


def list_xattrs(directory, name):
    """xattrs of directory/name without following a link; paths of any length."""
    # Through /proc the last component is a single name below an open directory.
    path = b"/proc/self/fd/%d/%s" % (directory, name)
    return {key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)}


def mounts_below(prefix):
    """Mount points at or below prefix, deepest last, as (path, type, source)."""
    found = []
    with open("/proc/self/mountinfo", "rb") as f:
        for line in f:
            left, right = line.split(b" - ", 1)
            path = _unescape(left.split()[4])
            kind, source = right.split()[:2]
            if path == prefix or path.startswith(prefix + b"/"):
                found.append((path, kind.decode(), _unescape(source)))
    return found


def _unescape(text):
    for code, char in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        text = text.replace(code, char)
    return text


def fuse_abort(path):
    """
    End a FUSE connection whose mount is at this path: nobody waits for its server any more.  A server that
    waits for itself cannot be killed otherwise.
    """
    with open("/proc/self/mountinfo", "rb") as f:
        for line in f:
            fields = line.split()
            if _unescape(fields[4]) == os.fsencode(path) and b" - fuse" in line:
                try:
                    with open("/sys/fs/fuse/connections/%d/abort" % int(fields[2].split(b":")[1]), "w") as abort:
                        abort.write("1")
                except OSError:
                    pass	# gone meanwhile, or fusectl is not mounted


def umount_lazy(path):
    _check(_libc.umount2(os.fsencode(path), 2), path)


def drop_caches(what=3):
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write(str(what))


def thread_state(pid, tid):
    """R, S, D, T ...; X when it is gone."""
    try:
        with open("/proc/%d/task/%s/stat" % (pid, tid)) as f:
            return f.read().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"
