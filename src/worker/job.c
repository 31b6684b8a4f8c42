/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "control.h"
#include "faults.h"
#include "find.h"
#include "fusefs/fusefs.h"
#include "statedir.h"
#include "verb.h"

#define REQUEST_MS 5000		/* dmm sends it at once */
#define TRY_AGAIN_MS 100
#define TRIES 80		/* the time a worker may take to open its socket after its catalog, or to close them */

struct job {
	char state[PATH_MAX];
	struct reply reply;
	struct catalog_identity id;
	struct catalog *catalog;
	struct target *target;
};

/* ---- a worker runs: pass on ---- */

static bool send_all(int fd, const char *data, size_t n)
{
	while (n) {
		ssize_t did = send(fd, data, n, MSG_NOSIGNAL);

		if (did < 0 && errno == EINTR)
			continue;
		if (did < 0)
			return false;
		data += did;
		n -= (size_t)did;
	}
	return true;
}

static bool send_request(int fd, json_t *request)
{
	_cleanup_free_ char *line = json_dumps(request, JSON_COMPACT);

	return line && send_all(fd, line, strlen(line)) && send_all(fd, "\n", 1);
}

/* Until the worker has closed its end.  dmm closing its own withdraws the request. */
static void pass_on(int worker, int dmm)
{
	struct pollfd p[] = { { .fd = worker, .events = POLLIN }, { .fd = dmm, .events = POLLRDHUP } };
	char buf[16384];
	ssize_t n;

	for (;;) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return;
		if (p[1].revents) {
			shutdown(worker, SHUT_WR);
			p[1].fd = -1;
		}
		if (!p[0].revents)
			continue;
		n = recv(worker, buf, sizeof buf, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return;
		if (n > 0 && !send_all(dmm, buf, (size_t)n))
			return;
	}
}

/* ---- none runs: our own work ---- */

/* Dead mounts over the target, and only those, go away: for this process. */
static int look_below(const char *target, struct err *e)
{
	int r = fusefs_probe_mount(target);

	if (r < 0)
		return err_sys(e, r, "cannot tell what is mounted on %s", target);
	if (r == 1)
		return err_set(e, EBUSY, "%s is mounted by a migration whose state is elsewhere", target);
	if (r == 2 && (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL)))
		return err_sys(e, errno, "a mount namespace to look below the dead mount on %s", target);
	return r == 2 ? fusefs_clean_dead(target, e) : 0;
}

static int open_target(struct job *j, struct err *e)
{
	struct target_id id = { .reserved_id = j->id.reserved_id };
	int r = look_below(j->id.target, e);

	if (!r)
		r = target_open(j->id.target, &j->target, e);
	if (r == -EBUSY)
		return err_set(e, EBUSY, "the target %s is in use by a migration that is just starting or ending; try again", j->id.target);
	if ((r == -ENOENT || r == -ENOTDIR) && catalog_phase(j->catalog) == CATALOG_DETACHED) {
		j->target = NULL;	/* finished and deleted since: nothing to look at */
		return 0;
	}
	if (r)
		return r;
	memcpy(id.migration, j->id.migration, sizeof id.migration);
	target_set_id(j->target, &id);
	return 0;
}

static void own_work(struct job *j, json_t *request)
{
	struct verb_context v = {
		.catalog = j->catalog, .state = j->state, .source = j->id.source, .target_path = j->id.target,
	};
	struct err e = { 0 };
	int r = verb_wants_target(control_name(request)) ? open_target(j, &e) : 0;

	if (r) {
		reply_end(&j->reply, r, &e, NULL);
	} else {
		v.target = j->target;
		verb_serve(&v, &j->reply, request);
	}
	target_close(j->target);
	if (catalog_close(j->catalog))
		log_warn("the catalog in %s could not be closed cleanly", j->state);
}

/* ---- either ---- */

/* 0: somebody has answered. */
static int attempt(struct job *j, json_t *request, struct err *e)
{
	int fd = control_connect(j->state), r;
	bool created;

	if (fd >= 0 && send_request(fd, request)) {
		pass_on(fd, j->reply.fd);
		close(fd);
		return 0;
	}
	if (fd >= 0)
		close(fd);
	r = catalog_open(j->state, false, &j->id, &j->catalog, &created, e);
	if (!r)
		own_work(j, request);
	return r;
}

static int answer(struct job *j, const char *what, json_t *request, struct err *e)
{
	int r = find_state(what, STATEDIR_BASE, j->state, e);

	if (r)
		return r;
	if (chdir("/"))		/* our working directory must not keep a target busy */
		return err_sys(e, errno, "/");
	r = -EBUSY;
	for (int i = 0; i < TRIES && r == -EBUSY && !reply_withdrawn(&j->reply); i++) {
		if (i)
			poll(NULL, 0, TRY_AGAIN_MS);
		r = attempt(j, request, e);
	}
	return r;
}

static int start(struct job *j, const struct options *o, struct err *e)
{
	json_t *request = NULL;
	int r;

	if (geteuid())
		return err_set(e, EPERM, "only root may ask about a migration");
	r = faults_points(o->points, e);
	if (r)
		return r;
	r = control_read(o->channel_fd, REQUEST_MS, &request);
	if (r)
		return err_set(e, r, "no request came; dmm-worker is started by dmm");
	r = answer(j, o->state, request, e);
	json_decref(request);
	return r;
}

int job_run(const struct options *o)
{
	_cleanup_free_ struct job *j = calloc(1, sizeof *j);
	struct err e = { 0 };
	sigset_t none;
	int r;

	if (!j || fcntl(o->channel_fd, F_SETFD, FD_CLOEXEC))
		return WORKER_FAILED;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);	/* whoever asked has gone; nothing of ours needs an orderly end */
	log_set_level(o->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN);
	reply_init(&j->reply, o->channel_fd);
	r = start(j, o, &e);
	if (r)
		reply_end(&j->reply, r, &e, NULL);
	return r ? WORKER_FAILED : WORKER_DONE;
}
