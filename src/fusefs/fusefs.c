/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The life of a mount: start, detach, stop.
 *
 *   start -> serving -> detach -> serving old descriptors -> ENODEV -> free
 *               \-----> stop  -> free
 *
 * Invariants:
 *   - readers end only by ENODEV (the last descriptor is closed) or by stop;
 *     until then every request gets an answer;
 *   - after detach has begun no timeout given to the kernel is longer than 0, so
 *     nothing it learns then outlives the mount;
 *   - detach never happens under a slow open: an old mapping's writeback
 *     would land on native writes (FACTS).
 *
 * Readers are cancelled only inside read(2) on /dev/fuse (session.c).
 */
#include "fusefs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/creds.h"
#include "base/log.h"
#include "internal.h"
#include "mountinfo.h"
#include "open.h"

static void reader_gone(void *arg)
{
	struct fusefs *f = arg;

	pthread_mutex_lock(&f->life_lock);
	f->readers_running--;
	pthread_cond_broadcast(&f->life_cond);
	pthread_mutex_unlock(&f->life_lock);
}

static void free_buffer(void *arg)
{
	session_buffer_free(((struct fuse_buf *)arg)->mem);
}

static void *reader(void *arg)
{
	struct fusefs *f = arg;
	struct fuse_buf b = { .mem = session_buffer_new() };
	bool private;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_cleanup_push(reader_gone, f);
	pthread_cleanup_push(free_buffer, &b);
	private = !creds_private_umask();	/* a shared one would change the program's */
	if (private)
		umask(0);
	while (private && b.mem && !fuse_session_exited(f->se)) {
		int n = fuse_session_receive_buf(f->se, &b);

		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n <= 0)
			break;
		fuse_session_process_buf(f->se, &b);
	}
	pthread_cleanup_pop(1);
	pthread_cleanup_pop(1);
	return NULL;
}

static int start_readers(struct fusefs *f, unsigned n)
{
	while (f->nreaders < n) {
		int r;

		pthread_mutex_lock(&f->life_lock);
		f->readers_running++;
		pthread_mutex_unlock(&f->life_lock);
		r = pthread_create(&f->readers[f->nreaders], NULL, reader, f);
		if (r) {
			reader_gone(f);
			return -r;
		}
		f->nreaders++;
	}
	return 0;
}

static void join_readers(struct fusefs *f)
{
	while (f->nreaders)
		pthread_join(f->readers[--f->nreaders], NULL);
}

/* ---- start ---- */

static int new_session(struct fusefs *f, struct err *e)
{
	char opt[] = "-omax_read=1048576", name[] = "dmm";
	char *argv[] = { name, opt, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(2, argv);
	int r;

	f->dev_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (f->dev_fd < 0)
		return err_sys(e, errno, "/dev/fuse");
	f->se = fuse_session_new(&args, &ops_table, sizeof ops_table, f);
	fuse_opt_free_args(&args);
	if (!f->se)
		return err_set(e, EIO, "libfuse refused the session");
	r = fuse_session_custom_io(f->se, &session_io, f->dev_fd);
	return r ? err_sys(e, r, "libfuse refused the hooks") : 0;
}

struct root_wait {
	struct access_wait w;
	pthread_mutex_t m;
	pthread_cond_t c;
	bool woken;
	int err;
};

static void root_wake(struct access_wait *w, int err)
{
	struct root_wait *rw = list_entry(w, struct root_wait, w);

	pthread_mutex_lock(&rw->m);
	rw->woken = true;
	rw->err = err;
	pthread_cond_signal(&rw->c);
	pthread_mutex_unlock(&rw->m);
}

/* The root's object, before anybody can ask: this once it is right to wait. */
static int attach_root(struct fusefs *f, const struct target_handle *h)
{
	struct root_wait rw = { .w.wake = root_wake };
	struct target_mark m;
	struct eobj *o = NULL;
	int r = f->engine ? target_mark_get(f->target, target_root_fd(f->target), &m) : -ENODATA;

	if (r)
		return r == -ENODATA ? 0 : r;
	pthread_mutex_init(&rw.m, NULL);
	pthread_cond_init(&rw.c, NULL);
	list_init(&rw.w.link);
	while ((r = access_attach(f->engine, NULL, NULL, &m, h, &o, &rw.w)) == ACCESS_PARKED) {
		pthread_mutex_lock(&rw.m);
		while (!rw.woken)
			pthread_cond_wait(&rw.c, &rw.m);
		rw.woken = false;
		r = rw.err;
		pthread_mutex_unlock(&rw.m);
		if (r)
			break;
	}
	pthread_cond_destroy(&rw.c);
	pthread_mutex_destroy(&rw.m);
	if (!r)
		node_set_object(f->nodes, node_by_id(f->nodes, FUSE_ROOT_ID), o);
	return r;
}

static int new_nodes(struct fusefs *f, struct err *e)
{
	struct target_handle h;
	int r = target_handle_of(target_root_fd(f->target), &h);

	if (!r)
		r = node_table_new(&h, &f->nodes);
	if (!r)
		r = attach_root(f, &h);
	return r ? err_sys(e, r, "the target's root") : 0;
}

static struct fusefs *new_fs(const struct fusefs_config *cfg, unsigned threads)
{
	struct fusefs *f = calloc(1, sizeof *f);

	if (!f)
		return NULL;
	f->target = cfg->target;
	f->engine = cfg->engine;
	f->want_passthrough = !cfg->no_passthrough;
	f->source_timeout = cfg->source_timeout;
	f->dev_fd = -1;
	f->mountpoint = mountinfo_path(cfg->mountpoint);
	if (!f->mountpoint && errno != ENOMEM)
		f->mountpoint = strdup(cfg->mountpoint);	/* mount_over() says what is wrong with it */
	f->fsname = strdup(cfg->fsname ? cfg->fsname : "");
	f->readers = calloc(threads, sizeof *f->readers);
	pthread_mutex_init(&f->park_lock, NULL);
	pthread_cond_init(&f->timer_cond, NULL);
	pthread_mutex_init(&f->life_lock, NULL);
	pthread_cond_init(&f->life_cond, NULL);
	list_init(&f->parked);
	list_init(&f->lock_waiters);
	queue_init(&f->resume);
	queue_init(&f->sync);
	queue_init(&f->notify);
	if (f->mountpoint && f->fsname && f->readers)
		return f;
	fusefs_free(f);
	return NULL;
}

/* One reader until FUSE_INIT is answered, then all. */
static int serve(struct fusefs *f, unsigned threads, struct err *e)
{
	struct stat st;
	int r = request_fs_start(f);

	if (!r)
		r = notify_start(f);
	if (!r)
		r = start_readers(f, 1);
	if (r)
		return err_sys(e, r, "start threads");
	pthread_mutex_lock(&f->life_lock);
	while (!f->inited && f->readers_running)
		pthread_cond_wait(&f->life_cond, &f->life_lock);
	r = f->inited ? f->init_err : -EIO;
	pthread_mutex_unlock(&f->life_lock);
	if (!r)
		r = start_readers(f, threads);
	if (r)
		return err_sys(e, r, "serve the mount");
	if (stat(f->mountpoint, &st))
		return err_sys(e, errno, "the new mount over %s does not answer", f->mountpoint);
	f->st_dev = st.st_dev;
	return 0;
}

static void raise_nofile(void)
{
	struct rlimit l;

	if (!getrlimit(RLIMIT_NOFILE, &l) && l.rlim_cur < l.rlim_max) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

/* Signals are for the threads of the program, not for ours. */
static int serve_without_signals(struct fusefs *f, unsigned threads, struct err *e)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = serve(f, threads, e);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

int fusefs_start(const struct fusefs_config *cfg, struct fusefs **out, struct err *e)
{
	unsigned threads = cfg->threads ? cfg->threads : FS_READERS;
	struct fusefs *f = new_fs(cfg, threads);
	int r;

	if (!f)
		return err_sys(e, ENOMEM, "the mount");
	raise_nofile();
	r = new_nodes(f, e);
	if (!r)
		r = new_session(f, e);
	if (!r)
		r = mount_over(f, e);
	if (!r)
		r = serve_without_signals(f, threads, e);
	if (r) {
		fusefs_stop(f);
		fusefs_free(f);
		return r;
	}
	if (f->engine)
		access_listen(f->engine, &(struct access_listener){ .changed = notify_changed, .renamed = notify_renamed, .arg = f });
	if (!f->passthrough && f->want_passthrough)
		log_info("this kernel has no FUSE passthrough: files are served through the worker");
	*out = f;
	return 0;
}

void fusefs_status(struct fusefs *f, struct fusefs_status *out)
{
	memset(out, 0, sizeof *out);
	out->nodes = node_count(f->nodes);
	out->open_slow = f->open_slow;
	out->open_passthrough = f->open_passthrough;
	pthread_mutex_lock(&f->park_lock);
	out->parked = f->nparked;
	pthread_mutex_unlock(&f->park_lock);
	out->passthrough = f->passthrough;
	out->resend = f->resend;
}

unsigned fusefs_stalled(struct fusefs *f, struct fusefs_stalled *out, unsigned max)
{
	return request_stalled(f, out, max);
}

/* ---- detach ---- */

/* Without passthrough cached pages have to go too: native writers will not invalidate them. */
static void invalidate_all(struct fusefs *f)
{
	uint64_t end = node_limit(f->nodes);
	off_t off = f->passthrough ? -1 : 0;

	notify_epoch(f);	/* an older kernel does not know it; timeouts are 0 and the mount goes away */
	for (uint64_t i = 1; i < end; i++)
		if (node_by_id(f->nodes, i))
			fuse_lowlevel_notify_inval_inode(f->se, i, off, 0);
}

static int inside(struct fusefs *f, struct err *e)
{
	struct fusefs_holder h;

	if (!holders_inside(f, &h, 1))
		return 0;
	return err_set(e, EBUSY, "process %d (%s) has its %s inside: %s", (int)h.pid, h.comm,
		       strcmp(h.what, "cwd") ? "root directory" : "working directory", h.path);
}

int fusefs_detach(struct fusefs *f, bool force, struct err *e)
{
	int r;

	if (!f->mounted)
		return 0;
	if (f->open_slow)
		return err_set(e, EBUSY, "%llu files are open that were not complete when they were opened",
			       (unsigned long long)f->open_slow);
	r = force ? 0 : inside(f, e);
	if (r)
		return r;
	f->detaching = true;
	if (f->open_slow) {	/* opened meanwhile */
		f->detaching = false;
		return err_set(e, EBUSY, "a file was opened in slow mode meanwhile");
	}
	invalidate_all(f);
	r = mount_remove(f, MNT_DETACH);
	return r ? err_sys(e, r, "unmount %s", f->mountpoint) : 0;
}

int fusefs_wait(struct fusefs *f, int timeout_ms)
{
	struct timespec t = clock_timespec(clock_mono() + (timeout_ms < 0 ? 0 : (uint64_t)timeout_ms * CLOCK_MS));
	int r = 0;

	pthread_mutex_lock(&f->life_lock);
	while (f->readers_running && !r)
		r = timeout_ms < 0 ? pthread_cond_wait(&f->life_cond, &f->life_lock)
				   : pthread_cond_clockwait(&f->life_cond, &f->life_lock, CLOCK_MONOTONIC, &t);
	r = f->readers_running == 0;
	pthread_mutex_unlock(&f->life_lock);
	return r;
}

/* ---- stop ---- */

/* MNT_FORCE aborts the connection, whoever else may have a descriptor of it. */
void fusefs_stop(struct fusefs *f)
{
	f->stopping = true;
	request_fail_parked(f);
	request_drained(f, 1000);	/* they get their EIO before the connection goes */
	if (f->mounted && mount_remove(f, 0) && mount_remove(f, MNT_DETACH | MNT_FORCE))
		log_warn("%s could not be unmounted", f->mountpoint);
	/* Detached before and still in use: those who hold on are cut off when the descriptor closes. */
	if (fusefs_wait(f, 100) == 0)
		for (unsigned i = 0; i < f->nreaders; i++)
			pthread_cancel(f->readers[i]);
	join_readers(f);
	request_fs_stop(f);
}

void fusefs_free(struct fusefs *f)
{
	if (!f)
		return;
	if (f->engine && f->se)
		access_listen(f->engine, NULL);
	join_readers(f);
	request_fs_stop(f);
	notify_stop(f);
	if (f->nodes) {
		lock_drop_all(f);
		open_close_all(f);
	}
	if (f->se)
		fuse_session_destroy(f->se);	/* closes dev_fd once the hooks are in */
	else if (f->dev_fd >= 0)
		close(f->dev_fd);
	node_table_free(f->nodes);
	queue_destroy(&f->notify);
	queue_destroy(&f->sync);
	queue_destroy(&f->resume);
	pthread_cond_destroy(&f->life_cond);
	pthread_mutex_destroy(&f->life_lock);
	pthread_cond_destroy(&f->timer_cond);
	pthread_mutex_destroy(&f->park_lock);
	free(f->readers);
	free(f->fsname);
	free(f->mountpoint);
	free(f);
}
