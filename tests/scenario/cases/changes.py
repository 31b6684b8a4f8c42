# SPDX-License-Identifier: GPL-3.0-or-later
"""
Applications change things while everything moves: thousands of random operations on cold and warm objects,
each done twice: on the mount and on a plain twin of the source tree.  Every result
(data, errno, attributes) must agree at once, and the whole trees at the end.
"""
import errno
import mmap
import os
import time

from lib import fs, sysx, trees
from lib.env import Failed

_DATA = os.urandom(1 << 20)


def applications_change_things(e):
    twin_fs = e.add(fs.LoopFs(e.work, e.target_kind, name="twin"))
    twin = twin_fs.path + "/data"
    os.mkdir(twin)
    objects = 150 if e.quick else 700
    for root in (e.source_dir, twin):
        trees.mixed(root, e.seed, objects, large=(300000, 3 << 20, 9 << 20), modes=(0o644, 0o600, 0o755))
    os.utime(twin, ns=(os.stat(e.source_dir).st_atime_ns, os.stat(e.source_dir).st_mtime_ns))
    e.serve()
    since = time.time()
    limit = e.random.choice(("64K", "256K", None))
    e.say("whole-file limit:", limit or "default")
    run = e.run(*(["--whole-file-limit", limit] if limit else []), faults="read delay=300ms; readdir delay=30ms; lookup every=3 delay=10ms")
    run.mounted()
    player = _Player(e, os.fsencode(e.target), os.fsencode(twin))
    try:
        player.play(600 if e.quick else 4000, stop_after=60)
    finally:
        player.close()
    e.say("%d operations, of which %d failed on both sides alike; migration: %s" % (player.done, player.refused, run.phase()))
    final = run.finish(200)
    e.say("ledger:", final["ledger"])
    e.check_plain()
    e.check_same(reference=twin, mtime_since=since, blocks=False, explain=player.story)


class _Player:
    """Does each operation on both trees and compares what came of it."""

    def __init__(self, e, mount, twin):
        self.e = e
        self.random = e.random
        self.roots = (mount, twin)
        self.open = []		# [(fd on the mount, fd on the twin, path)]
        self.history = []
        self.last = ()
        self.done = self.refused = 0
        self.paths = []

    def play(self, count, stop_after):
        operations = [(getattr(self, name), weight) for name, weight in (
            ("_create", 8), ("_overwrite", 8), ("_append", 6), ("_replace", 5), ("_truncate", 6), ("_mmap", 4), ("_read", 12), ("_stat", 10),
            ("_rename", 10), ("_unlink", 8), ("_link", 5), ("_symlink", 3), ("_mkdir", 4), ("_rmdir", 4), ("_chmod", 5), ("_chown", 4), ("_utime", 4),
            ("_list", 5), ("_open", 5), ("_through_old", 10), ("_close", 4), ("_punch", 3), ("_copy_range", 3), ("_exchange", 3))]
        end = time.monotonic() + stop_after
        for self.done in range(1, count + 1):
            if self.done % 100 == 1:
                self._learn()
            if time.monotonic() > end:
                break
            operation, = self.random.choices([o for o, _ in operations], [w for _, w in operations])
            operation()

    def close(self):
        for one, two, _ in self.open:
            os.close(one)
            os.close(two)

    def _learn(self):
        root = self.roots[1]
        self.paths = []
        for directory, subdirectories, files in os.walk(root):
            for name in subdirectories + files:
                self.paths.append(os.path.join(directory, name)[len(root) + 1:])
        self.directories = [b""] + [p for p in self.paths if os.path.isdir(root + b"/" + p) and not os.path.islink(root + b"/" + p)]

    # -- both sides

    def both(self, what, function, *paths):
        """function(root, full paths...) on both; OSError counts as a result."""
        self.last = paths
        self.history.append("%d %s %s" % (self.done, what, " ".join(repr(p) for p in paths)))
        results = []
        for root in self.roots:
            full = [root + b"/" + p for p in paths]
            result = self._try(function, full)
            if result == ("error", "EXDEV") and root == self.roots[0] and not os.path.ismount(root):
                # One path was resolved before the detach and the other behind it: documented; do it again.
                result = self._try(function, full)
            results.append(result)
        self._agree(results)
        if results[0][0] == "error":
            self.refused += 1
            return False
        return True

    @staticmethod
    def _try(function, full):
        try:
            return ("ok", function(*full))
        except OSError as error:
            return ("error", errno.errorcode.get(error.errno, error.errno))

    def _agree(self, results):
        if results[0] != results[1]:
            raise Failed("operation %d: %s\non the mount: %.300r\nplain:        %.300r\nto the same inode before:\n%s\njust before:\n%s" % (
                self.done, self.history[-1], results[0], results[1], "\n".join(self._same_inode()[-20:]), "\n".join(self.history[-8:-1])))

    def _same_inode(self):
        return self.story(self.last[0])[:-1] if self.last else []

    def story(self, path):
        """What was done to any name of the object that this is the name of."""
        try:
            inode = os.lstat(self.roots[1] + b"/" + path).st_ino
        except OSError:
            return [h for h in self.history if repr(path) in h]
        names = set()
        for directory, subdirectories, files in os.walk(self.roots[1]):
            for name in subdirectories + files:
                full = os.path.join(directory, name)
                if os.lstat(full).st_ino == inode:
                    names.add(full[len(self.roots[1]) + 1:])
        # Directories above it may have had other names: look for the last component.
        last = {repr(os.path.basename(n))[2:-1] for n in names}
        return ["mode %o, names: %s" % (os.lstat(self.roots[1] + b"/" + path).st_mode, sorted(names))] + [
            h for h in self.history if any("/%s'" % n in h or "'%s'" % n in h or "/%s/" % n in h for n in last)]

    def any(self):
        return self.random.choice(self.paths)

    def new(self):
        name = b"new%d" % self.done
        parent = self.random.choice(self.directories)
        return parent + b"/" + name if parent else name

    def remember(self, path):
        self.paths.append(path)

    def data(self):
        size = self.random.choice((0, 1, 100, 4096, 5000, 65536, 200000))
        start = self.random.randrange(len(_DATA) - size)
        return _DATA[start:start + size]

    # -- operations

    def _create(self):
        path, data = self.new(), self.data()

        def act(p):
            fd = os.open(p, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
            os.write(fd, data)
            os.close(fd)
        if self.both("create", act, path):
            self.remember(path)

    def _overwrite(self):
        data, at = self.data(), self.random.random()

        def act(p):
            with _opened(p, os.O_RDWR) as fd:
                return os.pwrite(fd, data, int(at * (os.fstat(fd).st_size + 1)))
        self.both("overwrite", act, self.any())

    def _append(self):
        data = self.data()

        def act(p):
            with _opened(p, os.O_WRONLY | os.O_APPEND) as fd:
                return os.write(fd, data)
        self.both("append", act, self.any())

    def _replace(self):
        data = self.data()

        def act(p):
            with _opened(p, os.O_WRONLY | os.O_TRUNC) as fd:
                return os.write(fd, data)
        self.both("truncate and rewrite", act, self.any())

    def _truncate(self):
        at = self.random.choice((0, 0.3, 0.9, 1, 1.5))

        def act(p):
            size = os.stat(p).st_size if os.path.isfile(p) else 0
            os.truncate(p, int(size * at) + (5 if at > 1 else 0))
            return size
        self.both("truncate %g" % at, act, self.any())

    def _mmap(self):
        at, data = self.random.random(), self.data()[:3000] or b"m"

        def act(p):
            with _opened(p, os.O_RDWR) as fd:
                size = os.fstat(fd).st_size
                if not size:
                    return 0
                with mmap.mmap(fd, size) as m:
                    start = int(at * max(size - len(data), 0))
                    m[start:start + len(data)] = data[:size - start]
                    m.flush()
                    return hash(m[:])
        self.both("write through mmap", act, self.any())

    def _punch(self):
        at = self.random.random()

        def act(p):
            with _opened(p, os.O_RDWR) as fd:
                size = os.fstat(fd).st_size
                sysx.fallocate(fd, sysx.FALLOC_KEEP_SIZE | sysx.FALLOC_PUNCH_HOLE, int(at * size), 10000)
                return hash(os.pread(fd, size, 0))
        self.both("punch", act, self.any())

    def _copy_range(self):
        at, path = self.random.random(), self.new()

        def act(p, q):
            # no O_EXCL: at the moment of the detach it may be done again after EXDEV
            with _opened(p, os.O_RDONLY) as source, _opened(q, os.O_WRONLY | os.O_CREAT) as target:
                done = os.copy_file_range(source, target, 50000, int(at * os.fstat(source).st_size), 0)
                return done
        if self.both("copy_file_range", act, self.any(), path):
            self.remember(path)

    def _read(self):
        at, length = self.random.random(), self.random.choice((1, 4096, 100000, 1 << 20))

        def act(p):
            with _opened(p, os.O_RDONLY) as fd:
                return os.pread(fd, length, int(at * os.fstat(fd).st_size))
        self.both("read", act, self.any())

    def _stat(self):
        def act(p):
            st = os.lstat(p)
            directory = os.path.isdir(p) and not os.path.islink(p)
            return st.st_mode, st.st_uid, st.st_gid, 0 if directory else st.st_size, 0 if directory else st.st_nlink
        self.both("stat", act, self.any())

    def _list(self):
        self.both("list", lambda p: sorted(os.listdir(p)), self.random.choice(self.directories))

    def _rename(self):
        old, new = self.any(), self.random.choice((self.new(), self.new(), self.any()))
        if self.both("rename", os.rename, old, new):
            self.remember(new)

    def _exchange(self):
        self.both("exchange", lambda p, q: sysx.rename_flags(p, q, sysx.RENAME_EXCHANGE), self.any(), self.any())

    def _unlink(self):
        self.both("unlink", os.unlink, self.any())

    def _link(self):
        new = self.new()
        if self.both("link", lambda p, q: os.link(p, q, follow_symlinks=False), self.any(), new):
            self.remember(new)

    def _symlink(self):
        new = self.new()
        if self.both("symlink", lambda p: os.symlink(b"some/where", p), new):
            self.remember(new)

    def _mkdir(self):
        new = self.new()
        if self.both("mkdir", os.mkdir, new):
            self.remember(new)
            self.directories.append(new)

    def _rmdir(self):
        self.both("rmdir", os.rmdir, self.random.choice(self.directories[1:] or [b"none"]))

    def _chmod(self):
        # No setuid: through the mount a write by root clears it too, as POSIX allows and Linux does not.
        mode = self.random.choice((0o644, 0o600, 0o750, 0o777))
        self.both("chmod", lambda p: os.chmod(p, mode), self.any())

    def _chown(self):
        uid, gid = self.random.randrange(3) * 500, self.random.randrange(3) * 500
        self.both("chown", lambda p: os.lchown(p, uid, gid), self.any())

    def _utime(self):
        ns = self.random.randrange(10**9 * 10**9)
        self.both("utime", lambda p: os.utime(p, ns=(ns, ns), follow_symlinks=False), self.any())

    # -- descriptors that stay open across renames, unlinks and completion

    def _open(self):
        path = self.any()
        if len(self.open) > 20 or not os.path.isfile(self.roots[1] + b"/" + path):
            return
        fds = []
        for root in self.roots:
            try:
                fds.append(os.open(root + b"/" + path, os.O_RDWR))
            except OSError as error:
                fds.append(-error.errno)
        self.last = (path,)
        self.history.append("%d open %r" % (self.done, path))
        if fds[0] >= 0 and fds[1] >= 0:
            self.open.append((*fds, path))
        else:
            self._agree([("open", min(fd, 0)) for fd in fds])

    def _through_old(self):
        if not self.open:
            return
        one, two, path = self.random.choice(self.open)
        at, data = self.random.random(), self.data()
        kind = self.random.choice(("pread", "pwrite", "ftruncate", "fstat", "fsync"))
        self.last = (path,)
        self.history.append("%d %s through old descriptor of %r" % (self.done, kind, path))
        results = []
        for fd in (one, two):
            size = os.fstat(fd).st_size
            if kind == "pread":
                results.append(os.pread(fd, 100000, int(at * size)))
            elif kind == "pwrite":
                results.append(os.pwrite(fd, data, int(at * size)))
            elif kind == "ftruncate":
                results.append(os.ftruncate(fd, int(at * size)))
            elif kind == "fsync":
                results.append(os.fsync(fd))
            else:
                st = os.fstat(fd)
                results.append((size, st.st_mode, st.st_nlink))
        self._agree(results)

    def _close(self):
        if self.open:
            one, two, _ = self.open.pop(self.random.randrange(len(self.open)))
            os.close(one)
            os.close(two)


class _opened:
    """Regular files only: opening a fifo would wait."""

    def __init__(self, path, flags):
        self.fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o640)

    def __enter__(self):
        return self.fd

    def __exit__(self, *exc):
        os.close(self.fd)
