# SPDX-License-Identifier: GPL-3.0-or-later
"""
Are two trees the same?  Independent of the product: it shares no code and no assumption with it.

Compared for every name: type, permission bits, uid, gid, mtime (nanoseconds),
content (streamed; holes on both sides are skipped), symlink target, device
number, number of links, which names are links to one inode, all xattrs but
trusted.*, disk space (a file that was sparse must not have grown wildly), and the size of regular files.
Directory sizes, ctime and inode numbers differ by nature.  atime is compared on request:
it means something only where nobody's reads have changed it.

Nothing of the product may be left: an xattr trusted.dmm*, or a name below the target that the
reference does not have, is a difference.

Trees are walked with descriptors, one component at a time, so depth and bytes of names
do not matter.  `expected` tells what an application changed meanwhile:
    {path: DELETED | ADDED | CHANGED | bytes}
a path relative to the root, as bytes; DELETED and ADDED hold for all below; bytes are the expected content.
"""
import errno
import os
import stat

from . import sysx

DELETED, ADDED, CHANGED = "deleted", "added", "changed"
_BLOCK = 1 << 20
_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | sysx.O_NOATIME


class Rules:
    """How exact two trees must agree."""

    def __init__(self, expected=None, atime=False, time_bits=64, mtime_since=None, xattrs=True, content=True,
                 ignore_directory_mtime=(), blocks=True):
        self.expected = dict(expected or {})
        self.atime = atime
        self.time_bits = time_bits	# 32: NFSv3 carries seconds modulo 2^32
        # Seconds since 1970: objects that the reference tree got an mtime later than this were
        # changed by the test in both trees, at slightly different moments.
        self.mtime_since = mtime_since
        self.xattrs = xattrs
        self.content = content
        self.blocks = blocks
        # Directories in which the test made or removed names.
        self.ignore_directory_mtime = set(ignore_directory_mtime)


class Result:
    def __init__(self):
        self.differences = []
        self.paths = []
        self.count = 0
        self.objects = 0
        self.bytes = 0

    def add(self, path, text):
        self.count += 1
        if len(self.differences) < 20:
            self.paths.append(path)
            self.differences.append("%s: %s" % (show(path), text))

    def __bool__(self):
        return not self.count

    def __str__(self):
        if self:
            return "%d objects, %d bytes compared: no difference" % (self.objects, self.bytes)
        more = self.count - len(self.differences)
        return "\n".join(["%d differences" % self.count] + self.differences + (["... and %d more" % more] if more else []))


def show(path):
    text = "".join(chr(b) if 32 <= b < 127 and b != 92 else "\\x%02x" % b for b in path) or "/"
    return text if len(text) <= 160 else "%s...%s (%d bytes)" % (text[:80], text[-60:], len(path))


def compare(reference, target, rules=None):
    """Both are directory paths.  Returns a Result; false if they differ."""
    return _Comparison(rules or Rules()).run(reference, target)


class _Comparison:
    def __init__(self, rules):
        self.rules = rules
        self.result = Result()
        self.groups = ({}, {})	# (dev, ino) -> [paths], of names with several links
        self.links = ({}, {})	# path -> st_nlink

    def run(self, reference, target):
        sysx.many_descriptors()
        a, b = os.open(reference, _OPEN_DIR), os.open(target, _OPEN_DIR)
        self._same_inode(b"", a, b".", b, b".")
        # Explicit stack: a tree may be deeper than Python's recursion.
        stack = [(b"", a, b, iter(self._names(b"", a, b)))]
        while stack:
            path, a, b, names = stack[-1]
            name = next(names, None)
            if name is None:
                os.close(a)
                os.close(b)
                stack.pop()
                continue
            child = path + b"/" + name if path else name
            below = self._entry(child, name, a, b)
            if below:
                stack.append((child, *below, iter(self._names(child, *below))))
        self._compare_groups()
        return self.result

    def _names(self, path, a, b):
        in_a, in_b = ({os.fsencode(n) for n in os.listdir(fd)} for fd in (a, b))
        for name in sorted(in_a ^ in_b):
            child = path + b"/" + name if path else name
            expected = self.rules.expected.get(child)
            if name in in_a and expected != DELETED:
                self.result.add(child, "missing on the target")
            elif name in in_b and expected != ADDED and not isinstance(expected, bytes):
                self.result.add(child, "on the target only")
            elif name in in_b:
                self._no_trace(child, b, name)
                if isinstance(expected, bytes):
                    self._expected_content(child, b, name, expected)
        return sorted(in_a & in_b)

    def _entry(self, path, name, a, b):
        """Compare one name; returns two descriptors to go on with if it is a directory."""
        expected = self.rules.expected.get(path)
        if expected == DELETED:
            self.result.add(path, "should have been deleted")
            return None
        if expected is not None:
            self._no_trace(path, b, name)
            if isinstance(expected, bytes):
                self._expected_content(path, b, name, expected)
            return None
        if not self._same_inode(path, a, name, b, name):
            return None
        return self._open_both(a, b, name, _OPEN_DIR)

    @staticmethod
    def _open_both(a, b, name, flags):
        first = os.open(name, flags, dir_fd=a)
        try:
            return first, os.open(name, flags, dir_fd=b)
        except BaseException:
            os.close(first)
            raise

    def _same_inode(self, path, a, name_a, b, name_b):
        """Compares all but names below; true if both are directories."""
        sa = os.stat(name_a, dir_fd=a, follow_symlinks=False)
        sb = os.stat(name_b, dir_fd=b, follow_symlinks=False)
        self.result.objects += 1
        kind = stat.S_IFMT(sa.st_mode)
        if kind != stat.S_IFMT(sb.st_mode):
            self.result.add(path, "type %o, on the target %o" % (kind, stat.S_IFMT(sb.st_mode)))
            return False
        fields = ["st_mode", "st_uid", "st_gid"]
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            fields.append("st_rdev")
        if kind in (stat.S_IFREG, stat.S_IFLNK):
            fields.append("st_size")
        for field in fields:
            self._equal(path, field, getattr(sa, field), getattr(sb, field))
        self._times(path, sa, sb, kind)
        if kind != stat.S_IFDIR:
            for side, st in enumerate((sa, sb)):
                self.links[side][path] = st.st_nlink
                if st.st_nlink > 1:
                    self.groups[side].setdefault((st.st_dev, st.st_ino), []).append(path)
        if kind == stat.S_IFREG:
            self._blocks(path, sa, sb)
            if self.rules.content and sa.st_size == sb.st_size:
                self._content(path, a, b, name_a)
        elif kind == stat.S_IFLNK:
            self._equal(path, "symlink target", os.readlink(name_a, dir_fd=a), os.readlink(name_b, dir_fd=b))
        self._xattrs(path, a, name_a, b, name_b)
        return kind == stat.S_IFDIR

    def _equal(self, path, what, x, y):
        if x != y:
            form = "%o" if what == "st_mode" else "%r"
            self.result.add(path, ("%s " + form + ", on the target " + form) % (what, x, y))

    def _times(self, path, sa, sb, kind):
        if self.rules.atime and kind != stat.S_IFDIR:
            self._time(path, "atime", sa.st_atime_ns, sb.st_atime_ns)
        if path in self.rules.ignore_directory_mtime:
            return
        since = self.rules.mtime_since
        if since is not None and sa.st_mtime_ns >= since * 10**9:
            if abs(sa.st_mtime_ns - sb.st_mtime_ns) > 60 * 10**9 or sb.st_mtime_ns < since * 10**9:
                self.result.add(path, "mtime %d was set by the application, on the target %d" % (sa.st_mtime_ns, sb.st_mtime_ns))
            return
        self._time(path, "mtime", sa.st_mtime_ns, sb.st_mtime_ns)

    def _time(self, path, what, x, y):
        if x == y:
            return
        (xs, xn), (ys, yn) = divmod(x, 10**9), divmod(y, 10**9)
        if xn == yn and self.rules.time_bits == 32 and (xs - ys) % (1 << 32) == 0:
            return
        self.result.add(path, "%s %d, on the target %d" % (what, x, y))

    def _blocks(self, path, sa, sb):
        if self.rules.blocks and sb.st_blocks > 2 * sa.st_blocks + 2048:
            self.result.add(path, "%d blocks of 512 bytes, on the target %d: holes are lost" % (sa.st_blocks, sb.st_blocks))

    def _content(self, path, a, b, name):
        try:
            fa, fb = self._open_both(a, b, name, _OPEN_FILE)
        except OSError as e:
            self.result.add(path, "cannot be opened: %s" % e)
            return
        try:
            at = 0
            while True:
                at = min(_next_data(fa, at), _next_data(fb, at))
                x, y = os.pread(fa, _BLOCK, at), os.pread(fb, _BLOCK, at)
                if x != y:
                    shift = next((i for i, (p, q) in enumerate(zip(x, y)) if p != q), min(len(x), len(y)))
                    self.result.add(path, "content differs from byte %d" % (at + shift))
                    return
                if not x:
                    return
                at += len(x)
                self.result.bytes += len(x)
        finally:
            os.close(fa)
            os.close(fb)

    def _expected_content(self, path, b, name, expected):
        try:
            fd = os.open(name, _OPEN_FILE, dir_fd=b)
        except OSError as e:
            self.result.add(path, "cannot be opened: %s" % e)
            return
        with os.fdopen(fd, "rb") as f:
            if f.read() != expected:
                self.result.add(path, "is not what the application wrote")

    def _xattrs(self, path, a, name_a, b, name_b):
        on_target = self._no_trace(path, b, name_b)
        if self.rules.xattrs:
            x = _plain(sysx.list_xattrs(a, name_a))
            y = _plain(on_target)
            if x != y:
                self.result.add(path, "xattrs %r, on the target %r" % (x, y))

    def _no_trace(self, path, b, name):
        found = sysx.list_xattrs(b, name)
        for key in found:
            if key.startswith("trusted.dmm"):
                self.result.add(path, "the target still has xattr %s" % key)
        return found

    def _compare_groups(self):
        paths = [{p: frozenset(g) for g in groups.values() for p in g} for groups in self.groups]
        for path in sorted(set(paths[0]) | set(paths[1])):
            # Names that the application added or deleted count for neither side.
            x, y = (self._known(path, side) for side in paths)
            if x != y:
                self.result.add(path, "is one inode with %s, on the target with %s" %
                                (_show_group(x, path), _show_group(y, path)))
        if not self.rules.expected:
            for path, count in self.links[0].items():
                if path in self.links[1]:
                    self._equal(path, "st_nlink", count, self.links[1][path])

    def _known(self, path, groups):
        return frozenset(p for p in groups.get(path, {path}) if p not in self.rules.expected)


def _next_data(fd, at):
    try:
        return os.lseek(fd, at, os.SEEK_DATA)
    except OSError as e:
        if e.errno == errno.ENXIO:	# only a hole is left
            return os.fstat(fd).st_size
        raise


def _plain(xattrs):
    return {k: v for k, v in xattrs.items() if not k.startswith("trusted.")}


def _show_group(group, path):
    return ", ".join(show(p) for p in sorted(group - {path})[:4]) or "nothing else"
