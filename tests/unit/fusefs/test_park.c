/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Content of incomplete files: what waits, for what, what does not, and how waiting ends. */
#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static int up(void **s) { return rig_up(s, RIG_ENGINE); }

/* A small file: the open is held until the content is here, then it is native. */
static void test_open_waits(void **state)
{
	struct rig *r = *state;
	struct eobj *o = fake_object(r->en, 1, GATE_ALL & ~(GATE_CONTENT | GATE_CONTENT_RECORDED));
	struct job rd = JOB(r, job_read, .name = "f"), wr = JOB(r, job_open, .name = "f", .arg = O_RDWR);
	struct fusefs_status s;
	struct fusefs_stalled st[4];
	struct target_handle h;

	rig_stub(r, 1, "f", S_IFREG | 0644, "content");
	rig_handle(r, "f", &h);
	job_start(&rd);
	rig_parked(r, 1);
	assert_int_equal(fusefs_stalled(r->f, st, 4), 1);
	assert_string_equal(st[0].op, "open");
	assert_int_not_equal(st[0].since, 0);
	assert_true(target_handle_equal(&st[0].inode, &h));
	fake_open(o, GATE_CONTENT);
	assert_int_equal(job_end(&rd), 7);
	assert_memory_equal(rd.buf, "content", 7);
	job_start(&wr);		/* here, but not yet recorded */
	rig_parked(r, 1);
	fake_open(o, GATE_CONTENT_RECORDED);
	assert_true(job_end(&wr) >= 0);
	fusefs_status(r->f, &s);
	assert_int_equal(s.open_passthrough, s.passthrough);
	assert_int_equal(s.open_slow, 0);
	close(wr.result);
}

/* --source-timeout: a silent source ends the waiting, a slow one does not. */
static void test_source_timeout(void **state)
{
	struct rig *r = *state;
	struct eobj *o = fake_object(r->en, 1, GATE_ALL & ~GATE_CONTENT);
	struct job j = JOB(r, job_read, .name = "f"), again = JOB(r, job_read, .name = "f");

	rig_stub(r, 1, "f", S_IFREG | 0644, "content");
	job_start(&j);
	rig_parked(r, 1);
	nanosleep(&(struct timespec){ .tv_sec = 1 }, NULL);
	rig_parked(r, 1);
	r->en->silent = true;
	assert_int_equal(job_end(&j), -EIO);
	r->en->silent = false;
	job_start(&again);
	rig_parked(r, 1);
	fake_open(o, GATE_CONTENT);
	assert_int_equal(job_end(&again), 7);
}

static int up_impatient(void **s) { return rig_up(s, RIG_ENGINE | RIG_IMPATIENT); }

static void test_failure_is_reported(void **state)
{
	struct rig *r = *state;
	struct eobj *o = fake_object(r->en, 1, GATE_ALL & ~GATE_CONTENT);
	struct job j = JOB(r, job_read, .name = "f");

	rig_stub(r, 1, "f", S_IFREG | 0644, "content");
	job_start(&j);
	rig_parked(r, 1);
	fake_fail(o, GATE_CONTENT, -EIO);
	assert_int_equal(job_end(&j), -EIO);
}

/* 200 stalled readers do not delay others: the rule that shapes this module. */
static void test_200_stalled(void **state)
{
	enum { N = 200 };
	struct rig *r = *state;
	struct job *j = calloc(N, sizeof *j);
	static struct fusefs_stalled st[N + 1];
	char (*name)[16] = calloc(N, sizeof *name);
	uint64_t worst = 0;

	rig_write(rig_path(r, "done"), "native", 6);
	for (int i = 0; i < N; i++) {
		snprintf(name[i], sizeof name[i], "s%d", i);
		fake_object(r->en, (uint64_t)i + 1, GATE_ALL & ~GATE_CONTENT);
		rig_stub(r, i + 1, name[i], S_IFREG | 0644, "late");
		j[i] = JOB(r, job_read, .name = name[i]);
		job_start(&j[i]);
	}
	rig_parked(r, N);
	assert_int_equal(fusefs_stalled(r->f, st, N + 1), N);
	for (int i = 0; i < 200; i++) {
		uint64_t t = clock_mono();
		char buf[8], fresh[24];
		struct stat sb;

		snprintf(fresh, sizeof fresh, "fresh%d", i);
		assert_int_equal(rig_read(rig_path(r, "done"), buf, 8), 6);
		rig_write(rig_path(r, fresh), "x", 1);
		assert_int_equal(stat(rig_path(r, name[i]), &sb), 0);	/* the stalled themselves can be looked at */
		assert_int_equal(unlink(rig_path(r, fresh)), 0);
		t = clock_mono() - t;
		worst = t > worst ? t : worst;
	}
	assert_true(worst < CLOCK_SEC);
	rig_parked(r, N);
	for (int i = 0; i < N; i++)
		fake_open(&r->en->obj[i + 1], GATE_CONTENT);
	for (int i = 0; i < N; i++)
		assert_int_equal(job_end(&j[i]), 4);
	free(j);
	free(name);
}

static void on_usr1(int sig) { (void)sig; }

static int child_reads(void *arg)
{
	struct sigaction sa = { .sa_handler = on_usr1 };
	char buf[8];

	sigaction(SIGUSR1, &sa, NULL);
	return rig_read(rig_path(arg, "f"), buf, 8) == 4 ? 0 : 1;
}

/* A signal with a handler must not break an open; a kill must, even as the second signal. */
static void test_signals(void **state)
{
	struct rig *r = *state;
	struct eobj *o = fake_object(r->en, 1, GATE_ALL & ~GATE_CONTENT);
	pid_t p;

	rig_stub(r, 1, "f", S_IFREG | 0644, "late");
	p = rig_spawn(child_reads, r);
	rig_parked(r, 1);
	kill(p, SIGUSR1);
	nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
	rig_parked(r, 1);
	kill(p, SIGKILL);
	assert_int_equal(rig_reap(p), 128 + SIGKILL);
	rig_parked(r, 0);
	p = rig_spawn(child_reads, r);
	rig_parked(r, 1);
	kill(p, SIGUSR1);
	nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	fake_open(o, GATE_CONTENT);
	assert_int_equal(rig_reap(p), 0);
}

/* Large: ranges on demand; what is here is read at once, the rest waits by itself. */
static void test_slow_read(void **state)
{
	struct rig *r = *state;
	struct eobj *o = fake_object(r->en, 1, GATE_ALL & ~(GATE_CONTENT | GATE_CONTENT_RECORDED | GATE_RANGE));
	struct fusefs_status s;
	struct job j = { 0 };
	char b[8];
	int fd, fd2;

	o->slow = true;
	rig_stub(r, 1, "f", S_IFREG | 0644, "0123456789");
	fd = open(rig_path(r, "f"), O_RDONLY);
	assert_true(fd >= 0);
	fusefs_status(r->f, &s);
	assert_int_equal(s.open_slow, 1);
	j = JOB(r, job_pread, .arg = fd);
	job_start(&j);
	rig_parked(r, 1);
	o->range_here = 8;
	assert_int_equal(pread(fd, b, 4, 4), 4);
	assert_memory_equal(b, "4567", 4);
	assert_int_equal(pread(fd, b, 4, 100), 0);	/* beyond the end nothing is asked for */
	assert_int_equal(lseek(fd, 3, SEEK_DATA), 3);
	assert_int_equal(lseek(fd, 3, SEEK_HOLE), 10);
	fake_open(o, GATE_RANGE);
	assert_int_equal(job_end(&j), 4);
	/* complete now, but while one slow open exists every open is slow */
	fake_open(o, GATE_ALL);
	o->complete = true;
	fd2 = open(rig_path(r, "f"), O_RDWR);
	assert_true(fd2 >= 0);
	fusefs_status(r->f, &s);
	assert_int_equal(s.open_slow, 2);
	assert_int_equal(s.open_passthrough, 0);
	assert_int_equal(pwrite(fd2, "X", 1, 0), 1);
	assert_int_equal(pread(fd, b, 2, 0), 2);
	assert_memory_equal(b, "X1", 2);
	close(fd);
	close(fd2);
	for (int i = 0; i < 2000 && s.open_slow; i++) {
		fusefs_status(r->f, &s);
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	assert_int_equal(s.open_slow, 0);
	fd = open(rig_path(r, "f"), O_RDONLY);
	fusefs_status(r->f, &s);
	assert_int_equal(s.open_passthrough, s.passthrough);
	assert_int_equal(pread(fd, b, 2, 0), 2);
	assert_memory_equal(b, "X1", 2);
	close(fd);
}

static void test_slow_write(void **state)
{
	struct rig *r = *state;
	struct eobj *o = fake_object(r->en, 1, GATE_ALL & ~(GATE_CONTENT | GATE_CONTENT_RECORDED | GATE_RANGE_RECORDED));
	struct job j = { 0 }, other;
	char b[16];
	int fd;

	o->slow = true;
	rig_stub(r, 1, "f", S_IFREG | 0644, "0123456789");
	fd = open(rig_path(r, "f"), O_RDWR);
	assert_true(fd >= 0);
	j = JOB(r, job_pwrite, .arg = fd, .buf = "WXYZ");
	job_start(&j);
	rig_parked(r, 1);
	other = JOB(r, job_stat, .name = "f");
	job_start(&other);
	assert_int_equal(job_end(&other), 0);
	assert_int_equal(o->times_taken, 0);	/* nothing was touched yet */
	for (int i = 0; i < 64; i++)		/* the parked payload is not in a buffer that others use */
		rig_write(rig_path(r, "noise"), "nnnnnnnnnnnnnnnn", 16);
	fake_open(o, GATE_RANGE_RECORDED);
	assert_int_equal(job_end(&j), 4);
	assert_int_equal(o->written, 1);
	assert_int_equal(o->written_bytes, 4);
	assert_true(o->times_taken > 0 && o->records > 0);
	assert_int_equal(pread(fd, b, 16, 0), 10);
	assert_memory_equal(b, "WXYZ456789", 10);
	close(fd);
}

static void test_slow_mmap(void **state)
{
	struct rig *r = *state;
	struct eobj *o = fake_object(r->en, 1, GATE_ALL & ~(GATE_CONTENT | GATE_CONTENT_RECORDED));
	char *m;
	int fd;

	o->slow = true;
	rig_stub(r, 1, "f", S_IFREG | 0644, "0123456789");
	fd = open(rig_path(r, "f"), O_RDWR);
	m = mmap(NULL, 10, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(m != MAP_FAILED);
	assert_memory_equal(m, "0123456789", 10);
	m[0] = 'M';
	assert_int_equal(msync(m, 10, MS_SYNC), 0);
	assert_true(o->written > 0);
	munmap(m, 10);
	close(fd);
	{
		char b[1];
		int back = openat(rig_backing(r), "f", O_RDONLY);

		assert_int_equal(read(back, b, 1), 1);
		assert_int_equal(b[0], 'M');
		close(back);
	}
}

/* Random reads, writes, truncations and mappings in slow mode against a copy in memory. */
static void test_slow_random(void **state)
{
	enum { MAX = 1 << 18, OPS = 3000 };
	struct rig *r = *state;
	struct eobj *o = fake_object(r->en, 1, GATE_ALL);
	char *copy = calloc(1, MAX), *b = malloc(MAX), *m;
	size_t size = 0;
	unsigned seed = 7;
	int fd;

	o->slow = true;
	o->gates = GATE_ALL & ~GATE_CONTENT;
	rig_stub(r, 1, "f", S_IFREG | 0644, "");
	fd = open(rig_path(r, "f"), O_RDWR);
	assert_true(fd >= 0);
	for (int i = 0; i < OPS; i++) {
		size_t off = (size_t)rand_r(&seed) % MAX, len = 1 + (size_t)rand_r(&seed) % 40000;
		struct stat st;

		len = off + len > MAX ? MAX - off : len;
		switch (rand_r(&seed) % 6) {
		case 0:
		case 1:
			memset(b, 'a' + i % 26, len);
			assert_int_equal(pwrite(fd, b, len, (off_t)off), (int)len);
			memcpy(copy + off, b, len);
			size = off + len > size ? off + len : size;
			break;
		case 2:
			assert_int_equal(ftruncate(fd, (off_t)off), 0);
			if (off < size)
				memset(copy + off, 0, size - off);
			size = off;
			break;
		case 3:
			if (!size)
				break;
			m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
			assert_true(m != MAP_FAILED);
			assert_memory_equal(m, copy, size);
			if (off < size) {
				m[off] = copy[off] = 'M';
				assert_int_equal(msync(m, size, MS_SYNC), 0);
			}
			munmap(m, size);
			break;
		default:
			len = off >= size ? 0 : off + len > size ? size - off : len;
			assert_int_equal(pread(fd, b, MAX, (off_t)off), off >= size ? 0 : (int)(size - off));
			assert_memory_equal(b, copy + off, len);
			assert_int_equal(fstat(fd, &st), 0);
			assert_int_equal(st.st_size, (long)size);
		}
	}
	close(fd);
	free(copy);
	free(b);
}

static void test_truncate_once(void **state)
{
	struct rig *r = *state;
	struct eobj *o = fake_object(r->en, 1, GATE_ALL & ~(GATE_RECORD | GATE_CHANGE | GATE_CONTENT_RECORDED));
	struct job j = JOB(r, job_open, .name = "f", .arg = O_WRONLY | O_TRUNC);
	struct job t = JOB(r, job_truncate, .name = "f", .arg = 3);
	struct stat st;

	rig_stub(r, 1, "f", S_IFREG | 0644, "content");
	job_start(&j);
	rig_parked(r, 1);
	fake_open(o, GATE_RECORD);
	rig_parked(r, 1);
	assert_int_equal(fstatat(rig_backing(r), "f", &st, 0), 0);
	assert_int_equal(st.st_size, 7);
	fake_open(o, GATE_CHANGE);
	rig_parked(r, 1);		/* truncated, now for the record of the content */
	assert_int_equal(fstatat(rig_backing(r), "f", &st, 0), 0);
	assert_int_equal(st.st_size, 0);
	fake_open(o, GATE_CONTENT_RECORDED);
	assert_true(job_end(&j) >= 0);
	close(j.result);
	assert_int_equal(o->truncated, 1);
	assert_int_equal(o->change_begun, 1);
	assert_int_equal(o->change_ended, 1);
	job_start(&t);
	assert_int_equal(job_end(&t), 0);
	assert_int_equal(o->truncated, 2);
	assert_int_equal(o->change_ended, 2);
}

static int do_punch(struct job *j)
{
	return fallocate(j->arg, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) ? -errno : 0;
}
static int do_copy(struct job *j)
{
	int out = open(rig_path(j->r, "out"), O_CREAT | O_RDWR, 0600);
	ssize_t n = copy_file_range(j->arg, &(loff_t){ 0 }, out, &(loff_t){ 0 }, 4, 0);

	close(out);
	return n < 0 ? -errno : (int)n;
}

static void test_ranges(void **state)
{
	struct rig *r = *state;
	struct eobj *o = fake_object(r->en, 1, GATE_ALL & ~(GATE_CONTENT | GATE_RANGE | GATE_RANGE_RECORDED));
	struct job p, c;
	int fd;

	o->slow = true;
	rig_stub(r, 1, "f", S_IFREG | 0644, "0123456789");
	fd = open(rig_path(r, "f"), O_RDWR);
	assert_true(fd >= 0);
	c = JOB(r, do_copy, .arg = fd);
	job_start(&c);
	rig_parked(r, 1);
	fake_open(o, GATE_RANGE);
	assert_int_equal(job_end(&c), 4);
	p = JOB(r, do_punch, .arg = fd);
	job_start(&p);
	rig_parked(r, 1);
	fake_open(o, GATE_RANGE_RECORDED);
	assert_int_equal(job_end(&p), 0);
	assert_true(o->written > 0 && o->times_taken > 0);
	close(fd);
}

/* Attributes are cached for ever until DMM says that it changed them. */
static void test_changed(void **state)
{
	struct rig *r = *state;
	struct eobj *o = fake_object(r->en, 1, GATE_ALL);
	struct target_handle h;
	struct stat st;

	rig_stub(r, 1, "f", S_IFREG | 0644, "x");
	rig_handle(r, "f", &h);
	o->size = 100;
	assert_int_equal(stat(rig_path(r, "f"), &st), 0);
	assert_int_equal(st.st_size, 100);
	o->size = 200;
	assert_int_equal(stat(rig_path(r, "f"), &st), 0);
	assert_int_equal(st.st_size, 100);
	fake_changed(r->en, &h);
	for (int i = 0; i < 2000 && st.st_size != 200; i++) {
		assert_int_equal(stat(rig_path(r, "f"), &st), 0);
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	assert_int_equal(st.st_size, 200);
}

static void test_exec_opens_whole(void **state)
{
	struct rig *r = *state;
	struct eobj *o = fake_object(r->en, 1, GATE_ALL);
	char cmd[300];

	o->slow = true;
	rig_stub(r, 1, "prog", S_IFREG | 0755, "#!/bin/sh\nexit 7\n");
	snprintf(cmd, sizeof cmd, "%s", rig_path(r, "prog"));
	assert_int_equal(system(cmd) >> 8, 7);
	assert_true(o->exec_opens > 0);
}

/* Stopping answers what is parked. */
static void test_stop(void **state)
{
	struct rig *r = *state;
	struct job j = JOB(r, job_read, .name = "f");

	fake_object(r->en, 1, GATE_ALL & ~GATE_CONTENT);
	rig_stub(r, 1, "f", S_IFREG | 0644, "x");
	job_start(&j);
	rig_parked(r, 1);
	fusefs_stop(r->f);
	assert_int_equal(job_end(&j), -EIO);
	assert_int_equal(fake_waiting(r->en), 0);
}

/* Wakes, cancellations and new requests at random: every request is answered once. */
static void test_storm(void **state)
{
	enum { N = 24, ROUNDS = 40 };
	struct rig *r = *state;
	struct job j[N];
	char name[N][8];

	for (int i = 0; i < N; i++) {
		snprintf(name[i], sizeof name[i], "s%d", i);
		fake_object(r->en, (uint64_t)i + 1, GATE_ALL & ~GATE_CONTENT);
		rig_stub(r, i + 1, name[i], S_IFREG | 0644, "late");
	}
	for (int k = 0; k < ROUNDS; k++) {
		for (int i = 0; i < N; i++) {
			j[i] = JOB(r, job_read, .name = name[i]);
			job_start(&j[i]);
		}
		for (int i = 0; i < N; i++) {
			struct eobj *o = &r->en->obj[i + 1];

			if (k % 3 == 0 && i % 2)
				rig_parked(r, (unsigned)(N - i));
			fake_open(o, GATE_CONTENT);
			assert_int_equal(job_end(&j[i]), 4);
			o->gates &= ~(unsigned)GATE_CONTENT;
			if (k % 3 == 0 && !(i % 2))
				rig_parked(r, (unsigned)(N - i - 1));
		}
	}
	rig_parked(r, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, up, rig_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_open_waits), T(test_failure_is_reported), T(test_200_stalled), T(test_signals),
		cmocka_unit_test_setup_teardown(test_source_timeout, up_impatient, rig_down),
		T(test_slow_read), T(test_slow_write), T(test_slow_mmap), T(test_slow_random),
		T(test_truncate_once), T(test_ranges), T(test_changed), T(test_exec_opens_whole),
		T(test_stop), T(test_storm),
	};

	umask(022);
	return rig_possible() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
