# SPDX-License-Identifier: GPL-3.0-or-later
"""
make check: everything that must hold, on this machine, in one go.

  build/        gcc: unit tests, the test house's own tests, all scenarios
  build-asan/   AddressSanitizer + UndefinedBehaviorSanitizer: unit tests and the bounded scenarios
  build-clang/  clang with the same warnings as errors: compiles

The last line is `N passed, N failed`; a build that fails counts as one failed
test, and so does a stage that ran no test at all.  Exit code 0 only if nothing failed.
"""
import json
import os
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SANITIZERS = {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99:disable_coredump=1",
              "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
              "LSAN_OPTIONS": "report_objects=1"}


class Check:
    def __init__(self):
        self.passed = self.failed = 0
        self.failures = []
        self.started = time.monotonic()

    def count(self, name, good):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            self.failures.append(name)

    def say(self, text):
        print("== %5.0f s  %s" % (time.monotonic() - self.started, text), flush=True)

    def build(self, directory, options, env):
        self.say("building " + directory)
        path = os.path.join(ROOT, directory)
        if not os.path.exists(path + "/build.ninja"):
            shutil.rmtree(path, ignore_errors=True)
        setup = ["meson", "setup", path] if not os.path.exists(path) else ["meson", "setup", "--reconfigure", path]
        good = all(subprocess.run(argv, cwd=ROOT, env=dict(os.environ, **env), stdout=None if argv[0] == "ninja" else subprocess.DEVNULL)
                   .returncode == 0 for argv in (setup + options, ["ninja", "--quiet", "-C", path]))
        self.count("build of " + directory, good)
        return good

    def test(self, directory, suites, env):
        # One more than processors: scenarios mostly wait.
        argv = ["meson", "test", "-C", os.path.join(ROOT, directory), "--no-rebuild", "--print-errorlogs",
                "--num-processes", str((os.cpu_count() or 1) + 1)]
        for suite in suites:
            argv += ["--suite", suite]
        self.say("testing %s: %s" % (directory, ", ".join(suites)))
        log = os.path.join(ROOT, directory, "meson-logs", "testlog.json")
        if os.path.exists(log):
            os.unlink(log)
        subprocess.run(argv, cwd=ROOT, env=dict(os.environ, **env))
        results = []
        if os.path.exists(log):
            with open(log) as f:
                results = [json.loads(line) for line in f]
        for r in results:
            self.count("%s in %s (%s)" % (r["name"], directory, r["result"]), r["result"] == "OK")
        if not results:
            self.count("no test ran in " + directory, False)


def main():
    check = Check()
    if os.geteuid():
        print("make check needs root: it mounts file systems and starts servers", file=sys.stderr)
        return 1
    gcc, clang = {"CC": "gcc"}, {"CC": "clang"}
    if check.build("build", [], gcc):
        # Not beside each other: namespaces of unit tests hold copies of the scenarios' mounts, which then do not end.
        check.test("build", ["unit", "house"], {})
        check.test("build", ["scenario"], {})
    # gcc's manual: sanitizers give false warnings.  Warnings are errors in the other two builds.
    asan = ["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Dwerror=false"]
    if check.build("build-asan", asan, gcc):
        check.test("build-asan", ["unit"], dict(SANITIZERS, DMM_TEST_QUICK="1"))
        check.test("build-asan", ["bounded"], dict(SANITIZERS, DMM_TEST_QUICK="1"))
    check.build("build-clang", [], clang)
    for name in check.failures:
        check.say("FAILED: " + name)
    check.say("done")
    print("%d passed, %d failed" % (check.passed, check.failed), flush=True)
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
