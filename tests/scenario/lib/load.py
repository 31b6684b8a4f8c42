# SPDX-License-Identifier: GPL-3.0-or-later
"""
A random application load beside a migration, and the small trees that it works on.

make_tree() makes the source: for each player a directory "s0", "s1" ... and names "p0-..." in the root, which
are its own; "rest" belongs to nobody and must arrive untouched.

A Load runs several players (lib/player.py) in threads:

    load = Load(source, mount, log_path, seed, players=2)
    load.start()
    ... the worker is killed ...
    load.park()		nobody touches the paths between two mounts: below is the raw target
    ... restart, "mounted" ...
    load.resume()
    load.stop()		raises what a player has found wrong
    load.model.judge(target)

The sequence of operations of one player follows from its seed and from what its operations return; with several players, kills
in the middle of an operation, and the moment of the detach, timing has a part in it.
"""
import os
import threading
import time

from . import model as _model, trees
from .model import Violation
from .player import OPERATIONS, Died, Player  # noqa: F401: for those who make loads


def make_tree(root, seed, players=2, files=36, large=(300000, 1300000, 3 << 20), rest=30, outside=None):
    """outside: a directory beside the tree; some objects get one of their names there, which nobody will ever list."""
    tree = trees.Tree(root, seed)
    r = tree.random
    for player in range(players):
        _share(tree, r, player, files, large, outside)
    tree.directory(tree.path("rest"))
    _some_files(tree, r, [tree.path("rest")], rest, b"rest")
    tree.symlink(tree.path("rest", "a link"), b"some/where")
    tree.file(tree.path("rest", "a file"), r.randbytes(30000))
    tree.file(tree.path("rest", "a large file"), r.randbytes((3 << 20) + 1))
    tree.close_directories()
    return tree


def _some_files(tree, r, directories, count, prefix):
    made = []
    for number in range(count):
        path = r.choice(directories) + b"/%s%d" % (prefix, number)
        kind = r.random()
        if kind < 0.1:
            tree.symlink(path, b"some/where %d" % number)
        elif kind < 0.25 and made:
            os.link(r.choice(made), path)
        else:
            size = r.choice((0, 1, 100, 4095, 4096, 4097, 9000, 20000, 40000, 70000))
            tree.file(path, r.randbytes(size), r.choice((0o644, 0o600, 0o755)), (r.randrange(3) * 1000, r.randrange(2) * 1000))
            made.append(path)
    return made


def _share(tree, r, player, files, large, outside):
    top = tree.path("s%d" % player)
    directories = [tree.root + b"/p%d-dir" % player, top]
    for path in directories:
        tree.directory(path)
    for number in range(max(2, files // 6)):
        path = r.choice(directories[-5:]) + b"/d%d" % number
        tree.directory(path, r.choice((0o755, 0o750)), (r.randrange(3) * 1000, 0))
        directories.append(path)
    made = _some_files(tree, r, directories, files, b"f")
    for number in range(3):
        tree.file(tree.root + b"/p%d-file%d" % (player, number), r.randbytes(5000 * number + 3))
    for number, size in enumerate(large):
        tree.file(r.choice(directories) + b"/large%d" % number, r.randbytes(size), 0o644)
    for number in range(3 if outside else 0):
        path = r.choice(directories[1:]) + b"/outside%d" % number
        tree.file(path, r.randbytes(3000))
        os.link(path, os.fsencode(outside) + b"/%d-%d" % (player, number))


class Recorder:
    """The log and the model that follows it.  Threads: any."""

    def __init__(self, source, path):
        self.log = _model.Log(path)
        self.model = _model.Model(source)
        self.lock = threading.Lock()

    def begin(self, player, op, path, **arguments):
        line = {"n": self.log.number(), "p": player, "op": op, "path": os.fsdecode(path), "time": time.time_ns(), **arguments}
        self._record(line)
        return line

    def end(self, line, result):
        self._record({"n": line["n"], "r": result})

    def seen(self, line, found, **more):
        self._record({"n": line["n"], "seen": found, **more})

    def _record(self, line):
        with self.lock:
            self.log.write(line)
            self.model.feed(line)

    def close(self):
        self.log.close()
        with self.lock:
            self.model.close()


class Load:
    """Several players in threads."""

    def __init__(self, source, mount, log_path, seed, players=2, sync=0.4, pace=0, weights=None):
        self.recorder = Recorder(source, log_path)
        self.model, self.log = self.recorder.model, self.recorder.log
        self.players = [Player(self.recorder, mount, k, seed * 1000 + k, sync, weights) for k in range(players)]
        self.pace = pace	# seconds between two operations
        self.violation = None
        self._parking = self._ending = False
        self._parked = set()
        self._resumed = 0
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._play, args=(p,), daemon=True) for p in self.players]

    @property
    def count(self):
        return sum(p.count for p in self.players)

    @property
    def lost(self):
        """Operations that ended with their mount: only kills may make it grow."""
        return sum(p.lost for p in self.players)

    def start(self):
        for thread in self._threads:
            thread.start()

    def _play(self, player):
        try:
            while self._may_go_on(player):
                try:
                    if player.unknown:
                        player.settle()
                    player.step()
                    if self.pace:
                        time.sleep(self.pace)
                except Died:
                    self._park(player)
        except BaseException as error:
            self.violation = self.violation or error
        finally:
            player.close()
            with self._changed:
                self._parked.add(player)	# for good
                self._changed.notify_all()

    def _may_go_on(self, player):
        if self._parking:
            self._park(player)
        return not self._ending and not self.violation

    def _park(self, player):
        player.close()
        with self._changed:
            resumed = self._resumed
            self._parked.add(player)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._ending or self._resumed != resumed)
            self._parked.discard(player)

    def park(self, timeout=60):
        """Until resume(): all players have ended their operation, or lost it with the mount, and have no descriptor open."""
        self._parking = True
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._parked) == len(self.players), timeout):
                raise Violation("an operation hangs: %s" % self.hanging())
        self.check()

    def resume(self):
        """Also wakes players whose operation was lost with a mount that is back."""
        with self._changed:
            self._parking = False
            self._resumed += 1
            self._changed.notify_all()

    def stop(self, timeout=60):
        """The end.  Outcomes that nobody has looked at stay unknown."""
        self._ending = True
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident:
                thread.join(timeout)
                if thread.is_alive():
                    raise Violation("an operation hangs: %s" % self.hanging())
        self.check()

    def check(self):
        if self.violation:
            raise self.violation

    def hanging(self):
        with self.recorder.lock:
            return "; ".join(str(p.line) for p in self.model.pending.values() if not p.ended) or "none that changes anything"

    def close(self):
        self.recorder.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._ending = True
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident:
                thread.join(5)
        self.close()
