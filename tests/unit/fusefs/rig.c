/* SPDX-License-Identifier: GPL-3.0-or-later */
/* See rig.h. */
#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

bool rig_possible(void)
{
	return geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0;
}

int rig_up(void **state, int how)
{
	struct rig *r = calloc(1, sizeof *r);
	struct err e = { 0 };
	struct fusefs_config cfg = { 0 };

	snprintf(r->dir, sizeof r->dir, "%s/dmm-fusefs-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	if (!mkdtemp(r->dir) || chmod(r->dir, 0755))
		return -1;
	if (target_open(r->dir, &r->target, &e)) {
		print_error("%s\n", e.text);
		return -1;
	}
	target_set_id(r->target, &(struct target_id){ .migration = "fusefs-unit-test", .reserved_id = 4000000001u });
	if (how & RIG_ENGINE)
		r->en = fake_new(r->target);
	if (how & RIG_ROOT) {
		struct target_mark m = { .oid = RIG_ROOT_OID };

		fake_object(r->en, RIG_ROOT_OID, GATE_ALL);
		if (target_mark_set(r->target, target_root_fd(r->target), &m))
			return -1;
	}
	cfg.target = r->target;
	cfg.engine = r->en;
	cfg.mountpoint = r->dir;
	cfg.fsname = "unit:/test";
	cfg.no_passthrough = how & RIG_PLAIN;
	cfg.source_timeout = how & RIG_IMPATIENT ? 300 * CLOCK_MS : 0;
	if (fusefs_start(&cfg, &r->f, &e)) {
		print_error("%s\n", e.text);
		return -1;
	}
	*state = r;
	return 0;
}

static void remove_tree(const char *dir)
{
	char cmd[128];

	snprintf(cmd, sizeof cmd, "rm -rf --one-file-system %s", dir);
	if (system(cmd))
		print_error("%s is left\n", dir);
}

int rig_down(void **state)
{
	struct rig *r = *state;
	unsigned refs = 0;

	if (r->f) {
		fusefs_stop(r->f);
		fusefs_free(r->f);
	}
	if (r->en) {
		refs = fake_refs(r->en);
		if (refs || fake_waiting(r->en))
			print_error("%u references and %u waiters are left\n", refs, fake_waiting(r->en));
		refs += fake_waiting(r->en);
		fake_free(r->en);
	}
	if (fusefs_probe_mount(r->dir))
		refs++;
	target_close(r->target);
	remove_tree(r->dir);
	free(r);
	return refs ? -1 : 0;
}

const char *rig_path(const struct rig *r, const char *name)
{
	static __thread char buf[8][512];
	static __thread unsigned i;
	char *p = buf[i++ % 8];

	snprintf(p, sizeof buf[0], "%s/%s", r->dir, name);
	return p;
}

int rig_backing(const struct rig *r)
{
	return target_root_fd(r->target);
}

void rig_stub(struct rig *r, int oid, const char *name, mode_t mode, const char *content)
{
	struct target_mark m = { .oid = (uint64_t)oid, .limit = content ? strlen(content) : 0 };
	int fd;

	if (S_ISDIR(mode)) {
		assert_int_equal(mkdirat(rig_backing(r), name, mode & 07777), 0);
		fd = openat(rig_backing(r), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	} else {
		fd = openat(rig_backing(r), name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, mode & 07777);
	}
	assert_true(fd >= 0);
	if (content)
		assert_int_equal(write(fd, content, strlen(content)), (int)strlen(content));
	assert_int_equal(target_mark_set(r->target, fd, &m), 0);
	close(fd);
}

void rig_handle(struct rig *r, const char *name, struct target_handle *h)
{
	assert_int_equal(target_handle_at(rig_backing(r), name, h), 0);
}

void rig_write(const char *path, const void *data, size_t n)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, n), (int)n);
	assert_int_equal(close(fd), 0);
}

ssize_t rig_read(const char *path, void *buf, size_t n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t k;

	if (fd < 0)
		return -errno;
	k = read(fd, buf, n);
	if (k < 0)
		k = -errno;
	close(fd);
	return k;
}

void rig_parked(struct rig *r, unsigned n)
{
	struct fusefs_status s = { 0 };

	for (int i = 0; i < 5000; i++) {
		fusefs_status(r->f, &s);
		if (s.parked == n)
			return;
		nanosleep(&(struct timespec){ .tv_nsec = (long)CLOCK_MS }, NULL);
	}
	assert_int_equal(s.parked, n);
}

pid_t rig_spawn(int (*fn)(void *arg), void *arg)
{
	pid_t p = fork();

	assert_true(p >= 0);
	if (p == 0) {	/* nothing of ours: neither files open on the mount nor /dev/fuse */
		close_range(3, ~0u, 0);
		_exit(fn(arg));
	}
	return p;
}

int rig_reap(pid_t pid)
{
	int st = 0;

	assert_int_equal(waitpid(pid, &st, 0), pid);
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

int rig_child(int (*fn)(void *arg), void *arg)
{
	return rig_reap(rig_spawn(fn, arg));
}
