# SPDX-License-Identifier: GPL-3.0-or-later
"""
What came of an operation under which the mount died: for each fact that it changes, does the target show the old value or the new one?
Anything else is a Violation.
"""
import os
import stat

from . import model as _model
from .model import BLOCK


def look(player, line, changes):
    """([0 did not happen, 1 did, 2 the model's `other`, None cannot be told], {"size": when it is between two}); OSError when the mount is dead again."""
    return _Look(player, line, changes).all()


class _Look:
    """For each change of an operation: did it happen?"""

    def __init__(self, player, line, changes):
        self.player, self.line, self.changes = player, line, changes
        self.more = {}
        self.content = None

    def all(self):
        found = []
        try:
            for c in self.changes:
                found.append(getattr(self, "_" + c.what)(c, found))
        finally:
            if self.content is not None:
                os.close(self.content)
        return found, self.more

    @staticmethod
    def _before(c):
        return c.fact.now[0]

    def _wrong(self, text):
        self.player.wrong(os.fsencode(self.line["path"]), "after the restart: %s of operation %d (%s)" % (text, self.line["n"], self.line["op"]))

    def _full(self, thing):
        return self.player.full(thing.path())

    def _mtime(self, c, found):
        return None

    def _alive(self, c, found):
        return 1 if found[-1] else 0

    def _mode(self, c, found):
        return self._one_of(c, stat.S_IMODE(os.lstat(self._full(c.thing)).st_mode), "mode")

    def _owner(self, c, found):
        st = os.lstat(self._full(c.thing))
        return self._one_of(c, (st.st_uid, st.st_gid), "owner")

    def _one_of(self, c, value, what):
        if value == c.value:
            return 1
        if value == self._before(c):
            return 0
        return self._wrong("%s %r is neither %r nor %r" % (what, value, self._before(c), c.value))

    def _entry(self, c, found):
        directory = c.thing.path()
        path = directory + b"/" + c.key if directory else c.key
        try:
            inode = os.lstat(self.player.full(path)).st_ino
        except FileNotFoundError:
            inode = None
        before, after = self._before(c), c.value
        if inode is None:
            if after is None or before is None or c.other is None:
                return 1 if after is None else 0 if before is None else 2
        elif before is None or after is None:
            return 0 if after is None else 1
        else:
            # One thing in place of another.  An inode that is neither: a stub without a record was made again, and what has no
            # record was not changed either.
            mine = path == os.fsencode(self.line["path"])
            other = self.player.inodes[os.fsencode(self.line["from" if mine else "path"])]
            return 1 if inode == other else 0
        return self._wrong("%s is missing" % os.fsdecode(path))

    def _size(self, c, found):
        size = os.lstat(self._full(c.thing)).st_size
        if size in (c.value, self._before(c)):
            return 1 if size == c.value else 0
        if isinstance(c.other, _model.Range) and c.other.low < size < c.other.high:
            self.more["size"] = size
            return 2
        return self._wrong("size %d is neither %d nor %d" % (size, self._before(c), c.value))

    def _block(self, c, found):
        if self.content is None:
            self.content = os.open(self._full(c.thing), os.O_RDONLY | os.O_CLOEXEC)
        here = os.pread(self.content, BLOCK, c.key * BLOCK)
        good = [i for i, v in ((1, c.value), (0, self._before(c))) if v[:len(here)] == here]
        if not good:
            self._wrong("block %d is neither old nor new" % c.key)
        # Beyond the end there are zeros.
        exact = [i for i in good if not any((c.value if i else self._before(c))[len(here):])]
        return (exact or good)[0]
