/* SPDX-License-Identifier: GPL-3.0-or-later */
/* flock, POSIX and OFD locks through the mount; they must exclude on the backing file too. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static int up(void **s) { return rig_up(s, 0); }

static struct flock range(short type, off_t start, off_t len)
{
	return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

static int opened(const struct rig *r)
{
	return open(rig_path(r, "l"), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
}

static int try_posix(void *arg)
{
	struct flock l = range(F_WRLCK, 0, 10);
	int fd = opened(arg);

	return fcntl(fd, F_SETLK, &l) ? errno : 0;
}

static int wait_posix(void *arg)
{
	struct flock l = range(F_WRLCK, 0, 10);
	int fd = opened(arg);

	return fcntl(fd, F_SETLKW, &l) ? errno : 0;
}

static int who_posix(void *arg)
{
	struct flock l = range(F_WRLCK, 0, 10);
	int fd = opened(arg);

	return !fcntl(fd, F_GETLK, &l) && l.l_type == F_WRLCK && l.l_start == 5 && l.l_pid == getppid() ? 0 : 1;
}

static void test_posix(void **state)
{
	struct rig *r = *state;
	int fd = opened(r), back, other;
	struct flock l = range(F_WRLCK, 5, 20), probe;
	pid_t p;

	assert_int_equal(fcntl(fd, F_SETLK, &l), 0);
	assert_int_equal(rig_child(try_posix, r), EAGAIN);
	assert_int_equal(rig_child(who_posix, r), 0);
	back = openat(rig_backing(r), "l", O_RDWR | O_CLOEXEC);	/* a native program, after detach */
	probe = range(F_WRLCK, 0, 10);
	assert_int_equal(fcntl(back, F_OFD_SETLK, &probe), -1);
	assert_true(errno == EAGAIN || errno == EACCES);
	p = rig_spawn(wait_posix, r);
	pause_ms(100);
	l = range(F_UNLCK, 5, 20);
	assert_int_equal(fcntl(fd, F_SETLK, &l), 0);
	assert_int_equal(rig_reap(p), 0);
	/* its own locks do not exclude a process; a part can be given back */
	l = range(F_WRLCK, 0, 100);
	assert_int_equal(fcntl(fd, F_SETLK, &l), 0);
	other = opened(r);
	l = range(F_UNLCK, 0, 50);
	assert_int_equal(fcntl(other, F_SETLK, &l), 0);
	assert_int_equal(rig_child(try_posix, r), 0);
	l = range(F_WRLCK, 0, 10);
	assert_int_equal(fcntl(fd, F_SETLK, &l), 0);
	assert_int_equal(rig_child(try_posix, r), EAGAIN);
	close(other);		/* any close of the file ends all POSIX locks of the process */
	assert_int_equal(rig_child(try_posix, r), 0);
	close(back);
	close(fd);
}

static void nothing(int sig) { (void)sig; }

static int wait_with_handler(void *arg)
{
	struct sigaction sa = { .sa_handler = nothing };

	sigaction(SIGUSR1, &sa, NULL);
	return wait_posix(arg);
}

static int wait_flock_handler(void *arg)
{
	struct sigaction sa = { .sa_handler = nothing };
	int fd;

	sigaction(SIGUSR1, &sa, NULL);
	fd = opened(arg);
	return flock(fd, LOCK_EX) ? errno : 0;
}

/* Signals until the child has ended: the first may come before it waits. */
static int signalled(pid_t p, int sig)
{
	int st = 0;

	for (int i = 0; i < 500; i++) {
		kill(p, sig);
		if (waitpid(p, &st, WNOHANG) == p)
			return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
		pause_ms(10);
	}
	kill(p, SIGKILL);
	return -1;
}

/* A waiting lock ends with any signal and never blocks others. */
static void test_interrupted(void **state)
{
	struct rig *r = *state;
	int fd = opened(r);
	struct flock l = range(F_WRLCK, 0, 10);
	pid_t p[20];
	struct stat st;
	uint64_t t;

	assert_int_equal(fcntl(fd, F_SETLK, &l), 0);
	for (int i = 0; i < 20; i++)
		p[i] = rig_spawn(wait_with_handler, r);
	pause_ms(200);
	t = clock_mono();
	assert_int_equal(chmod(rig_path(r, "l"), 0600), 0);
	assert_int_equal(stat(rig_path(r, "l"), &st), 0);
	assert_true(clock_mono() - t < CLOCK_SEC);
	for (int i = 0; i < 20; i++)
		assert_int_equal(signalled(p[i], i % 2 ? SIGUSR1 : SIGKILL), i % 2 ? EINTR : 128 + SIGKILL);
	close(fd);

	fd = opened(r);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	p[0] = rig_spawn(wait_flock_handler, r);
	pause_ms(100);
	assert_int_equal(signalled(p[0], SIGUSR1), EINTR);
	close(fd);
}

static int try_flock(void *arg)
{
	int fd = opened(arg);

	return flock(fd, LOCK_EX | LOCK_NB) ? errno : 0;
}

static int wait_flock(void *arg)
{
	int fd = opened(arg);

	return flock(fd, LOCK_EX) ? errno : 0;
}

static void test_flock(void **state)
{
	struct rig *r = *state;
	int fd = opened(r), dup_fd = dup(fd), back;
	pid_t p;

	assert_int_equal(flock(fd, LOCK_SH), 0);
	assert_int_equal(rig_child(try_flock, r), EWOULDBLOCK);
	back = openat(rig_backing(r), "l", O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(back, LOCK_EX | LOCK_NB), -1);
	assert_int_equal(flock(back, LOCK_SH | LOCK_NB), 0);
	close(back);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	close(fd);				/* the description lives on in the duplicate */
	assert_int_equal(rig_child(try_flock, r), EWOULDBLOCK);
	p = rig_spawn(wait_flock, r);
	pause_ms(50);
	close(dup_fd);
	assert_int_equal(rig_reap(p), 0);
	assert_int_equal(rig_child(try_flock, r), 0);
}

static void test_ofd(void **state)
{
	struct rig *r = *state;
	int a = opened(r), b = opened(r);
	struct flock l = range(F_WRLCK, 0, 10);

	assert_int_equal(fcntl(a, F_OFD_SETLK, &l), 0);
	l = range(F_WRLCK, 0, 10);
	assert_int_equal(fcntl(b, F_OFD_SETLK, &l), -1);	/* same process, other description */
	close(a);			/* a bare RELEASE ends it */
	for (int i = 0; i < 2000; i++) {
		l = range(F_WRLCK, 0, 10);
		if (!fcntl(b, F_OFD_SETLK, &l))
			break;
		pause_ms(1);
	}
	l = range(F_WRLCK, 0, 10);
	assert_int_equal(fcntl(b, F_OFD_SETLK, &l), 0);
	assert_int_equal(rig_child(try_posix, r), EAGAIN);
	close(b);
}

/* Somebody who does not go through the mount: found by trying again. */
static void test_native_holder(void **state)
{
	struct rig *r = *state;
	int fd = opened(r), back = openat(rig_backing(r), "l", O_RDWR | O_CLOEXEC);
	pid_t p;

	assert_int_equal(flock(back, LOCK_EX), 0);
	p = rig_spawn(wait_flock, r);
	pause_ms(150);
	close(back);
	assert_int_equal(rig_reap(p), 0);
	close(fd);
}

#define T(f) cmocka_unit_test_setup_teardown(f, up, rig_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_posix), T(test_interrupted), T(test_flock), T(test_ofd), T(test_native_holder),
	};

	return rig_possible() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
