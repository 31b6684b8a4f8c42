# SPDX-License-Identifier: GPL-3.0-or-later
"""
What can be asked about a migration: report, verify, retry, check-state; while it runs, after a stop, and after the end.
"""
import json
import os
import signal
import subprocess
import time

from lib import sysx
from lib.env import check, program

_FINAL = ("done", "stopped", "error")


class Answer:
    """One `dmm VERB STATE --json`."""

    def __init__(self, e, verb, *args, state=None, expect=0, timeout=120):
        argv = [program(), verb, state or e.state, *args, "--json"]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, preexec_fn=sysx.die_with_parent)
        self.code = done.returncode
        self.stderr = done.stderr.decode(errors="replace")
        self.events = [json.loads(line) for line in done.stdout.splitlines()]
        e.say("dmm %s %s: %d %s" % (verb, " ".join(args), self.code, self.stderr.strip()[:200]))
        check(self.code == expect, "dmm", verb, *args, "exit code", self.code, "instead of", expect, self.stderr, self.events[-3:])
        check(all({"event", "time", "seconds"} <= set(o) for o in self.events), "an event without the common fields:", self.events)
        finals = [o["event"] for o in self.events if o["event"] in _FINAL]
        check(self.code == 2 or (len(finals) == 1 and self.events[-1]["event"] == finals[0]), "final events:", finals)
        check("Sanitizer" not in self.stderr, self.stderr)

    def all(self, kind):
        return [o for o in self.events if o["event"] == kind]

    def one(self, kind):
        found = self.all(kind)
        check(len(found) == 1, "%d events %r" % (len(found), kind), self.events[-3:])
        return found[0]

    def names(self, which):
        return sorted(o["path"] for o in self.all("object") if o["list"] == which)


def text(e, *argv, expect=0, **more):
    """As a person sees it."""
    done = subprocess.run([program(), *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, text=True, **more)
    e.say("$ dmm " + " ".join(argv) + "\n" + done.stdout + done.stderr)
    check(done.returncode == expect, "dmm", *argv, "exit code", done.returncode, "instead of", expect)
    return done.stdout + done.stderr


def _objects(ledger, *states):
    return sum(ledger["states"][s]["objects"] for s in states)


_STATES = ("found", "cleaning", "quarantined", "migrated", "overwritten", "deleted", "shadowed", "excluded", "failed")


def _sums(ledger):
    check(_objects(ledger, *_STATES) == ledger["found_objects"], "states do not add up:", ledger)
    check(sum(ledger["states"][s]["bytes"] for s in _STATES) == ledger["found_bytes"], "bytes do not add up:", ledger)


def _tree(e):
    """Some files for every fate."""
    count = 0
    for name in ("keep", "over", "dead", "bad"):
        os.mkdir(e.source_dir + "/" + name)
        for i in range(4):
            with open("%s/%s/%s%d" % (e.source_dir, name, name, i), "wb") as f:
                f.write(os.urandom(5000 + i))
        count += 5
    os.mkdir(e.source_dir + "/shade")
    with open(e.source_dir + "/shade/name", "wb") as f:
        f.write(b"of the source")
    return count + 3		# and the root


def _faults(e, rules):
    """A rules file, and how to change it while a worker runs."""
    path = str(e.work) + "/faults"
    with open(path, "w") as f:
        f.write(rules)
    return path


def _set_faults(run, path, rules):
    with open(path, "w") as f:
        f.write(rules)
    os.kill(run.worker, signal.SIGHUP)
    time.sleep(0.3)


def report_ledger(e):
    """Everything an application can do to what has not arrived, and the report on it: live, at rest, and after the end."""
    objects = _tree(e)
    e.serve()
    run = e.run(hold=True)
    run.mounted()
    live = Answer(e, "report").one("ledger")
    check(live["phase"] == "running" and live["worker"] and live["balanced"], live)
    for i in range(2):
        with open(e.path("over", "over%d" % i), "wb") as f:
            f.write(b"an application was here first")
        os.unlink(e.path("dead", "dead%d" % i))
    with open(e.path("shade", "late"), "wb") as f:
        f.write(b"of an application")
    with open(e.source_dir + "/shade/late", "wb") as f:		# after the lookup, before the listing
        f.write(b"of the source")
    time.sleep(1)
    answer = Answer(e, "report")
    check(answer.names("deleted") == ["dead/dead0", "dead/dead1"], answer.events)
    _sums(answer.one("ledger"))
    run.release_background()
    final = run.finish()
    after = Answer(e, "report")
    ledger = after.one("ledger")
    e.say(ledger)
    _sums(ledger)
    check(ledger["balanced"] and ledger["phase"] == "detached" and not ledger["worker"], ledger)
    check(ledger["waiting_objects"] == 0 and _objects(ledger, "found", "cleaning", "quarantined") == 0, ledger)
    check(ledger["found_objects"] == objects + 1 == final["ledger"]["found"], objects, ledger, final)
    check(after.names("overwritten") == ["over/over0", "over/over1"], after.events)
    check(after.names("deleted") == ["dead/dead0", "dead/dead1"], after.events)
    check(after.names("shadowed") == ["shade/late"], after.events)
    with open(e.path("shade", "late"), "rb") as f:
        check(f.read() == b"of an application", "the shadowed name shows the source's bytes")
    check("The ledger balances" in text(e, "report", e.state), "the text says nothing of the balance")
