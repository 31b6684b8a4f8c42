# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that know nothing of the migration, while everything moves below them."""
import os
import re
import sqlite3
import threading
import time

from lib import compare, trees
from lib.env import Background, ROOT, check, sh


def live_programs(e):
    """git clone + fsck, SQLite under load + integrity check, a C build with make; all at once, without an error."""
    _make_repository(e.source_dir + "/repository", 40)
    _make_project(e.source_dir + "/project", 25 if e.quick else 60)
    _make_database(e.source_dir + "/database", 5000)
    os.mkdir(e.source_dir + "/filler")
    made = trees.wide(e.source_dir + "/filler", 3000 if e.quick else 30000, 400, b"filler " * 300)
    e.say("made %d objects beside" % made)
    e.serve()
    # Slow enough that the programs meet an unfinished migration.
    run = e.run("--whole-file-limit", "256K", faults="any every=5 delay=%s" % ("5ms" if e.quick else "30ms"))
    run.mounted()
    started = time.monotonic()
    stop = threading.Event()
    load = Background(_load_database, e.path("database/data.db"), stop)
    jobs = {"git": Background(_git, e), "make": Background(_build, e)}
    for name, job in jobs.items():
        job.join(300)
        e.say(name, "is done; migration:", run.phase())
    time.sleep(1)
    stop.set()
    transactions = load.join()
    e.say("sqlite: %d transactions" % transactions)
    check(transactions > 10, "too few transactions:", transactions)
    all_here = run.find("all-here")
    check(e.quick or not all_here or all_here["_at"] > started + 2, "the migration was over before the programs met it")
    check(_integrity(e.path("database/data.db")) == "ok")
    run.finish(300)
    e.check_plain()
    sh("git fsck --full --strict", cwd=e.path("clone"))
    check(_integrity(e.path("database/data.db")) == "ok", "integrity after the detach")
    check(sh("./program", cwd=e.path("project")).startswith("sum "))
    outputs = [n for n in os.listdir(e.path("project")) if n.endswith(".o")]
    expected = {b"clone": compare.ADDED, b"project/program": compare.ADDED, b"database/data.db": compare.CHANGED}
    expected.update({b"project/" + os.fsencode(n): compare.ADDED for n in outputs})
    e.check_same(expected=expected, ignore_directory_mtime=[b"", b"project", b"database", b"repository", b"repository/.git"])


def _make_repository(path, commits):
    os.mkdir(path)
    sh("git init -q -b main . && git config user.name t && git config user.email t@example.org && git config gc.auto 0", cwd=path)
    # The project's own sources are a real tree of text.
    sh("cp -r %s/src %s/tests . && find . -name __pycache__ -prune -exec rm -rf {} +; git add -A && git commit -q -m start" % (ROOT, ROOT), cwd=path)
    for i in range(commits):
        sh("echo line %d >> file%d && seq %d | sha256sum > sub%d && git add -A && git commit -q -m 'change %d'" % (i, i % 7, i, i % 5, i), cwd=path)


def _git(e):
    sh("git -c safe.directory='*' clone -q --no-hardlinks repository clone", cwd=e.target)
    sh("git fsck --full --strict && test $(git rev-list --count HEAD) = 41 && git status --porcelain | wc -l | grep -qx 0", cwd=e.path("clone"))
    sh("git -c safe.directory='*' fsck --full --strict", cwd=e.path("repository"))


def _make_project(path, units):
    os.mkdir(path)
    names = ["unit%d" % i for i in range(units)]
    for i, name in enumerate(names):
        with open(path + "/%s.c" % name, "w") as f:
            f.write('#include <stdio.h>\n#include <stdlib.h>\n#include "all.h"\n')
            for j in range(30):
                f.write("int %s_%d(int x) { char b[32]; snprintf(b, sizeof b, \"%%d\", x * %d); return atoi(b) + %d; }\n" % (name, j, i + 1, j))
    with open(path + "/all.h", "w") as f:
        f.writelines("int %s_%d(int x);\n" % (n, j) for n in names for j in range(30))
    with open(path + "/main.c", "w") as f:
        f.write('#include <stdio.h>\n#include "all.h"\nint main(void) { int s = 0;\n')
        f.writelines("s += %s_7(3);\n" % n for n in names)
        f.write('printf("sum %d\\n", s); return 0; }\n')
    with open(path + "/Makefile", "w") as f:
        f.write("OBJECTS = main.o %s\nCFLAGS = -O1\nprogram: $(OBJECTS)\n\t$(CC) -o $@ $(OBJECTS)\n$(OBJECTS): all.h\n" % " ".join(n + ".o" for n in names))


def _build(e):
    out = sh("make -j2 2>&1 && ./program", cwd=e.path("project"))
    check(re.search(r"^sum \d+$", out, re.M), "the program built says", out[-200:])
    check("warning" not in out and "Clock skew" not in out, out[-500:])
    out = sh("make", cwd=e.path("project"))
    check("up to date" in out, "make wants to build again:", out[-300:])


def _make_database(path, rows):
    os.mkdir(path)
    db = sqlite3.connect(path + "/data.db")
    db.execute("create table t(id integer primary key, k integer, v blob)")
    db.execute("create index i on t(k)")
    db.executemany("insert into t(k, v) values (?, ?)", ((i * 7919 % 1000, b"%d" % i * 40) for i in range(rows)))
    db.commit()
    db.close()


def _load_database(path, stop):
    """Two kinds of journal, two connections; every transaction's effect is checked by the next."""
    db = sqlite3.connect(path, timeout=60)
    rows = db.execute("select count(*) from t").fetchone()[0]
    done = 0
    while not stop.is_set():
        if done == 40:
            check(db.execute("pragma journal_mode=wal").fetchone()[0] == "wal", "no WAL")
        with db:
            db.executemany("insert into t(k, v) values (?, ?)", ((done * 31 % 1000, os.urandom(200)) for _ in range(20)))
            db.execute("update t set v = ? where k = ?", (os.urandom(400), done % 1000))
            db.execute("delete from t where id in (select id from t where k = ? limit 3)", (done * 17 % 1000,))
        done += 1
        if done % 10 == 0:
            other = sqlite3.connect(path, timeout=60)
            check(other.execute("select count(*) from t").fetchone()[0] >= rows, "rows are missing")
            other.close()
    db.execute("pragma journal_mode=delete")
    db.close()
    return done


def _integrity(path):
    db = sqlite3.connect(path, timeout=60)
    try:
        return db.execute("pragma integrity_check").fetchone()[0]
    finally:
        db.close()
