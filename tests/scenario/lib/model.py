# SPDX-License-Identifier: GPL-3.0-or-later
"""
What applications did, and what they may rely on: the oracle of the tests that kill and cut.

The log is a file of JSON lines, flushed line by line, that lives outside of whatever is killed or cut.  An
operation is written before it is tried and its end (ok, an errno, or unknown because the mount died) after it:

    {"n": 17, "op": "write", "path": "s0/f3", "at": 0, "len": 300, "data": 99, "time": ...}
    {"n": 17, "r": "ok"}
    {"n": 18, "op": "rename", ...}
    {"n": 18, "r": "unknown"}
    {"n": 18, "seen": [0, 1, ...]}	what the application found of it afterwards

"refused" operations are expected to fail and to change nothing; they are part of the story only.

Two readings of one log (class Model, fed with lines; replay() feeds it from a file):

  kill -9 of the worker   the host lives: what returned success is there completely; what is unknown
                          happened or not (content: each block by itself), until the application looks.
  power cut               log positions (before, after) around the cut.  What had been made durable by an fsync whose
                          end stands before `before` is there (file: content and attributes; directory: its names;
                          fdatasync: content); later values up to the last operation begun before `after` are allowed,
                          content block by block; nothing else.

A Thing is one identity (file, directory, symlink): of the source ("s:PATH") or made by an application ("c17").
Its properties are Facts: what it is now and, for a cut, what it may still be.  A fact of a directory is one
entry, so things follow renames of their directories by themselves.

Not judged: atime, directory mtimes where an application worked, disk blocks.  An mtime that follows from a write
must not be older than the first write since it was last set by hand.

Content is kept as 4 KiB blocks over the source's file, which is read when needed and must not change.
Operations of one application ("player") are one after another; two players never touch the same things.  Not thread safe.
"""
import json
import os
import random
import stat
import threading
import time

from . import sysx
from .compare import show

BLOCK = 4096
ZERO = bytes(BLOCK)
UNKNOWN = "unknown"
_SYNCS = ("fsync", "fdatasync")
_CLOCK = 50 * 10**6	# ns by which a file system's clock may be behind (a tick of the kernel)


class Violation(AssertionError):
    pass


def data(seed, length):
    """The bytes that an operation writes; never a block of zeros."""
    return random.Random(seed).randbytes(length)


class Log:
    """Append-only; begin() before the operation, end() after it.  Threads: any."""

    def __init__(self, path):
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._lock = threading.Lock()
        self._next = 1
        self._size = os.fstat(self._fd).st_size

    def number(self):
        with self._lock:
            self._next += 1
            return self._next - 1

    def write(self, line):
        text = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            os.write(self._fd, text)
            self._size += len(text)

    def position(self):
        """Everything before it was written before this call."""
        with self._lock:
            return self._size

    def close(self):
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


class Fact:
    """now: the values it may have for who looks (one, unless an outcome is unknown); past: older ones a cut may show."""
    __slots__ = ("now", "past")

    def __init__(self, value, past=()):
        self.now = (value,)
        self.past = past

    @property
    def value(self):
        return self.now[-1]

    def allowed(self):
        return self.now + tuple(self.past)


class Range:
    """A size between two, when a write that extends was cut short."""

    def __init__(self, low, high):
        self.low, self.high = low, high

    def __repr__(self):
        return "%d..%d" % (self.low, self.high)


class Since:
    """An mtime that follows from a change of content."""

    def __init__(self, ns):
        self.ns = ns

    def __repr__(self):
        return "since %d" % self.ns


class Thing:
    def __init__(self, ident, kind, mode, owner, mtime, size=0, base=None, link=None, made=False):
        self.id, self.kind, self.link, self.base = ident, kind, link, base
        self.base_size = size
        self.mode, self.owner, self.mtime, self.size = Fact(mode), Fact(owner), Fact(mtime), Fact(size)
        self.alive = Fact(True, (False,) if made else ())
        self.blocks = {}	# index -> Fact of 4096 bytes; others are as in the source, or zeros
        self.entries = {}	# directories: name -> Fact of Thing or None
        self.names = set()	# (directory, name), as of now
        self.many = False	# several names on the source
        self.story = []

    def __repr__(self):
        return self.id

    def path(self):
        """One of its names, as of now; None without."""
        parts, thing = [], self
        while thing.names:
            thing, name = min(thing.names, key=lambda n: (n[0].id, n[1]))
            parts.append(name)
        return b"/".join(reversed(parts)) if thing.id == "root" else None


class Change:
    """One fact that an operation sets; `other`: one more value that a crash in its middle may leave."""
    __slots__ = ("what", "thing", "key", "fact", "value", "other")
    NONE = object()

    def __init__(self, what, thing, key, fact, value, other=NONE):
        self.what, self.thing, self.key, self.fact, self.value, self.other = what, thing, key, fact, value, other


class _Pending:
    def __init__(self, line, changes, things, to_sync):
        self.line, self.changes, self.things, self.to_sync = line, changes, things, to_sync
        self.ended = False


def _involved(changes):
    found = {}
    for c in changes:
        for thing in (c.value, *c.fact.now) if c.what == "entry" else (c.thing,):
            if thing is not None and (c.what != "mtime" or not found):
                found.setdefault(thing.id, thing)
    return list(found.values())


class Model:
    """
    keep: remember what a cut may show.  begin(), end() and seen() take lines of the log; a line must
    be in the log before it is fed here (live) or be read from it (replay).
    """

    def __init__(self, source, keep=False):
        self.source = os.fsencode(source)
        self.keep = keep
        self.durable = True	# ends of fsync count
        self.things = {}
        self.pending = {}	# n -> (line, changes)
        self.root = None
        self._bases = {}
        self._scan()

    # -- the source

    def _scan(self):
        inodes = {}
        self.root = self._of_source(b"", os.lstat(self.source), inodes)
        self.root.id = "root"
        stack = [(b"", self.root)]
        while stack:
            path, thing = stack.pop()
            for name in sorted(os.listdir(self.source + b"/" + path)):
                child = path + b"/" + name if path else name
                below = self._of_source(child, os.lstat(self.source + b"/" + child), inodes)
                thing.entries[name] = Fact(below)
                below.names.add((thing, name))
                if below.kind == "d":
                    stack.append((child, below))

    def _of_source(self, path, st, inodes):
        if st.st_ino in inodes:
            return inodes[st.st_ino]
        kind = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l"}.get(stat.S_IFMT(st.st_mode), "o")
        thing = Thing("s:" + os.fsdecode(path), kind, stat.S_IMODE(st.st_mode), (st.st_uid, st.st_gid), st.st_mtime_ns,
                      st.st_size if kind == "f" else 0, path if kind == "f" else None,
                      os.readlink(self.source + b"/" + path) if kind == "l" else None)
        thing.many = kind != "d" and st.st_nlink > 1
        if kind != "d":
            inodes[st.st_ino] = thing
        self.things[thing.id] = thing
        return thing

    def _base(self, thing):
        fd = self._bases.get(thing.base)
        if fd is None:
            fd = os.open(self.source + b"/" + thing.base, os.O_RDONLY | os.O_CLOEXEC | sysx.O_NOATIME)
            self._bases[thing.base] = fd
        return fd

    def close(self):
        for fd in self._bases.values():
            os.close(fd)
        self._bases.clear()

    # -- looking

    def find(self, path):
        """(directory, name, thing or None); directory None when the way there does not exist."""
        *above, name = os.fsencode(path).split(b"/")
        thing = self.root
        for part in above:
            fact = thing.entries.get(part)
            thing = fact.value if fact else None
            if thing is None or thing.kind != "d":
                return None, name, None
        fact = thing.entries.get(name)
        return thing, name, fact.value if fact else None

    def thing(self, path):
        if not path:
            return self.root
        thing = self.find(path)[2]
        if thing is None:
            raise KeyError(path)
        return thing

    def children(self, thing):
        return [(n, f.value) for n, f in thing.entries.items() if f.value is not None]

    def original(self, thing, index):
        if thing.base is None or index * BLOCK >= thing.base_size:
            return ZERO
        return os.pread(self._base(thing), BLOCK, index * BLOCK).ljust(BLOCK, b"\0")

    def block(self, thing, index):
        fact = thing.blocks.get(index)
        return fact.value if fact else self.original(thing, index)

    def read(self, thing, at, length):
        """What pread() must return now."""
        length = max(0, min(length, thing.size.value - at))
        if not length:
            return b""
        first, last = at // BLOCK, (at + length - 1) // BLOCK
        body = bytearray(os.pread(self._base(thing), (last - first + 1) * BLOCK, first * BLOCK)
                         if thing.base is not None and first * BLOCK < thing.base_size else b"").ljust((last - first + 1) * BLOCK, b"\0")
        for i in range(first, last + 1) if thing.blocks else ():
            if i in thing.blocks:
                body[(i - first) * BLOCK:(i - first + 1) * BLOCK] = thing.blocks[i].value
        return bytes(body[at - first * BLOCK:at - first * BLOCK + length])

    # -- lines of the log

    def feed(self, line):
        if "op" in line:
            return self.begin(line)
        if "seen" in line:
            return self.seen(line)
        return self.end(line)

    def begin(self, line):
        sync = line["op"] in _SYNCS
        changes = () if sync else getattr(self, "_" + line["op"])(line)
        things = [self.thing(line["path"])] if sync else _involved(changes)
        if not things:
            directory, _, thing = self.find(line["path"])
            things = [t for t in (directory, thing) if t]
        self.pending[line["n"]] = _Pending(line, changes, things, self._to_sync(things[0], line["op"]) if sync else ())
        for thing in things:
            thing.story.append(_brief(line))
        return changes

    def end(self, line):
        p = self.pending[line["n"]]
        p.ended = True
        for thing in p.things:
            thing.story.append("  %d -> %s" % (line["n"], line["r"]))
        if line["r"] == UNKNOWN and p.changes:
            for c in p.changes:	# seen() may follow
                c.fact.now = c.fact.now + ((c.value,) if c.other is Change.NONE else (c.other, c.value))
            return
        del self.pending[line["n"]]
        if line["r"] != "ok":
            return
        for c in p.changes:
            self._set(c, c.value)
        if self.durable:
            # or opened with O_SYNC, O_DSYNC
            self._synced(self._to_sync(p.things[0], p.line["sync"]) if "sync" in p.line else p.to_sync)

    def seen(self, line):
        """
        What was found of an unknown operation.  For each change 0: it did not happen, 1: it did, 2: the other, None: cannot be told;
        size: of a file that was extended, when it is between the two.
        """
        p = self.pending.pop(line["n"])
        told = [s for s in line["seen"] if s is not None]
        for thing in p.things:
            thing.story.append("  %d was found %s" % (line["n"], "done" if all(told) else "half done" if any(told) else "not done"))
        for c, happened in zip(p.changes, line["seen"]):
            if happened is None:
                continue
            c.fact.now = c.fact.now[:-1 if c.other is Change.NONE else -2]
            if happened:
                self._set(c, c.value if happened == 1 else c.other)
        if "size" in line:
            thing = p.things[0]
            thing.size.now = (line["size"],)
            for c in self._cut_off(thing, line["size"]):
                c.fact.now = (c.value,)

    def close_pending(self):
        """The log has ended: what has no end is unknown."""
        for n in [n for n, p in self.pending.items() if not p.ended]:
            self.end({"n": n, "r": UNKNOWN})

    def _set(self, c, value):
        if self.keep:
            c.fact.past = tuple(c.fact.past) + c.fact.now
        if c.what == "entry":
            for old in c.fact.now:
                if old is not None and old is not value:
                    old.names.discard((c.thing, c.key))
            if value is not None:
                value.names.add((c.thing, c.key))
        c.fact.now = (value,)

    @staticmethod
    def _to_sync(thing, how):
        """What an fsync that begins now makes durable: [(fact, its value, directory)]"""
        facts = [thing.size, *thing.blocks.values()]
        if how == "fsync":
            facts += [thing.mode, thing.owner, thing.mtime]
        return [(f, f.now, None) for f in facts] + [(f, f.now, thing) for f in (thing.entries.values() if how == "fsync" else ())]

    @staticmethod
    def _synced(facts):
        for fact, value, directory in facts:
            if fact.now is not value:
                continue	# changed by another player while the fsync ran
            fact.past = ()
            if directory and value[-1] is not None and set(directory.alive.allowed()) == {True}:
                value[-1].alive.past = ()

    # -- what each operation changes

    def _mtime(self, thing, line):
        old = thing.mtime.value
        return Change("mtime", thing, None, thing.mtime, Since(min(old.ns, line["time"]) if isinstance(old, Since) else line["time"]))

    def _names_changed(self, *directories):
        return [Change("mtime", d, None, d.mtime, None) for d in {d.id: d for d in directories}.values()]

    def _content(self, thing, at, body, line):
        """body replaces what is at `at`; one change for each block."""
        changes = []
        end = at + len(body)
        for index in range(at // BLOCK, (end + BLOCK - 1) // BLOCK if body else at // BLOCK):
            start = index * BLOCK
            low, high = max(at, start), min(end, start + BLOCK)
            if high - low == BLOCK:
                new = body[low - at:high - at]
            else:
                old = self.block(thing, index)
                new = old[:low - start] + body[low - at:high - at] + old[high - start:]
            changes.append(self._block(thing, index, new))
        if body and end > thing.size.value:
            changes.append(Change("size", thing, None, thing.size, end, Range(thing.size.value, end)))
        if body:
            changes.append(self._mtime(thing, line))
        return changes

    def _block(self, thing, index, value):
        if index not in thing.blocks:
            thing.blocks[index] = Fact(self.original(thing, index))
        return Change("block", thing, index, thing.blocks[index], value)

    def _write(self, line):
        return self._content(self.thing(line["path"]), line["at"], data(line["data"], line["len"]), line)

    def _copy(self, line):
        """copy_file_range from `from`/`off` to `path`/`at`"""
        return self._content(self.thing(line["path"]), line["at"], self.read(self.thing(line["from"]), line["off"], line["len"]), line)

    def _cut_off(self, thing, size):
        changes = []
        end = max([thing.base_size if thing.base is not None else 0, thing.size.value, *((i + 1) * BLOCK for i in thing.blocks)])
        for index in range(size // BLOCK, (end + BLOCK - 1) // BLOCK):
            keep = max(0, size - index * BLOCK)
            old = self.block(thing, index)
            if any(old[keep:]):
                changes.append(self._block(thing, index, old[:keep].ljust(BLOCK, b"\0")))
        return changes

    def _truncate(self, line):
        thing, size = self.thing(line["path"]), line["size"]
        changes = self._cut_off(thing, size) if size < thing.size.value else []
        if size != thing.size.value:
            changes.append(Change("size", thing, None, thing.size, size))
            changes.append(self._mtime(thing, line))
        elif line.get("always"):
            changes.append(self._mtime(thing, line))
        else:	# by name, to the size it has: file systems differ
            changes.append(Change("mtime", thing, None, thing.mtime, None))
        return changes

    def _punch(self, line):
        """Zeros, within the file."""
        thing = self.thing(line["path"])
        length = max(0, min(line["len"], thing.size.value - line["at"]))
        return self._content(thing, line["at"], bytes(length), line)

    def _allocate(self, line):
        thing = self.thing(line["path"])
        changes = [Change("mtime", thing, None, thing.mtime, None)]
        if line["at"] + line["len"] > thing.size.value and not line["keep"]:
            changes.append(Change("size", thing, None, thing.size, line["at"] + line["len"]))
        return changes

    def _chmod(self, line):
        thing = self.thing(line["path"])
        return [Change("mode", thing, None, thing.mode, line["mode"])]

    def _chown(self, line):
        thing = self.thing(line["path"])
        return [Change("owner", thing, None, thing.owner, (line["uid"], line["gid"]))]

    def _utime(self, line):
        thing = self.thing(line["path"])
        return [Change("mtime", thing, None, thing.mtime, line["mtime"])]

    @staticmethod
    def _refused(line):
        return []

    def _entry(self, directory, name, value, other=Change.NONE):
        if name not in directory.entries:
            directory.entries[name] = Fact(None)
        return Change("entry", directory, name, directory.entries[name], value, other)

    def _new(self, line, kind, mode, link=None):
        directory, name, _ = self.find(line["path"])
        thing = Thing("c%d" % line["n"], kind, mode, (0, 0), Since(line["time"]) if kind != "d" else None, link=link, made=True)
        self.things[thing.id] = thing
        return [self._entry(directory, name, thing), *self._names_changed(directory)]

    def _create(self, line):
        return self._new(line, "f", line["mode"])

    def _mkdir(self, line):
        return self._new(line, "d", line["mode"])

    def _symlink(self, line):
        return self._new(line, "l", 0o777, os.fsencode(line["to"]))

    def _link(self, line):
        directory, name, _ = self.find(line["path"])
        return [self._entry(directory, name, self.thing(line["from"])), *self._names_changed(directory)]

    @staticmethod
    def _dies(thing):
        """The change that follows when one name of it goes."""
        return [Change("alive", thing, None, thing.alive, False)] if len(thing.names) == 1 else []

    def _unlink(self, line):
        directory, name, thing = self.find(line["path"])
        return [self._entry(directory, name, None), *self._dies(thing), *self._names_changed(directory)]

    _rmdir = _unlink

    def _rename(self, line):
        old, old_name, thing = self.find(line["from"])
        new, new_name, victim = self.find(line["path"])
        if victim is thing:
            return []
        # A victim with several names is moved away first: a crash may leave the new name free (doc/crash-safety.md).
        first = [self._entry(old, old_name, None),
                 self._entry(new, new_name, thing, None if victim is not None and victim.many else Change.NONE)]
        return first + (self._dies(victim) if victim is not None else []) + self._names_changed(old, new)

    def _exchange(self, line):
        old, old_name, one = self.find(line["from"])
        new, new_name, two = self.find(line["path"])
        return [self._entry(old, old_name, two), self._entry(new, new_name, one), *self._names_changed(old, new)]

    # -- judging

    def judge(self, root, plain=True, limit=12):
        """Violations, as texts with the story of the thing; [] when everything is as it may be.  plain: nothing of the product is left."""
        return _Judge(self, os.fsencode(root), plain, limit).run()


def replay(source, path, cut=None):
    """A Model of the log at path.  cut: None for the reading after kill -9, or (before, after) for a power cut."""
    before, after = cut or (None, None)
    model = Model(source, keep=cut is not None)
    at = 0
    with open(path, "rb") as f:
        for text in f:
            at += len(text)
            if after is not None and at > after:
                break
            model.durable = before is None or at <= before
            model.feed(json.loads(text))
    model.close_pending()
    return model


def _brief(line):
    return "%d %s %s" % (line["n"], line["op"], " ".join("%s=%s" % (k, line[k]) for k in line if k not in ("n", "op", "time", "p")
                                                          and not k.startswith("_")))


class _Judge:
    def __init__(self, model, root, plain, limit):
        self.model, self.root, self.plain, self.limit = model, root, plain, limit
        self.violations = []
        self.count = 0
        self.found = {}		# thing -> [(path, stat)]
        self._fits = {}

    def run(self):
        self._directory(b"", self.model.root, os.lstat(self.root))
        for thing in self.model.things.values():
            names = self.found.get(thing.id)
            if thing is self.model.root:
                continue
            if not names and set(thing.alive.allowed()) == {True}:
                self._say(thing, thing.path() or b"?", "is lost: it has no name any more")
            elif names and thing.kind != "d":
                self._links(thing, names)
        if self.count > len(self.violations):
            self.violations.append("... and %d more" % (self.count - len(self.violations)))
        return self.violations

    def _say(self, thing, path, text):
        self.count += 1
        if len(self.violations) < self.limit:
            story = thing.story[-14:] if thing else []
            self.violations.append("\n    ".join(["%s: %s%s" % (show(path), text, " (%s)" % thing.id if thing else ""), *story]))

    def _directory(self, path, thing, st):
        for text in self._attributes(thing, self.root + b"/" + path, st):
            self._say(thing, path, text)
        names = set(os.listdir(self.root + b"/" + path)) | set(thing.entries)
        for name in sorted(names):
            self._entry(path + b"/" + name if path else name, thing, thing.entries.get(name))

    def _entry(self, path, directory, fact):
        allowed = fact.allowed() if fact else (None,)
        full = self.root + b"/" + path
        try:
            st = os.lstat(full)
        except FileNotFoundError:
            if None not in allowed:
                self._say(allowed[0], path, "is missing")
            return
        things = list({t.id: t for t in allowed if t is not None}.values())
        if not things:
            self._say(directory, path, "is there, but %s" % ("nobody made it" if fact is None else "it was removed"))
            return
        tried = [(self._misfits(t, full, st), t) for t in things]
        wrong, thing = min(tried, key=lambda pair: len(pair[0]))
        self.found.setdefault(thing.id, []).append((path, st))
        for text in wrong:
            self._say(thing, path, text)
        if thing.kind == "d" and stat.S_ISDIR(st.st_mode):
            self._directory(path, thing, st)

    def _misfits(self, thing, full, st):
        key = (thing.id, st.st_ino)
        if key not in self._fits:
            self._fits[key] = self._compare(thing, full, st)
        return self._fits[key]

    def _compare(self, thing, full, st):
        kind = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l"}.get(stat.S_IFMT(st.st_mode), "o")
        if kind != thing.kind:
            return ["is a %r, not a %r" % (kind, thing.kind)] * 3	# fits worse than anything of the right type
        if kind == "d":
            return []		# judged in _directory()
        wrong = self._attributes(thing, full, st)
        if kind == "l" and os.readlink(full) != thing.link:
            wrong.append("is a link to %r, not %r" % (os.readlink(full), thing.link))
        if kind == "f":
            sizes = thing.size.allowed()
            if not any(st.st_size == s or isinstance(s, Range) and s.low <= st.st_size <= s.high for s in sizes):
                wrong.append("size %d, not %s" % (st.st_size, _list(sizes)))
            wrong += self._content(thing, full, st.st_size)
        return wrong

    def _attributes(self, thing, full, st):
        wrong = []
        if stat.S_IMODE(st.st_mode) not in thing.mode.allowed() and thing.kind != "l":
            wrong.append("mode %o, not %s" % (stat.S_IMODE(st.st_mode), _list(["%o" % m for m in thing.mode.allowed()])))
        if (st.st_uid, st.st_gid) not in thing.owner.allowed():
            wrong.append("owner %d:%d, not %s" % (st.st_uid, st.st_gid, _list(thing.owner.allowed())))
        if not any(_mtime_fits(m, st.st_mtime_ns) for m in thing.mtime.allowed()):
            wrong.append("mtime %d, not %s" % (st.st_mtime_ns, _list(thing.mtime.allowed())))
        if self.plain:
            left = [x for x in os.listxattr(full, follow_symlinks=False) if x.startswith("trusted.dmm")]
            if left:
                wrong.append("still has xattr %s" % left[0])
        return wrong

    def _content(self, thing, full, size):
        wrong = []
        with open(full, "rb", buffering=0, opener=lambda p, f: os.open(p, f | sysx.O_NOATIME)) as f:
            at = 0
            while at < size:
                piece = f.read(256 * BLOCK)
                if not piece:
                    wrong.append("ends at %d while being read" % at)
                    break
                if len(piece) % BLOCK and at + len(piece) < size:
                    piece = piece[:-(len(piece) % BLOCK)] or piece
                    f.seek(at + len(piece))
                wrong += self._piece(thing, at, piece)
                at += len(piece)
        if len(wrong) > 2:
            wrong[2:] = ["and %d more blocks" % (len(wrong) - 2)]
        return wrong

    def _piece(self, thing, at, piece):
        model = self.model
        base = b""
        if thing.base is not None and at < thing.base_size:
            base = os.pread(model._base(thing), len(piece), at)
        base = base.ljust(len(piece), b"\0")
        first, last = at // BLOCK, (at + len(piece) - 1) // BLOCK
        if piece == base and not any(i in thing.blocks for i in range(first, last + 1)):
            return []
        wrong = []
        for i in range(first, last + 1):
            here = piece[i * BLOCK - at:(i + 1) * BLOCK - at]
            fact = thing.blocks.get(i)
            good = [base[i * BLOCK - at:(i + 1) * BLOCK - at]] if fact is None else [v[:len(here)] for v in fact.allowed()]
            if here not in good:
                wrong.append(self._describe(thing, i, here, good))
        return wrong

    def _describe(self, thing, index, here, good):
        what = "neither"
        if here == self.model.original(thing, index)[:len(here)]:
            what = "the source's bytes" if thing.base is not None else "zeros"
        elif not any(here):
            what = "zeros"
        shift = next((i for i, (p, q) in enumerate(zip(here, good[-1])) if p != q), min(len(here), len(good[-1])))
        return "content at %d (block %d): %s, not what was written (%d allowed)" % (index * BLOCK + shift, index, what, len(good))

    def _links(self, thing, names):
        inodes = {st.st_ino for _, st in names}
        if len(inodes) > 1:
            self._say(thing, names[0][0], "is %d inodes: %s" % (len(inodes), ", ".join(show(p) for p, _ in names)))
        elif names[0][1].st_nlink != len(names):
            self._say(thing, names[0][0], "st_nlink %d, but %d names" % (names[0][1].st_nlink, len(names)))


def _mtime_fits(wanted, ns):
    if wanted is None:
        return True
    if isinstance(wanted, Since):
        return wanted.ns - _CLOCK <= ns <= time.time_ns() + 10**9
    return wanted == ns


def _list(values):
    values = list(dict.fromkeys(repr(v) for v in values))
    return " or ".join(values[:4]) + (" ..." if len(values) > 4 else "")
