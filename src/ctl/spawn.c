/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <linux/close_range.h>
#include <unistd.h>

#include "base/cleanup.h"

#define WORKER "dmm-worker"

int spawn_find_worker(char path[PATH_MAX], struct err *e)
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - sizeof WORKER - 1);
	char *slash;

	if (n < 0)
		return err_sys(e, errno, "/proc/self/exe");
	path[n] = 0;
	slash = strrchr(path, '/');
	strcpy(slash ? slash + 1 : path, WORKER);
	if (!access(path, X_OK))
		return 0;
	snprintf(path, PATH_MAX, "%s/%s", DMM_LIBEXECDIR, WORKER);
	if (!access(path, X_OK))
		return 0;
	return err_sys(e, errno, "cannot find %s, neither beside dmm nor as %s", WORKER, path);
}

static void reset_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the child, up to the exec.  report: where errno goes when it fails. */
static void become(const char *path, char *const argv[], int channel, int report)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), e;

	/* out of the way of the fixed number */
	report = fcntl(report, F_DUPFD_CLOEXEC, 10);
	channel = fcntl(channel, F_DUPFD_CLOEXEC, 10);
	setsid();
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
	if (report >= 0 && channel >= 0 && dup2(channel, SPAWN_CHANNEL_FD) >= 0) {
		close_range(SPAWN_CHANNEL_FD + 1, ~0u, CLOSE_RANGE_CLOEXEC);
		reset_signals();
		execv(path, argv);
	}
	e = errno;
	if (write(report, &e, sizeof e) != sizeof e)
		_exit(126);
	_exit(127);
}

/* 0: the exec succeeded; else the errno with which it failed. */
static int exec_result(int fd)
{
	int code = 0;
	ssize_t n;

	do
		n = read(fd, &code, sizeof code);
	while (n < 0 && errno == EINTR);
	return n == sizeof code ? code : 0;
}

int spawn_worker(const char *path, char *const argv[], struct spawn *out, struct err *e)
{
	int sv[2], pipefd[2], code;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return err_sys(e, errno, "socketpair");
	if (pipe2(pipefd, O_CLOEXEC)) {
		code = errno;
		close(sv[0]);
		close(sv[1]);
		return err_sys(e, code, "pipe");
	}
	out->pid = fork();
	if (!out->pid)
		become(path, argv, sv[1], pipefd[1]);
	code = out->pid < 0 ? errno : 0;
	close(sv[1]);
	close(pipefd[1]);
	if (!code) {
		code = exec_result(pipefd[0]);
		if (code)
			waitpid(out->pid, NULL, 0);
	}
	close(pipefd[0]);
	out->fd = sv[0];
	if (!code)
		return 0;
	close(sv[0]);
	return err_sys(e, code, "cannot execute %s", path);
}

void spawn_wait(struct spawn *s, struct spawn_end *out)
{
	int status = 0;

	while (waitpid(s->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status)) {
		out->status = -1;
		out->signal = WTERMSIG(status);
		snprintf(out->text, sizeof out->text, "was killed by signal %d (%s)",
			 out->signal, sigdescr_np(out->signal) ? sigdescr_np(out->signal) : "?");
		return;
	}
	out->signal = 0;
	out->status = WEXITSTATUS(status);
	snprintf(out->text, sizeof out->text, "ended with status %d", out->status);
}
