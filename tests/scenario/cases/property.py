# SPDX-License-Identifier: GPL-3.0-or-later
"""
A property test: whatever one application does, what it sees is what the model says, at once.

Random operations on cold and warm objects (lib/player.py), each compared with the model in memory: content, names,
links, attributes.  Meanwhile the background works, the source fails and recovers, reads come short, and the worker is
killed between two operations.  At the end of each migration the whole target is judged.

A failure prints the seed.  The same seed gives the same tree, the same operations and the same kills between the same operations (the digest
of the sequence is printed); what the background has done at each of these moments is not reproducible.

  DMM_OPERATIONS=N   operations in all (default 900)
  DMM_SECONDS=S      no new migration after S seconds
"""
import hashlib
import os
import random
import time

from lib import load
from lib.env import check
from lib.player import Died, Player

from .kills import Migration

_EACH = 300	# operations in one migration
# What fails is tried again; nothing may fail so often that it is put aside.
_FAULTS = ("read delay=5ms; readdir delay=20ms",
           "read every=5 err=EIO; lookup every=7 err=EIO; readdir every=5 err=EAGAIN",
           "read every=3 short; read every=7 delay=80ms; readlink every=7 err=EIO",
           "any every=4 delay=30ms; read every=11 err=ETIMEDOUT")


def property_test(e):
    wanted = int(os.environ.get("DMM_OPERATIONS", "300" if e.quick else "900"))
    end = time.monotonic() + float(os.environ.get("DMM_SECONDS", "600"))
    outside = e.source_fs.path + "/outside"
    os.mkdir(outside)
    load.make_tree(e.source_dir, e.seed, 1, files=90, large=(100000, 300000, 1300000, 3 << 20, 12 << 20), outside=outside)
    e.serve()
    done = kills = rounds = 0
    while done < wanted and time.monotonic() < end:
        chance = random.Random("%d %d" % (e.seed, rounds))
        m = Migration(e, "migration-%d" % rounds, chance.randrange(1 << 32))
        try:
            count = min(_EACH, wanted - done)
            kills += _play(m, chance, count)
            m.load.stop()
            _release(m.run)
            m.compare(m.run.finish(90))
        except BaseException:
            e.say("seed %d, migration %d: --seed %d repeats it" % (e.seed, rounds, e.seed))
            raise
        finally:
            m.load.close()
        e.say("migration %d: %d operations, sequence %s" % (rounds, count, _sequence(m)))
        m.close()
        done += count
        rounds += 1
    e.say("%d operations, %d kills, %d migrations" % (done, kills, rounds))


def _play(m, chance, count):
    """One player in this thread; returns how often the worker was killed."""
    player = Player(m.load.recorder, m.target, 0, m.seed)
    moments = {chance.randrange(1, count) for _ in range(chance.choice((1, 2, 4)))}
    m.start(hold=chance.random() < 0.6, faults=chance.choice(_FAULTS))
    killed = 0
    over = False	# everything has come; what is left to do is done on the plain target
    for number in range(count):
        if number in moments and not over:
            player.close()
            over = not m.kill()
            killed += not over
            over = over or not m.start(hold=chance.random() < 0.6, faults=chance.choice(_FAULTS))
            if over:
                m.run.finish()
        try:
            player.step()
        except Died as error:
            check(False, "the mount died under an operation (%s) although nobody was killed" % error)
    player.close()
    return killed


def _release(run):
    if run.find("background-held"):
        try:
            run.release_background()
        except ProcessLookupError:
            pass	# all had been asked for, and it has ended


def _sequence(m):
    digest = hashlib.sha256()
    with open(m.load.log.path, "rb") as f:
        for line in f:
            digest.update(line.split(b'"time":')[0] + line.partition(b'"time":')[2].partition(b",")[2])
    return digest.hexdigest()[:12]
