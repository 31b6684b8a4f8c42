# SPDX-License-Identifier: GPL-3.0-or-later
"""
Verification after, and beside, real migrations: what is damaged on the disk is found below the page cache, however the file came here;
and nothing that applications do is ever called damage.
"""
import mmap
import os
import random
import subprocess
import time

from cases.verbs import Answer
from lib import trees
from lib.env import Background, check, timed


def _find(image, needle):
    """Offsets of some bytes in an image file; holes are passed over."""
    found = []
    fd = os.open(image, os.O_RDONLY)
    size = os.fstat(fd).st_size
    at = 0
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            break
        end = os.lseek(fd, at, os.SEEK_HOLE)
        while at < end:
            block = os.pread(fd, min(8 << 20, end - at) + len(needle), at)
            hit = block.find(needle)
            while hit >= 0 and at + hit not in found:
                found.append(at + hit)
                hit = block.find(needle, hit + 1)
            at += 8 << 20
        at = min(at, end)
    os.close(fd)
    return found


def _damage(e, path, at):
    """Flip one bit of a file on the device, below the file system and its page cache."""
    with open(path, "rb") as f:
        f.seek(at)
        needle = f.read(256)
    subprocess.run(["sync", "-f", path], check=True)
    places = _find(e.target_fs.image, needle)
    check(len(places) == 1, "found %d times on the device" % len(places))
    fd = os.open(e.target_fs.image, os.O_RDWR)
    byte = os.pread(fd, 1, places[0] + 100)[0]
    os.pwrite(fd, bytes([byte ^ 16]), places[0] + 100)
    os.fsync(fd)
    os.close(fd)


def _verified(e, *options, **more):
    seconds, answer = timed(lambda: Answer(e, "verify", "--restart", *options, **more))
    end = answer.one("verified")
    e.say("%.1f s: %s" % (seconds, {k: v for k, v in end["files"].items() if v}))
    return end["files"], {f["path"]: f["verdict"] for f in answer.all("finding")}


def _mapped(path):
    with open(path, "rb") as f:
        return mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)


def damage_below(e):
    """Every file has a checksum; a flipped bit on the device is found although every application reads the right bytes from memory."""
    trees.mixed(e.source_dir, e.seed, 150 if e.quick else 500)
    rng = random.Random(e.seed + 1)	# not the tree's: each piece must be on the device once
    for name, size in (("small", 30000), ("large", 12 << 20)):
        with open(e.source_dir + "/" + name, "wb") as f:
            f.write(rng.randbytes(size))
    sparse = 1 << 30 if e.quick else 3 << 30
    trees.sparse(e.source_dir + "/sparse", sparse, (5 << 20, sparse // 2, sparse - 5), e.random)
    trees.Tree(e.source_dir, e.seed).close_directories()
    e.serve()
    e.run().finish(240)
    files, findings = _verified(e)
    check(not findings and not files["no-checksum"] and not files["waiting"], files, findings)
    maps = {name: _mapped(e.path(name)) for name in ("small", "large")}	# what is mapped is not dropped
    good = {name: m[:] for name, m in maps.items()}
    _damage(e, e.path("small"), 8192)
    _damage(e, e.path("large"), 7 << 20)
    for name, content in good.items():
        check(maps[name][:] == content, "the page cache was not kept: the test proves nothing")
    says = "unreadable" if e.target_kind == "btrfs" else "damaged"	# it has checksums of its own
    files, findings = _verified(e, expect=5)
    check(findings == {"small": says, "large": says}, findings)
    files, findings = _verified(e, "--against-source", expect=5)
    check(findings == {"small": says, "large": says}, findings)
    for m in maps.values():
        m.close()


def interrupted_sums(e):
    """A large file that came over several lives of a worker has one checksum, and it is right."""
    with open(e.source_dir + "/large", "wb") as f:
        for _ in range(20):
            f.write(e.random.randbytes(1 << 20))
        f.write(b"tail")
    with open(e.source_dir + "/last", "wb") as f:
        f.write(b"holds the end")
    trees.mixed(e.source_dir, e.seed, 60)
    e.serve()
    for number in range(3):
        run = e.run("--whole-file-limit", "1M", faults="read name=large delay=400ms; read name=large every=2 short; read name=last stall")
        run.mounted()
        with open(e.path("large"), "rb") as f:	# in the middle, on demand
            f.seek((5 + 5 * number) << 20)
            f.read(4096)
        time.sleep(e.random.uniform(0.3, 1))
        run.kill_worker()
        check(run.exit() == 4)
    run = e.run()
    run.finish()
    files, findings = _verified(e)
    check(not findings and not files["no-checksum"], files, findings)
    files, findings = _verified(e, "--against-source")
    check(not findings, findings)


class _Mapped:
    """Writes through a shared mapping, which moves file times only with its first touch of a clean page."""

    def __init__(self, path):
        self.file = open(path, "r+b", buffering=0)
        self.map = mmap.mmap(self.file.fileno(), 0)

    def touch(self, at):
        self.map[at] ^= 0xff

    def close(self):
        self.map.close()
        self.file.close()


def writers_are_no_damage(e):
    """Applications write in every way while files become complete and are verified: changed, never damaged."""
    count = 12 if e.quick else 40
    for i in range(count):
        with open(e.source_dir + "/file %02d" % i, "wb") as f:
            f.write(e.random.randbytes(40000))
    with open(e.source_dir + "/last", "wb") as f:
        f.write(b"holds the end")
    trees.mixed(e.source_dir, e.seed, 60)
    trees.Tree(e.source_dir, e.seed).close_directories()
    e.serve()
    # the mark goes late: applications write between the record and the cleaning, and just after it
    run = e.run(faults="read name=last delay=12s; read delay=20ms", env={"DMM_POINTS": "clean.begin delay=20ms; clean.unmarked delay=20ms"})
    run.mounted()
    mapped = {}
    stop = []

    def write():
        r = 0
        while not stop:
            for i in range(count):
                path = e.path("file %02d" % i)
                if i % 4 == 0:
                    if i not in mapped:
                        mapped[i] = _Mapped(path)
                    mapped[i].touch(r % 40000)
                elif i % 4 == 1 and r < 3:
                    with open(path, "r+b") as f:
                        f.seek(r * 100)
                        f.write(b"application %d" % r)
                elif i % 4 == 2 and r == 1:
                    os.chmod(path, 0o600)
                if stop:
                    return
                time.sleep(0.002)
            r += 1
    writer = Background(write)
    rounds = 0
    end = time.monotonic() + 8
    while time.monotonic() < end:
        files, findings = _verified(e)
        rounds += 1
        check(set(findings.values()) <= {"changed"}, findings)
        check(not any(v for k, v in files.items() if k in ("damaged", "suspect", "unreadable")), files)
    stop.append(True)
    writer.join()
    for m in mapped.values():
        m.close()
    run.finish()
    files, findings = _verified(e)
    check(set(findings.values()) <= {"changed"}, findings)
    e.say("%d rounds beside the migration; %d files changed by applications" % (rounds, len(findings)))
    check(files["changed"] + files["no-checksum"] > 0, "nobody wrote anything")
