/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Start, detach under load, stop, and what a killed worker leaves. */
#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static int up(void **s) { return rig_up(s, 0); }
static int up_engine(void **s) { return rig_up(s, RIG_ENGINE); }

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

static void test_mount(void **state)
{
	struct rig *r = *state;
	struct fusefs_status s;
	struct stat a, b;
	struct statvfs v, w;
	char line[512];
	bool seen = false;
	FILE *m = fopen("/proc/self/mounts", "r");

	while (fgets(line, sizeof line, m))
		if (strstr(line, r->dir))
			seen = strstr(line, "unit:/test ") == line && strstr(line, " fuse.dmm ");
	fclose(m);
	assert_true(seen);
	assert_int_equal(stat(r->dir, &a), 0);
	assert_int_equal(fstat(rig_backing(r), &b), 0);
	assert_int_not_equal(a.st_dev, b.st_dev);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(statvfs(r->dir, &v), 0);
	assert_int_equal(fstatvfs(rig_backing(r), &w), 0);
	assert_int_equal(v.f_flag & (ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_RDONLY),
			 w.f_flag & (ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_RDONLY));
	fusefs_status(r->f, &s);
	assert_true(s.nodes >= 1);
	assert_int_equal(fusefs_probe_mount(r->dir), 1);
	assert_int_equal(fusefs_probe_mount("/"), 0);
}

static void test_refusals(void **state)
{
	struct rig *r = *state;
	struct err e = { 0 };
	struct fusefs *f = NULL;
	struct fusefs_config cfg = { .target = r->target, .mountpoint = "/nonexistent", .fsname = "x" };

	assert_int_equal(fusefs_start(&cfg, &f, &e), -ENOENT);
	assert_non_null(strstr(e.text, "/nonexistent"));
	cfg.mountpoint = "/usr";	/* not the directory that the target has open */
	assert_int_equal(fusefs_start(&cfg, &f, &e), -EBUSY);
	cfg.mountpoint = r->dir;	/* covered by a mount already */
	assert_int_equal(fusefs_start(&cfg, &f, &e), -EBUSY);
	assert_null(f);
}

struct load {
	struct rig *r;
	atomic_bool quit;
	atomic_ulong rounds, errors;
	int first_errno;
};

static void failed(struct load *l)
{
	if (!atomic_fetch_add(&l->errors, 1))
		l->first_errno = errno;
}

/* What must never fail, whatever becomes of the mount. */
static void *look_around(void *arg)
{
	struct load *l = arg;
	char b[8];
	struct stat st;

	while (!l->quit) {
		DIR *d;
		int fd = open(rig_path(l->r, "d/file"), O_RDONLY);

		if (fd < 0 || read(fd, b, 8) != 4)
			failed(l);
		if (fd >= 0)
			close(fd);
		if (stat(rig_path(l->r, "d/sub/deep"), &st) || !S_ISREG(st.st_mode))
			failed(l);
		fd = open(rig_path(l->r, "d/new"), O_CREAT | O_WRONLY, 0600);
		if (fd < 0 || write(fd, "x", 1) != 1)
			failed(l);
		if (fd >= 0)
			close(fd);
		d = opendir(rig_path(l->r, "d"));
		if (!d || !readdir(d))
			failed(l);
		if (d)
			closedir(d);
		if (stat(rig_path(l->r, "absent"), &st) == 0 || errno != ENOENT)
			failed(l);
		l->rounds++;
	}
	return NULL;
}

static void test_detach_under_load(void **state)
{
	struct rig *r = *state;
	struct load l = { .r = r };
	struct err e = { 0 };
	pthread_t t[3];
	unsigned long before;
	struct stat a, b;
	char *map, buf[8];
	int old;

	assert_int_equal(mkdir(rig_path(r, "d"), 0755), 0);
	assert_int_equal(mkdir(rig_path(r, "d/sub"), 0755), 0);
	rig_write(rig_path(r, "d/file"), "data", 4);
	rig_write(rig_path(r, "d/sub/deep"), "deep", 4);
	for (int i = 0; i < 500; i++) {
		char n[32];

		snprintf(n, sizeof n, "d/sub/%d", i);
		rig_write(rig_path(r, n), "x", 1);
	}
	old = open(rig_path(r, "d/file"), O_RDWR);
	map = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, old, 0);
	assert_true(map != MAP_FAILED);
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, look_around, &l);
	pause_ms(200);
	before = l.rounds;
	assert_int_equal(fusefs_detach(r->f, false, &e), 0);
	pause_ms(200);
	assert_true(before > 0 && l.rounds > before);
	l.quit = true;
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	if (l.errors)
		print_error("%lu errors, the first: %s\n", (unsigned long)l.errors, strerror(l.first_errno));
	assert_int_equal(l.errors, 0);
	/* plain now, and the old descriptor sees the same file */
	assert_int_equal(stat(r->dir, &a), 0);
	assert_int_equal(fstat(rig_backing(r), &b), 0);
	assert_true(a.st_dev == b.st_dev && a.st_ino == b.st_ino);
	assert_int_equal(pwrite(old, "DATA", 4, 0), 4);
	assert_memory_equal(map, "DATA", 4);
	assert_int_equal(rig_read(rig_path(r, "d/file"), buf, 8), 4);
	assert_memory_equal(buf, "DATA", 4);
	map[0] = 'm';
	assert_int_equal(rig_read(rig_path(r, "d/file"), buf, 8), 4);
	assert_int_equal(buf[0], 'm');
	assert_int_equal(fusefs_wait(r->f, 50), 0);
	munmap(map, 4);
	close(old);
	assert_int_equal(fusefs_wait(r->f, 5000), 1);
}

static int sit_inside(void *arg)
{
	const struct rig *r = arg;

	if (chdir(rig_path(r, "d")))
		return 1;
	pause();
	return 0;
}

static bool held(struct rig *r, pid_t p, const char *what)
{
	struct fusefs_holder h[64];
	unsigned n = fusefs_holders(r->f, h, 64);

	for (unsigned i = 0; i < n; i++)
		if (h[i].pid == p && !strcmp(h[i].what, what))
			return true;
	return false;
}

static void test_cwd_blocks_detach(void **state)
{
	struct rig *r = *state;
	struct err e = { 0 };
	int fd;
	void *m;
	pid_t p;

	assert_int_equal(mkdir(rig_path(r, "d"), 0755), 0);
	p = rig_spawn(sit_inside, r);
	for (int i = 0; i < 2000 && !held(r, p, "cwd"); i++)
		pause_ms(1);
	assert_true(held(r, p, "cwd"));
	assert_int_equal(fusefs_detach(r->f, false, &e), -EBUSY);
	assert_non_null(strstr(e.text, "working directory"));
	fd = open(rig_path(r, "mapped"), O_CREAT | O_RDWR, 0600);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_true(held(r, getpid(), "fd"));
	m = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	assert_true(held(r, getpid(), "map"));
	munmap(m, 4096);
	assert_int_equal(fusefs_detach(r->f, true, &e), 0);
	assert_int_equal(fusefs_wait(r->f, 50), 0);
	kill(p, SIGKILL);
	rig_reap(p);
	assert_int_equal(fusefs_wait(r->f, 5000), 1);
}

static void test_slow_open_blocks_detach(void **state)
{
	struct rig *r = *state;
	struct err e = { 0 };
	struct eobj *o = fake_object(r->en, 1, GATE_ALL & ~(GATE_CONTENT | GATE_CONTENT_RECORDED));
	int fd;

	o->slow = true;
	rig_stub(r, 1, "f", S_IFREG | 0644, "x");
	fd = open(rig_path(r, "f"), O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(fusefs_detach(r->f, true, &e), -EBUSY);
	close(fd);
	fake_open(o, GATE_ALL);
	o->complete = true;
	for (int i = 0; i < 2000 && fusefs_detach(r->f, true, &e); i++)
		pause_ms(1);
	assert_int_equal(fusefs_wait(r->f, 5000), 1);
}

static int hold_open(void *arg)
{
	const struct rig *r = arg;
	int fd = open(rig_path(r, "f"), O_RDWR | O_CREAT, 0600);
	struct stat st;

	if (fd < 0)
		return 1;
	kill(getppid(), SIGUSR2);
	pause_ms(1500);
	return fstat(fd, &st) && (errno == ENOTCONN || errno == ECONNABORTED) ? 0 : 2;
}

/* A stop does not wait for those who still have files open. */
static void test_stop_busy(void **state)
{
	struct rig *r = *state;
	struct timespec t = { .tv_sec = 5 };
	sigset_t set;
	uint64_t start;
	pid_t p;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	p = rig_spawn(hold_open, r);
	assert_int_equal(sigtimedwait(&set, NULL, &t), SIGUSR2);
	start = clock_mono();
	fusefs_stop(r->f);
	fusefs_free(r->f);
	r->f = NULL;
	assert_true(clock_mono() - start < CLOCK_SEC);
	assert_int_equal(fusefs_probe_mount(r->dir), 0);
	assert_int_equal(rig_reap(p), 0);
}

static int mount_and_die(void *arg)
{
	const char *dir = arg;
	struct target *t;
	struct fusefs *f;
	struct fusefs_config cfg = { .mountpoint = dir, .fsname = "dead" };

	if (target_open(dir, &t, NULL))
		return 1;
	cfg.target = t;
	if (fusefs_start(&cfg, &f, NULL))
		return 2;
	raise(SIGKILL);
	return 3;
}

static void test_dead_mounts(void **state)
{
	char dir[] = "/tmp/dmm-dead-XXXXXX";
	struct err e = { 0 };
	struct stat st;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(rig_child(mount_and_die, dir), 128 + SIGKILL);
	assert_int_equal(fusefs_probe_mount(dir), 2);
	assert_int_equal(open(dir, O_RDONLY | O_DIRECTORY), -1);
	assert_int_equal(errno, ENOTCONN);
	assert_int_equal(fusefs_clean_dead(dir, &e), 0);
	assert_int_equal(fusefs_probe_mount(dir), 0);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(rmdir(dir), 0);
}

/* The kernel forgets under memory pressure; nodes must go with it, and ids come back with a new generation. */
static void test_forget(void **state)
{
	struct rig *r = *state;
	struct fusefs_status s;
	char name[32];

	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "n%d", i);
		rig_write(rig_path(r, name), "x", 1);
	}
	fusefs_status(r->f, &s);
	assert_true(s.nodes >= 1000);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "n%d", i);
		assert_int_equal(unlink(rig_path(r, name)), 0);
	}
	for (int i = 0; i < 5000; i++) {
		fusefs_status(r->f, &s);
		if (s.nodes < 50)
			break;
		pause_ms(1);
	}
	assert_true(s.nodes < 50);
}

#define T(f, u) cmocka_unit_test_setup_teardown(f, u, rig_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_mount, up), T(test_refusals, up), T(test_detach_under_load, up), T(test_cwd_blocks_detach, up),
		T(test_slow_open_blocks_detach, up_engine), T(test_stop_busy, up), cmocka_unit_test(test_dead_mounts),
		T(test_forget, up),
	};

	sigset_t set;		/* test_stop_busy waits for it; blocked in every thread */

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	umask(022);
	return rig_possible() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
