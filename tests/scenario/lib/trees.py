# SPDX-License-Identifier: GPL-3.0-or-later
"""
Source trees, made from a seed: the same seed gives the same tree.

odd()    every odd name and type that must survive
mixed()  what an application's directory looks like, a few hundred to many thousands of objects
wide()   many objects, as cheaply as possible
"""
import os
import random
import stat

from . import sysx

# Seconds since 1970 that break 32-bit and unsigned arithmetic; all fit ext4 (1901-2446).
TIMES = (-2147483647, -315619200, -1, 0, 1, 2147483647, 2147483648, 4102444800, 4294967296, 7258118400)
_NS = (0, 1, 999999999, 123456789, 500000000)
_SIZES = (0, 1, 511, 4095, 4096, 4097, 65537, (1 << 20) - 1, (1 << 20) + 1, 3 << 20)
_NOBODY = 4294967290


class Tree:
    """Creates objects below one directory, by descriptor; sets every time explicitly."""

    def __init__(self, root, seed):
        self.root = os.fsencode(root)
        self.random = random.Random(seed)
        self.count = 0

    def path(self, *names):
        return b"/".join([self.root, *(os.fsencode(n) for n in names)])

    def times(self):
        r = self.random
        return r.randrange(0, 1700000000) * 10**9 + r.choice(_NS)	# all in the past

    def stamp(self, path):
        os.utime(path, ns=(self.times(), self.times()), follow_symlinks=False)
        self.count += 1

    def file(self, path, data=b"", mode=0o644, owner=None):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(fd, data)
            if owner:
                os.fchown(fd, *owner)
            os.fchmod(fd, mode)
        finally:
            os.close(fd)
        self.stamp(path)

    def directory(self, path, mode=0o755, owner=None):
        os.mkdir(path, 0o700)
        if owner:
            os.chown(path, *owner)
        os.chmod(path, mode)
        self.count += 1

    def node(self, path, kind, device=0, mode=0o640):
        os.mknod(path, kind | 0o600, device)
        os.chmod(path, mode)
        self.stamp(path)

    def symlink(self, path, target):
        os.symlink(target, path)
        self.stamp(path)

    def close_directories(self):
        """Directory times, deepest first: making children changes them."""
        stack = [(os.open(self.root, os.O_RDONLY | os.O_DIRECTORY), None)]
        stack[0] = (stack[0][0], self._subdirectories(stack[0][0]))
        while stack:
            fd, names = stack[-1]
            name = next(names, None)
            if name is not None:
                child = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                stack.append((child, self._subdirectories(child)))
                continue
            os.utime(fd, ns=(self.times(), self.times()))
            os.close(fd)
            stack.pop()

    @staticmethod
    def _subdirectories(fd):
        with os.scandir(fd) as entries:
            return iter(sorted(os.fsencode(e.name) for e in entries if e.is_dir(follow_symlinks=False)))


def odd(root, seed=1, entries=200000, levels=1100):
    sysx.many_descriptors()
    tree = Tree(root, seed)
    for part in (_names, _types, _modes, _owners, _times, _links, _sizes, _deep_long):
        part(tree)
    _deep(tree, "deeper", levels, lambda level: b"%04d" % level)
    _crowd(tree, entries)
    tree.close_directories()
    return tree


def odd_names():
    every = bytes(b for b in range(1, 256) if b != ord("/"))
    return [b"\xff\xfe", b"caf\xe9", b"\xc3\x28 not utf-8", b"two\nlines", b"\n", b" ", b"  lead and trail  ", b"-rf", b"*", b"?",
            b"\\", b"\\x41", b'"', b"'", b"$(reboot)", b"~", b"...", b"..a", b".hidden", b"tab\there", b"\r", b"\x01\x7f",
            b"a" * 255, b"\xff" * 255, b"\n" * 255, every, "ü".encode() * 127, "u\u0308 decomposed".encode(), "ü composed".encode(),
            b"CON", b"Case", b"case", b".dmm-holder", b".nfs000000000000001", b"lost+found", b"%41", b"a:b", b"trailing.", b"colon: x"]


def _names(tree):
    base = tree.path("names")
    tree.directory(base)
    for kind in (b"files", b"directories", b"links"):
        tree.directory(base + b"/" + kind)
    for name in odd_names():
        tree.file(base + b"/files/" + name, b"content of " + name)
        tree.directory(base + b"/directories/" + name)
        tree.file(base + b"/directories/" + name + b"/inside", name)
        tree.symlink(base + b"/links/" + name, name)


def _types(tree):
    base = tree.path("types")
    tree.directory(base)
    tree.file(base + b"/empty file")
    tree.directory(base + b"/empty directory", 0o700)
    tree.node(base + b"/fifo", stat.S_IFIFO)
    tree.node(base + b"/socket", stat.S_IFSOCK)
    # XFS holds 18 bits of a minor number and 9 of a major.
    for major, minor in ((1, 3), (1, 255), (8, 256), (259, 262143), (511, 1)):
        tree.node(base + b"/char %d %d" % (major, minor), stat.S_IFCHR, os.makedev(major, minor))
        tree.node(base + b"/block %d %d" % (major, minor), stat.S_IFBLK, os.makedev(major, minor))
    for name, target in (("dangling", "nowhere/at all"), ("absolute", "/etc/passwd"), ("up", "../../../.."), ("self", "self"),
                         ("to directory", "empty directory"), ("odd", b"\xff\n\\x"), ("long", "x/" * 500)):
        tree.symlink(base + b"/link " + os.fsencode(name), target)


def _modes(tree):
    base = tree.path("modes")
    tree.directory(base)
    for mode in (0, 0o7777, 0o4755, 0o2755, 0o1644, 0o6711, 0o2644, 0o111, 0o222):
        tree.file(base + b"/file %04o" % mode, b"#!/bin/sh\n", mode, (1234, 5678))
        # nfs-ganesha takes a sticky directory that nobody may search for an NFSv4 referral.
        mode |= 0o111 if mode & 0o1000 else 0
        tree.directory(base + b"/directory %04o" % mode, mode, (1234, 5678))
        # In a directory with the setgid bit a new object inherits the group.
        tree.file(base + b"/directory %04o/file" % mode, b"x", 0o640, (1, 2))
        tree.directory(base + b"/directory %04o/directory" % mode, 0o750, (1, 2))


def _owners(tree):
    base = tree.path("owners")
    tree.directory(base, 0o755, (_NOBODY, _NOBODY))
    for uid, gid in ((0, _NOBODY), (_NOBODY, 0), (_NOBODY, _NOBODY), (65534, 65534), (2147483648, 65536)):
        who = b"%d %d" % (uid, gid)
        tree.file(base + b"/file " + who, who, 0o4755, (uid, gid))
        tree.directory(base + b"/directory " + who, 0o2770, (uid, gid))
        tree.symlink(base + b"/link " + who, who)
        os.lchown(base + b"/link " + who, uid, gid)


def _times(tree):
    base = tree.path("times")
    tree.directory(base)
    for second in TIMES:
        for ns in _NS[:3]:
            path = base + b"/%d %d" % (second, ns)
            tree.file(path, b"t" * (ns % 7))
            os.utime(path, ns=(second * 10**9 + ns, second * 10**9 + ns))


def _links(tree):
    base = tree.path("links")
    tree.directory(base)
    places = [base + b"/%d" % i for i in range(4)]
    for place in places:
        tree.directory(place)
    for number in range(40):
        first = places[number % 4] + b"/group %d" % number
        tree.file(first, b"linked %d" % number * 50)
        for extra in range(1 + number % 5):
            os.link(first, places[(number + extra + 1) % 4] + b"/name %d of %d" % (extra, number))
    tree.symlink(base + b"/symlink", "target")
    os.link(base + b"/symlink", places[1] + b"/symlink too", follow_symlinks=False)
    tree.node(base + b"/fifo", stat.S_IFIFO)
    os.link(base + b"/fifo", places[2] + b"/fifo too")


def _sizes(tree):
    base = tree.path("sizes")
    tree.directory(base)
    for size in _SIZES:
        tree.file(base + b"/%d" % size, tree.random.randbytes(size))
    for name, size, data in (("hole only", 50 << 20, ()), ("hole at end", 9 << 20, (0,)), ("hole at start", (40 << 20) + 5, ((40 << 20),)),
                             ("islands", 100 << 20, (1 << 20, 33 << 20, 66 << 20))):
        sparse(base + b"/" + os.fsencode(name), size, data, tree.random)
        tree.stamp(base + b"/" + os.fsencode(name))


def sparse(path, size, islands=(), rng=None, island=5):
    """A file with data only at the given offsets."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.ftruncate(fd, size)
        for offset in islands:
            os.pwrite(fd, rng.randbytes(island) if rng else b"data!"[:island], offset)
    finally:
        os.close(fd)


def _deep(tree, name, levels, component):
    """A chain of directories whose path no system call takes as a whole."""
    tree.directory(tree.path(name))
    fd = os.open(tree.path(name), os.O_RDONLY | os.O_DIRECTORY)
    for level in range(levels):
        step = component(level)
        os.mkdir(step, 0o755, dir_fd=fd)
        out = os.open(b"file", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
        os.write(out, b"level %d" % level)
        os.utime(out, ns=(tree.times(), tree.times()))
        os.close(out)
        below = os.open(step, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
        tree.count += 2
    os.symlink(b"bottom", b"link", dir_fd=fd)
    os.utime(b"link", ns=(tree.times(), tree.times()), dir_fd=fd, follow_symlinks=False)
    os.close(fd)


def _deep_long(tree):
    _deep(tree, "deep", 25, lambda level: b"%02d" % level + b"l" * 200)


def _crowd(tree, entries):
    base = tree.path("crowd")
    tree.directory(base)
    fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
    for number in range(entries):
        out = os.open(b"entry %08d" % number, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=fd)
        if number % 50 == 0:
            os.write(out, b"%d\n" % number * 20)
        os.utime(out, ns=(number * 10**9 + 7, number * 10**9 + number))
        os.close(out)
    os.close(fd)
    tree.count += entries


def mixed(root, seed=1, objects=400, large=(1 << 20, 5 << 20), modes=(0o644, 0o600, 0o755, 0o4711)):
    """Directories, files of typical sizes, symlinks, hard links."""
    tree = Tree(root, seed)
    r = tree.random
    directories = [tree.root]
    files = []
    for number in range(objects):
        parent = r.choice(directories[-40:])
        path = parent + b"/" + r.choice((b"f", b"data-", b"Some File ")) + b"%d" % number
        kind = r.random()
        if kind < 0.12:
            tree.directory(path, r.choice((0o755, 0o750, 0o2775)), (r.randrange(3) * 1000, r.randrange(3) * 1000))
            directories.append(path)
        elif kind < 0.18:
            tree.symlink(path, r.choice(files)[len(tree.root) + 1:] if files else b"none")
        elif kind < 0.22 and files:
            os.link(r.choice(files), path)
        else:
            size = min(int(r.lognormvariate(7.5, 1.8)), 400000)
            tree.file(path, r.randbytes(size), r.choice(modes), (r.randrange(3) * 1000, 0))
            files.append(path)
    for number, size in enumerate(large):
        tree.file(tree.path("large %d" % number), r.randbytes(size))
    tree.close_directories()
    return tree


def wide(root, objects, per_directory=500, data=b""):
    """directory/file, fast; contents are the same few bytes."""
    made = 0
    number = 0
    while made < objects:
        path = os.path.join(root, "d%05d" % number)
        os.mkdir(path)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        for i in range(min(per_directory, objects - made)):
            out = os.open("f%05d" % i, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
            if data:
                os.write(out, data)
            os.close(out)
        os.close(fd)
        made += per_directory + 1
        number += 1
    return made


def patterned(path, size, seed=1, block=8 << 20):
    """Real content that is cheap to make: each block random, each different from the one before."""
    rng = random.Random(seed)
    body = bytearray(rng.randbytes(block))
    with open(path, "wb") as f:
        written = 0
        while written < size:
            # A different header in each 64 KiB, so that a misplaced piece shows.
            for at in range(0, block, 65536):
                body[at:at + 8] = (written + at).to_bytes(8, "little")
            f.write(body[:min(block, size - written)])
            written += block
