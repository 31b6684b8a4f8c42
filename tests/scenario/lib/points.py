# SPDX-License-Identifier: GPL-3.0-or-later
"""
The fault points of the program under test, and the situation in which each can be reached.

A situation is how a cell of the kill matrix gets to a point.  What is not listed here is reached
by an ordinary migration with a load beside it; a new point that is not must be given its situation here, or
its cell fails.
"""
import subprocess
import time
import zlib

from . import env

FILE_SYSTEMS = ("ext4", "xfs", "btrfs")

SITUATIONS = {
    "start": ("start.state-made", "start.root-marked", "start.root-ready", "catalog.schema", "catalog.opened", "catalog.settled"),
    # at a first start or a later one
    "any start": ("start.guarded", "start.mounted"),
    "later start": ("checkpoint.copied", "checkpoint.flushed", "checkpoint.truncated"),
    "upgrade": ("catalog.upgraded",),
    # killed once with stubs without rows, then while they are adopted
    "adopt": ("admit.adopting",),
    # killed once between a delete and its record, then while that is resolved
    "intents": ("recover.intents-resolved",),
    # names of objects that have more names on the source
    "hide": ("holder.made", "delete.hidden", "links.intent"),
    # changes of what is not here yet
    "slow": ("write.ready", "write.done", "truncate.done", "truncate.limit"),
    "end": ("detach.begun", "detach.holder-gone", "detach.root-open", "detach.unmounted", "detach.recorded", "root.unmarked", "root.unguarded"),
    "retry": ("retry.begun", "retry.dropped", "retry.emptied", "retry.reset", "retry.recorded"),
    "another type": ("retry.new-stub",),
    "give up": ("give-up.recorded", "give-up.removed"),
    "give up what was changed": ("give-up.renamed",),
}
_OF = {point: situation for situation, points in SITUATIONS.items() for point in points}

# Reached once or a few times only in a small migration.
_RARE = ("group.", "list.finished", "list.all-admitted", "admit.linked", "start.", "detach.", "root.", "links.", "holder.", "delete.hidden",
         "checkpoint.", "recover.", "catalog.schema", "catalog.opened", "catalog.settled", "catalog.upgraded", "target.sync-all", "retry.", "give-up.", "truncate.")


def all_points():
    """{name: what it can do}; rules are switches, not steps."""
    lines = subprocess.run([env.program("dmm-worker"), "--points"], stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines()
    points = {line.split()[0]: set(line.split()[1:]) for line in lines}
    return {name: can for name, can in points.items() if not name.startswith("rule.")}


def situation(point):
    return _OF.get(point, "load")


def passes(point, chance):
    """How often the point is passed before it kills."""
    if situation(point) not in ("load", "slow"):
        return 0
    return chance.choice((0, 0, 1, 2) if point.startswith(_RARE) else (0, 1, 2, 5, 10, 25))


def turn(point):
    """The file system whose turn it is with this point today: over three days each point meets each of them."""
    return FILE_SYSTEMS[(zlib.crc32(point.encode()) + int(time.time() // 86400)) % len(FILE_SYSTEMS)]
