# SPDX-License-Identifier: GPL-3.0-or-later
"""
One application: random operations, one after the other, on cold and warm objects.

Each change is written into the log before it is tried and after it (lib/model.py); each result is compared with
the model at once (Violation).  When the mount dies under an operation (ENOTCONN, ECONNABORTED, EIO) its outcome
is unknown and Died is raised; after the restart settle() looks what came of it.

Offsets and lengths are aligned and not; data is written by pwrite, O_APPEND, O_DIRECT, O_SYNC, O_DSYNC, through
mappings, through descriptors that stay open across renames and unlinks, and by copy_file_range.
"""
import ctypes
import errno
import mmap
import os
import random
import stat

from . import model as _model, sysx
from .model import BLOCK, Violation
from .settle import look

DEAD = (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.EFAULT, errno.ENODEV)
_LARGEST = 14 << 20	# files do not grow beyond
_libc = ctypes.CDLL(None, use_errno=True)
_MS_SYNC = 4


class Died(Exception):
    """The mount died under an operation; settle() after the restart."""


# operation: weight
OPERATIONS = {"overwrite": 14, "append": 6, "rewrite": 5, "truncate": 8, "punch": 4, "allocate": 3, "copy": 4, "create": 7,
              "mkdir": 3, "symlink": 2, "link": 4, "unlink": 6, "rmdir": 3, "rename": 7, "rename_over": 5, "rename_directory": 3,
              "exchange": 2, "chmod": 4, "chown": 4, "utime": 5, "read": 12, "stat": 8, "list": 4, "sync": 4, "refused": 3}


class Player:
    def __init__(self, recorder, mount, number, seed, sync=0.4, weights=None):
        self.recorder, self.model = recorder, recorder.model
        self.mount = os.fsencode(mount)
        self.number = number
        self.random = random.Random(seed)
        self.sync = sync	# how often a change is followed by an fsync
        weights = dict(OPERATIONS, **(weights or {}))
        self.names, self.weights = zip(*[(n, w) for n, w in weights.items() if w])
        self.count = self.made = 0
        self.open = []		# [(fd, thing)]
        self.unknown = None	# line of the log
        self.inodes = {}
        self.lost = 0		# operations that ended with their mount

    # -- one operation

    def step(self):
        """One random operation.  Died when the mount is dead; Violation when it went wrong."""
        with self.recorder.lock:
            self._look_around()
        name, = self.random.choices(self.names, self.weights)
        self.count += 1
        getattr(self, "_" + name)()

    def close(self):
        while self.open:
            try:
                os.close(self.open.pop()[0])
            except OSError:
                pass	# of a dead mount

    def _look_around(self):
        """What is mine, as the model has it."""
        self.files, self.links, self.directories = [], [], []
        mine = (b"s%d" % self.number, b"p%d-" % self.number)
        stack = [(n, t) for n, t in self.model.children(self.model.root) if n == mine[0] or n.startswith(mine[1])]
        while stack:
            path, thing = stack.pop()
            if thing.kind == "d":
                self.directories.append((path, thing))
                stack += [(path + b"/" + n, t) for n, t in self.model.children(thing)]
            elif thing.kind == "f":
                self.files.append((path, thing))
            else:
                self.links.append((path, thing))

    def full(self, path):
        return self.mount + b"/" + path if path else self.mount

    def wrong(self, path, text):
        with self.recorder.lock:
            try:
                story = self.model.thing(path).story[-16:]
            except KeyError:
                story = []
        raise Violation("player %d, operation %d: %s: %s\n    %s" % (self.number, self.count, os.fsdecode(path), text, "\n    ".join(story)))

    def _dead(self, error, path, what):
        """Is the mount gone, or did only this fail?"""
        if error.errno in (errno.ENOTCONN, errno.ECONNABORTED):
            self.lost += 1
            return True		# perhaps only the mount that an old descriptor or path still went to
        if error.errno not in DEAD:
            return False
        if self._dead_now():
            self.lost += 1
            return True
        self.wrong(path, "%s failed with %s on a living mount" % (what, sysx.error_name(error.errno)))

    def _do(self, act, op, path, **arguments):
        """A change: logged, done, logged."""
        line = self.recorder.begin(self.number, op, path, **arguments)
        try:
            whole = act()
        except OSError as error:
            if self._dead(error, path, op):
                self._unknown(line)
            self.recorder.end(line, sysx.error_name(error.errno))
            if error.errno == errno.EXDEV:	# one path was found before the detach and the other after it: documented
                return self._do(act, op, path, **arguments)
            self.wrong(path, "%s failed with %s" % (op, sysx.error_name(error.errno)))
        if whole is not None and whole != arguments["len"]:
            if not self._dead_now():
                self.wrong(path, "%s did only %d of %d bytes" % (op, whole, arguments["len"]))
            self._unknown(line)
        self.recorder.end(line, "ok")
        return None

    def _dead_now(self):
        try:
            os.lstat(self.mount + b"/rest")
            return False
        except OSError as error:
            return error.errno in DEAD

    def _unknown(self, line):
        self.recorder.end(line, _model.UNKNOWN)
        if line["op"] not in ("fsync", "fdatasync"):
            self.unknown = line
        raise Died(line["op"])

    def _ask(self, path, what, act):
        """Something that changes nothing."""
        try:
            return act()
        except OSError as error:
            if self._dead(error, path, what):
                raise Died(what) from error
            self.wrong(path, "%s failed with %s" % (what, sysx.error_name(error.errno)))

    # -- fsync

    def _sync_file(self, path, fd=None, op=None):
        op = op or self.random.choice(("fsync", "fsync", "fdatasync"))
        call = os.fsync if op == "fsync" else os.fdatasync

        def act():
            if fd is not None:
                return call(fd)
            with _opened(self.full(path), os.O_RDONLY) as own:
                return call(own)
        self._do(act, op, path)

    def _sync_directory(self, path):
        def act():
            with _opened(self.full(path), os.O_RDONLY | os.O_DIRECTORY) as fd:
                os.fsync(fd)
        self._do(act, "fsync", path)

    def _maybe_sync(self, path, fd=None):
        if self.random.random() < self.sync:
            self._sync_file(path, fd)

    def _maybe_sync_parents(self, *paths):
        if self.random.random() < self.sync:
            for parent in dict.fromkeys(os.path.dirname(p) for p in paths):
                self._sync_directory(parent)

    def _sync(self):
        path, thing = self.random.choice(self.files + self.directories)
        if thing.kind == "d":
            self._sync_directory(path)
        else:
            self._sync_file(path)

    # -- content

    def _file(self, large=0.35):
        """Large ones are few and worth more visits."""
        big = [f for f in self.files if f[1].size.value > 200000]
        pick = big if big and self.random.random() < large else self.files
        return self.random.choice(pick) if pick else (None, None)

    def _seed(self):
        return self.random.randrange(1 << 32)

    def _span(self, size):
        """(offset, length) of a change, aligned or not; perhaps over the end."""
        length = self.random.choice((1, 10, 511, 4096, 4096, 8192, 5000, 65536, 100000, 250000))
        at = self.random.randrange(max(size, 1))
        if self.random.random() < 0.4:
            at -= at % BLOCK
        return at, length

    def _writer(self, path, thing):
        """A way to open for writing: (flags, how, what the log calls it)."""
        how = self.random.choices(("plain", "old", "direct", "mmap", "full", "data"), (10, 6, 3, 5, 2, 2))[0]
        if how == "old" and self.random.random() < 0.5:
            self._keep_open(path, thing)
        return how

    def _keep_open(self, path, thing):
        if len(self.open) >= 6:
            os.close(self.open.pop(0)[0])
        fd = self._ask(path, "open", lambda: os.open(self.full(path), os.O_RDWR | os.O_CLOEXEC))
        self.open.append((fd, thing))

    def _overwrite(self):
        path, thing = self._file()
        if thing is None:
            return
        at, length = self._span(thing.size.value)
        how = self._writer(path, thing)
        if how == "old" and self.open:
            fd, thing = self.random.choice(self.open)
            path = thing.path()
            if path is None:
                return
            at, length = self._span(thing.size.value)
            seed = self._seed()
            self._do(lambda: os.pwrite(fd, _model.data(seed, length), at), "write", path, at=at, len=length, data=seed, how="old")
            self._maybe_sync(path, fd)
        elif how == "mmap":
            self._overwrite_mapped(path, thing, at, length)
        elif how == "direct":
            length = max(BLOCK, length - length % BLOCK)
            self._write_with(path, at - at % BLOCK, length, os.O_DIRECT, how)
        else:
            flags, sync = {"full": (os.O_SYNC, "fsync"), "data": (os.O_DSYNC, "fdatasync")}.get(how, (0, None))
            self._write_with(path, at, length, flags, how, sync)

    def _write_with(self, path, at, length, flags, how, sync=None):
        seed = self._seed()
        more = {"sync": sync} if sync else {}

        def act():
            with _opened(self.full(path), os.O_WRONLY | flags) as fd:
                body = _model.data(seed, length)
                return os.pwrite(fd, _aligned(body) if flags & os.O_DIRECT else body, at)
        self._do(act, "write", path, at=at, len=length, data=seed, how=how, **more)
        self._maybe_sync(path)

    def _overwrite_mapped(self, path, thing, at, length):
        size = thing.size.value
        length = min(length, size - at)
        if length <= 0:
            return
        seed = self._seed()

        def act():
            with _opened(self.full(path), os.O_RDWR) as fd:
                return _write_mapped(fd, size, at, _model.data(seed, length))
        self._do(act, "write", path, at=at, len=length, data=seed, how="mmap")
        self._maybe_sync(path)

    def _append(self):
        path, thing = self._file()
        if thing is None or thing.size.value > _LARGEST:
            return
        length, seed = self.random.choice((1, 100, 4096, 5000, 65536, 200000)), self._seed()

        def act():
            with _opened(self.full(path), os.O_WRONLY | os.O_APPEND) as fd:
                return os.write(fd, _model.data(seed, length))
        self._do(act, "write", path, at=thing.size.value, len=length, data=seed, how="append")
        self._maybe_sync(path)

    def _rewrite(self):
        """O_TRUNC and exactly the old size again: the case that an intent alone cannot tell from nothing."""
        path, thing = self._file(0.2)
        if thing is None:
            return
        size = thing.size.value

        def act():
            os.close(os.open(self.full(path), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC))
        self._do(act, "truncate", path, size=0, how="O_TRUNC", always=True)
        for at in range(0, size, 200000):
            self._write_with(path, at, min(200000, size - at), 0, "rewrite")
        self._maybe_sync(path)

    def _truncate(self):
        path, thing = self._file()
        if thing is None:
            return
        size = thing.size.value
        new = self.random.choice((0, size // 3, size - size % BLOCK, max(size - 1, 0), size, size + 1, size + 70000, self.random.randrange(size + 1)))
        by_descriptor = self.random.random() < 0.3

        def act():
            if not by_descriptor:
                return os.truncate(self.full(path), new)
            with _opened(self.full(path), os.O_WRONLY) as fd:
                return os.ftruncate(fd, new)
        if new > _LARGEST:
            return
        self._do(act, "truncate", path, size=new, always=by_descriptor)
        self._maybe_sync(path)

    def _punch(self):
        path, thing = self._file()
        if thing is None or not thing.size.value:
            return
        at, length = self._span(thing.size.value)
        mode = self.random.choice((sysx.FALLOC_PUNCH_HOLE, sysx.FALLOC_PUNCH_HOLE, sysx.FALLOC_ZERO_RANGE))
        length = min(length, thing.size.value - at)

        def act():
            with _opened(self.full(path), os.O_RDWR) as fd:
                sysx.fallocate(fd, sysx.FALLOC_KEEP_SIZE | mode, at, length)
        self._do(act, "punch", path, at=at, len=length)
        self._maybe_sync(path)

    def _allocate(self):
        path, thing = self._file()
        if thing is None or thing.size.value > _LARGEST:
            return
        at, length = self._span(thing.size.value)
        keep = self.random.random() < 0.4

        def act():
            with _opened(self.full(path), os.O_RDWR) as fd:
                sysx.fallocate(fd, sysx.FALLOC_KEEP_SIZE if keep else 0, at, length)
        self._do(act, "allocate", path, at=at, len=length, keep=keep)
        self._maybe_sync(path)

    def _copy(self):
        (one, source), (two, target) = self._file(), self._file()
        if source is None or source is target or not source.size.value:
            return
        off, length = self._span(source.size.value)
        length = min(length, source.size.value - off)
        at = self.random.randrange(target.size.value + 1)
        if at + length > _LARGEST:
            return

        def act():
            with _opened(self.full(one), os.O_RDONLY) as a, _opened(self.full(two), os.O_WRONLY) as b:
                done = 0
                while done < length:
                    n = os.copy_file_range(a, b, length - done, off + done, at + done)
                    if not n:
                        break
                    done += n
                return done
        self._do(act, "copy", two, **{"from": os.fsdecode(one), "off": off, "at": at, "len": length})
        self._maybe_sync(two)

    # -- names

    def _new_name(self):
        self.made += 1
        name = b"n%d" % self.made
        if self.random.random() < 0.15:
            return b"p%d-%s" % (self.number, name)
        path, _ = self.random.choice(self.directories)
        return path + b"/" + name

    def _create(self):
        path, mode = self._new_name(), self.random.choice((0o644, 0o600))
        fds = []
        self._do(lambda: fds.append(os.open(self.full(path), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)), "create", path, mode=mode)
        fd = fds[0]
        try:
            length, seed = self.random.choice((0, 5, 4096, 30000, 150000)), self._seed()
            if length:
                self._do(lambda: os.pwrite(fd, _model.data(seed, length), 0), "write", path, at=0, len=length, data=seed)
            if self.random.random() < self.sync:
                self._sync_file(path, fd, "fsync")
                self._sync_directory(os.path.dirname(path))
        finally:
            try:
                os.close(fd)
            except OSError:
                pass	# of a dead mount

    def _mkdir(self):
        path = self._new_name()
        self._do(lambda: os.mkdir(self.full(path), 0o755), "mkdir", path, mode=0o755)
        self._maybe_sync_parents(path)

    def _symlink(self):
        path = self._new_name()
        self._do(lambda: os.symlink(b"to %d" % self.made, self.full(path)), "symlink", path, to="to %d" % self.made)
        self._maybe_sync_parents(path)

    def _link(self):
        if not self.files:
            return
        (old, _), path = self.random.choice(self.files + self.links), self._new_name()
        self._do(lambda: os.link(self.full(old), self.full(path), follow_symlinks=False), "link", path, **{"from": os.fsdecode(old)})
        self._maybe_sync_parents(path)

    def _unlink(self):
        if len(self.files) < 8:
            return
        path, _ = self.random.choice(self.files + self.links)
        self._do(lambda: os.unlink(self.full(path)), "unlink", path)
        self._maybe_sync_parents(path)

    def _mine_only(self):
        """Directories but the two that hold everything."""
        return [(p, t) for p, t in self.directories if b"/" in p]

    def _rmdir(self):
        mine = self._mine_only()
        if not mine:
            return
        empty = [p for p, t in mine if not self.model.children(t)]
        if empty and self.random.random() < 0.7:
            path = self.random.choice(empty)
            self._do(lambda: os.rmdir(self.full(path)), "rmdir", path)
            self._maybe_sync_parents(path)
            return
        path, thing = self.random.choice(mine)
        if self.model.children(thing):
            self._fails(path, "rmdir", errno.ENOTEMPTY, lambda: os.rmdir(self.full(path)))

    def _move(self, old, new, call=os.rename, op="rename"):
        for path in (old, new):
            try:
                self.inodes[path] = os.lstat(self.full(path)).st_ino
            except FileNotFoundError:
                self.inodes[path] = None
            except OSError as error:
                if self._dead(error, path, "lstat"):
                    raise Died("lstat") from error
                self.wrong(path, "lstat failed with %s" % sysx.error_name(error.errno))
        self._do(lambda: call(self.full(old), self.full(new)), op, new, **{"from": os.fsdecode(old)})
        self._maybe_sync_parents(old, new)

    def _rename(self):
        if self.files:
            self._move(self.random.choice(self.files + self.links)[0], self._new_name())

    def _rename_over(self):
        if len(self.files) < 8:
            return
        (old, one), (new, two) = self.random.sample(self.files + self.links, 2)
        if one is not two:
            self._move(old, new)

    def _rename_directory(self):
        mine = self._mine_only()
        if not mine:
            return
        old = self.random.choice(mine)[0]
        new = self._new_name()
        if not (new + b"/").startswith(old + b"/"):
            self._move(old, new)

    def _exchange(self):
        if len(self.files) < 2:
            return
        (old, one), (new, two) = self.random.sample(self.files + self.links, 2)
        if one is not two:
            self._move(old, new, lambda a, b: sysx.rename_flags(a, b, sysx.RENAME_EXCHANGE), "exchange")

    # -- attributes

    def _chmod(self):
        path, _ = self.random.choice(self.files + self._mine_only() or self.directories)
        mode = self.random.choice((0o644, 0o600, 0o750, 0o777, 0o700))
        self._do(lambda: os.chmod(self.full(path), mode), "chmod", path, mode=mode)
        self._maybe_sync_any(path)

    def _chown(self):
        path, _ = self.random.choice(self.files + self.links + self._mine_only() or self.directories)
        uid, gid = self.random.randrange(3) * 500, self.random.randrange(3) * 500
        self._do(lambda: os.lchown(self.full(path), uid, gid), "chown", path, uid=uid, gid=gid)
        self._maybe_sync_any(path)

    def _utime(self):
        if not self.files:
            return
        path, _ = self.random.choice(self.files + self.links)
        ns = self.random.randrange(10**9, 1700000000 * 10**9)
        self._do(lambda: os.utime(self.full(path), ns=(ns, ns), follow_symlinks=False), "utime", path, mtime=ns)
        self._maybe_sync_any(path)

    def _maybe_sync_any(self, path):
        thing = self.model.thing(path)
        if thing.kind == "f":
            self._maybe_sync(path)
        elif thing.kind == "d" and self.random.random() < self.sync:
            self._sync_directory(path)

    # -- looking

    def _read(self):
        path, thing = self._file()
        if thing is None:
            return
        at, length = self._span(thing.size.value)
        length = self.random.choice((length, length, 1 << 20))

        def act():
            with _opened(self.full(path), os.O_RDONLY) as fd:
                return os.pread(fd, length, at)
        got = self._ask(path, "read", act)
        self._compare(path, thing, at, length, got)

    def _compare(self, path, thing, at, length, got):
        with self.recorder.lock:
            wanted = self.model.read(thing, at, length)
        if len(got) < len(wanted) and wanted.startswith(got) and self._dead_now():
            self.lost += 1
            raise Died("read")
        if got != wanted:
            shift = next((i for i, (p, q) in enumerate(zip(got, wanted)) if p != q), min(len(got), len(wanted)))
            with self.recorder.lock:
                source = self.model.original(thing, (at + shift) // BLOCK)[(at + shift) % BLOCK:][:16]
            self.wrong(path, "read at %d: %d bytes, wanted %d; from byte %d on %s, not %s (the source has %s)" % (
                at, len(got), len(wanted), at + shift, got[shift:shift + 16].hex(), wanted[shift:shift + 16].hex(), source.hex()))

    def _stat(self):
        path, thing = self.random.choice(self.files + self.links + self.directories)
        st = self._ask(path, "stat", lambda: os.lstat(self.full(path)))
        found = {"mode": stat.S_IMODE(st.st_mode), "owner": (st.st_uid, st.st_gid)}
        wanted = {"mode": thing.mode.value, "owner": thing.owner.value}
        if thing.kind == "f":
            found["size"], wanted["size"] = st.st_size, thing.size.value
        if thing.kind != "d":
            if not thing.many:	# some names of those may be outside of the tree
                found["nlink"], wanted["nlink"] = st.st_nlink, len(thing.names)
            if isinstance(thing.mtime.value, int) and len(thing.mtime.now) == 1:
                found["mtime"], wanted["mtime"] = st.st_mtime_ns, thing.mtime.value
        if found != wanted:
            self.wrong(path, "stat says %s, not %s" % (found, wanted))

    def _list(self):
        path, thing = self.random.choice(self.directories)
        found = sorted(self._ask(path, "list", lambda: os.listdir(self.full(path))))
        wanted = sorted(n for n, _ in self.model.children(thing))
        if found != wanted:
            self.wrong(path, "is listed with %s, without %s" % (sorted(set(found) - set(wanted)), sorted(set(wanted) - set(found))))

    def _refused(self):
        """What must fail changes nothing."""
        if not self.files:
            return
        path, _ = self.random.choice(self.files)
        kind = self.random.choice(("exists", "absent", "type"))
        if kind == "exists":
            self._fails(path, "mkdir", errno.EEXIST, lambda: os.mkdir(self.full(path)))
        elif kind == "absent":
            self._fails(path + b"x", "unlink", errno.ENOENT, lambda: os.unlink(self.full(path + b"x")))
        else:
            self._fails(path, "rmdir", errno.ENOTDIR, lambda: os.rmdir(self.full(path)))

    def _fails(self, path, what, code, act):
        line = self.recorder.begin(self.number, "refused", path, what=what)
        try:
            act()
            result = "ok"
        except OSError as error:
            result = sysx.error_name(error.errno)
            if error.errno != code and self._dead(error, path, what):
                self.recorder.end(line, _model.UNKNOWN)
                raise Died(what) from error
        self.recorder.end(line, result)
        if result != sysx.error_name(code):
            self.wrong(path, "%s: %s, not %s" % (what, result, sysx.error_name(code)))

    # -- after a restart

    def settle(self):
        """Find out what came of the operation under which the mount died; it must be one of what the model allows."""
        line, self.unknown = self.unknown, None
        if line is None:
            return
        with self.recorder.lock:
            changes = self.model.pending[line["n"]].changes
        try:
            found, more = look(self, line, changes)
        except OSError as error:
            if not self._dead(error, os.fsencode(line["path"]), "looking what came of " + line["op"]):
                self.wrong(os.fsencode(line["path"]), "%s: cannot be looked at: %s" % (line["op"], error))
            self.unknown = line		# killed again
            raise Died("settle") from error
        self.recorder.seen(line, found, **more)


class _opened:
    def __init__(self, path, flags):
        self.fd = os.open(path, flags | os.O_CLOEXEC)

    def __enter__(self):
        return self.fd

    def __exit__(self, *exc):
        try:
            os.close(self.fd)
        except OSError:
            pass	# of a dead mount: what mattered has been reported before


def _aligned(body):
    """For O_DIRECT."""
    m = mmap.mmap(-1, len(body))
    m[:] = body
    return m


def _write_mapped(fd, size, at, body):
    """
    Through a mapping.  The kernel copies (preadv into it), so that a page that cannot be had is EFAULT and no SIGBUS;
    returns the bytes written, all of them handed to the file system by msync.
    """
    m = mmap.mmap(fd, size)
    try:
        memory = os.memfd_create("body")
        try:
            os.write(memory, body)
            with memoryview(m) as whole, whole[at:at + len(body)] as view:
                done = os.preadv(memory, [view], 0)
        finally:
            os.close(memory)
        start = ctypes.c_char.from_buffer(m)
        failed = _libc.msync(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), _MS_SYNC)
        code = ctypes.get_errno()
        del start
        if failed:
            raise OSError(code, os.strerror(code))
        return done
    finally:
        m.close()
