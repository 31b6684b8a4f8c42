/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Running, parking, resuming and interrupting requests.
 *
 *            request_start()
 *   RUNNING ----------------> answered, freed
 *      | handler says PARKED or LOCK_WAIT          ^
 *      v                                           |
 *   WAITING -- wake(), retry, interrupt --> QUEUED -- resume thread runs it again
 *
 * Invariant: state, woken, interrupted and membership of a list are under
 * park_lock; exactly one party owns a request at a time: the running thread, the
 * engine (WAITING) or a queue.  A wake that comes while the handler still runs only
 * sets `woken`; the running thread sees it when it wants to park.
 *
 * The kernel sends one INTERRUPT per request, for the first signal.  When that
 * was not fatal, a later SIGKILL is only visible in /proc, so the timer
 * thread looks again at those requests (FACTS: fatal = bit 0x100 of SigPnd).
 *
 * Left out: a limit on the number of parked requests; the kernel bounds them
 * by its callers.  The bytes of parked writes are bounded here.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/creds.h"
#include "base/log.h"
#include "internal.h"

#define PARKED_BYTES_MAX ((size_t)512 << 20)
#define TIMER_TICK (10 * CLOCK_MS)
#define LOCK_RETRY_MAX (250 * CLOCK_MS)
#define FATAL_LOOK (200 * CLOCK_MS)

/* ---- queues ---- */

void queue_init(struct queue *q)
{
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->cond, NULL);
	list_init(&q->head);
	q->closed = false;
}

void queue_destroy(struct queue *q)
{
	pthread_cond_destroy(&q->cond);
	pthread_mutex_destroy(&q->lock);
}

void queue_put(struct queue *q, struct list *l)
{
	pthread_mutex_lock(&q->lock);
	list_append(&q->head, l);
	pthread_cond_signal(&q->cond);
	pthread_mutex_unlock(&q->lock);
}

struct list *queue_get(struct queue *q)
{
	struct list *l;

	pthread_mutex_lock(&q->lock);
	while (!(l = list_pop(&q->head)) && !q->closed)
		pthread_cond_wait(&q->cond, &q->lock);
	pthread_mutex_unlock(&q->lock);
	return l;
}

void queue_close(struct queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->closed = true;
	pthread_cond_broadcast(&q->cond);
	pthread_mutex_unlock(&q->lock);
}

/* ---- one request ---- */

static void wake(struct access_wait *w, int err)
{
	struct request *r = list_entry(w, struct request, wait);
	struct fusefs *f = r->f;
	bool put = false;

	pthread_mutex_lock(&f->park_lock);
	r->wake_err = err;
	if (r->state == RUNNING) {
		r->woken = true;
	} else {
		list_remove(&r->link);
		f->nparked--;
		r->state = QUEUED;
		put = true;
	}
	pthread_mutex_unlock(&f->park_lock);
	if (put)
		queue_put(&f->resume, &r->link);
}

struct request *request_new(fuse_req_t req, const struct op *op, fuse_ino_t ino)
{
	const struct fuse_ctx *c = fuse_req_ctx(req);
	struct fusefs *f = fuse_req_userdata(req);
	struct node *n = node_by_id(f->nodes, ino);
	struct request *r = n ? calloc(1, sizeof *r) : NULL;

	if (!r) {
		fuse_reply_err(req, n ? ENOMEM : ESTALE);
		return NULL;
	}
	r->f = f;
	r->req = req;
	r->op = op;
	r->ino = ino;
	r->node = n;
	r->uid = c->uid;
	r->gid = c->gid;
	r->pid = c->pid;
	r->umask = c->umask;
	r->wait.wake = wake;
	r->wait.pid = c->pid;
	list_init(&r->link);
	list_init(&r->wait.link);
	session_raw(r);
	return r;
}

void request_discard(struct request *r)
{
	access_around_take(&r->wait, NULL);
	for (unsigned i = 0; i < FS_OBJECTS; i++)
		access_put(r->obj[i]);
	if (r->copied || r->waited) {
		pthread_mutex_lock(&r->f->park_lock);
		r->f->parked_bytes -= r->copied;
		r->f->waited -= r->waited;
		pthread_mutex_unlock(&r->f->park_lock);
	}
	free(r->copy);
	free(r);
}

void request_abandon(struct request *r)
{
	bool done = access_cancel(r->f->engine, &r->wait);

	while (!done) {		/* wake() is being called, and it does not block */
		pthread_mutex_lock(&r->f->park_lock);
		done = r->woken;
		pthread_mutex_unlock(&r->f->park_lock);
		sched_yield();
	}
	r->woken = false;
	r->wake_err = 0;
}

struct eobj *request_object(struct request *r, unsigned slot, struct node *n)
{
	if (!r->have[slot]) {
		r->obj[slot] = r->f->engine ? node_object(r->f->nodes, n) : NULL;
		r->have[slot] = true;
	}
	return r->obj[slot];
}

/* The receive buffer belongs to the thread: what must outlive it is copied. */
static int own_arguments(struct request *r)
{
	size_t a = r->name ? strlen(r->name) + 1 : 0, b = r->name2 ? strlen(r->name2) + 1 : 0;
	size_t d = r->data ? r->size : 0, n = a + b + d;
	char *p;

	if (r->copy || !n)
		return 0;
	pthread_mutex_lock(&r->f->park_lock);
	if (r->f->parked_bytes + n <= PARKED_BYTES_MAX) {
		r->f->parked_bytes += n;
		r->copied = n;
	}
	pthread_mutex_unlock(&r->f->park_lock);
	p = r->copied ? malloc(n) : NULL;
	if (!p)
		return -ENOMEM;
	r->copy = p;
	if (a)
		r->name = memcpy(p, r->name, a);
	if (b)
		r->name2 = memcpy(p + a, r->name2, b);
	if (d)
		r->data = memcpy(p + a + b, r->data, d);
	return 0;
}

/* Is a fatal signal pending for the thread or its process? */
static bool fatal(pid_t pid)
{
	char path[40], line[128];
	_cleanup_fclose_ FILE *s = NULL;
	unsigned long long m;

	if (pid <= 0)
		return false;	/* in a pid namespace that we cannot see */
	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	s = fopen(path, "re");
	if (!s)
		return true;	/* gone: nobody waits */
	while (fgets(line, sizeof line, s))
		if ((sscanf(line, "SigPnd: %llx", &m) == 1 || sscanf(line, "ShdPnd: %llx", &m) == 1) &&
		    m & 0x100)
			return true;
	return false;
}

/* park_lock held, r WAITING.  Take it from whoever would wake it; the caller queues it. */
static bool take_back(struct request *r, int err)
{
	if (r->retry_at) {
		r->retry_at = 0;
	} else {
		if (!access_cancel(r->f->engine, &r->wait))
			return false;
		r->f->nparked--;
	}
	list_remove(&r->link);
	r->wake_err = err;
	r->state = QUEUED;
	return true;
}

static bool gives_up(const struct request *r)
{
	return r->op->any_signal || (r->op->interruptible && fatal(r->pid));
}

static void interrupt(fuse_req_t req, void *arg)
{
	struct request *r = arg;
	bool quit = gives_up(r), put = false;

	(void)req;
	pthread_mutex_lock(&r->f->park_lock);
	r->interrupted = true;
	if (quit && r->state == WAITING)
		put = take_back(r, -EINTR);
	pthread_mutex_unlock(&r->f->park_lock);
	if (put)
		queue_put(&r->f->resume, &r->link);
}

enum parking { STAYS, AGAIN, FAILS };

/* The handler wants to wait.  STAYS: the request is no longer ours. */
static enum parking park(struct request *r, int how)
{
	struct fusefs *f = r->f;
	enum parking p = STAYS;
	bool put = false;

	if (how == LOCK_WAIT) {
		uint64_t d = TIMER_TICK << (r->tries < 5 ? r->tries : 5);

		r->tries++;
		r->retry_at = clock_mono() + (d < LOCK_RETRY_MAX ? d : LOCK_RETRY_MAX);
	}
	/* May call interrupt() at once; syncs with it when cleared in resume(). */
	fuse_req_interrupt_func(r->req, interrupt, r);
	pthread_mutex_lock(&f->park_lock);
	if (r->woken) {
		r->woken = false;
		p = r->wake_err ? FAILS : AGAIN;
	} else if (how == LOCK_WAIT && (r->interrupted || f->stopping)) {
		r->wake_err = f->stopping ? -EIO : -EINTR;
		p = FAILS;
	} else {
		r->state = WAITING;
		if (!r->waited) {
			r->waited = true;
			f->waited++;
		}
		list_append(how == LOCK_WAIT ? &f->lock_waiters : &f->parked, &r->link);
		if (how == PARKED)
			f->nparked++;
		if (f->stopping)
			put = take_back(r, -EIO);
		if (how == LOCK_WAIT || f->nparked == 1)
			pthread_cond_signal(&f->timer_cond);
	}
	pthread_mutex_unlock(&f->park_lock);
	if (put)
		queue_put(&f->resume, &r->link);
	if (p != STAYS)
		fuse_req_interrupt_func(r->req, NULL, NULL);
	return p;
}

static void touch_nodes(struct request *r)
{
	ctime_touched(r->f, r->node);
	if (r->node2)
		ctime_touched(r->f, r->node2);
}

/* Once the handler may have parked itself, r->copy must already hold the arguments:
 * the engine can wake it at any moment, but only this thread runs it until park() lets go. */
static void run(struct request *r)
{
	for (;;) {
		enum parking p;
		int rc;

		if (r->op->changes)
			touch_nodes(r);
		rc = r->op->run(r);

		if (rc == PARKED || rc == LOCK_WAIT) {
			int e = own_arguments(r);

			r->doomed = e;
			if (e && rc == PARKED && access_cancel(r->f->engine, &r->wait)) {
				rc = e;
			} else {
				p = park(r, rc);
				if (p == STAYS)
					return;
				if (p == AGAIN && !e)
					continue;
				rc = e ? e : r->wake_err;
			}
		}
		if (rc < 0)
			fuse_reply_err(r->req, -rc);
		request_discard(r);
		return;
	}
}

void request_start(struct request *r)
{
	if (r->op->flushes) {
		r->state = QUEUED;
		queue_put(&r->f->sync, &r->link);
	} else {
		run(r);
	}
}

static void resume(struct request *r)
{
	int err;

	fuse_req_interrupt_func(r->req, NULL, NULL);	/* waits for a running interrupt() */
	pthread_mutex_lock(&r->f->park_lock);
	err = r->wake_err ? r->wake_err : r->doomed;
	r->wake_err = 0;
	r->retry_at = 0;
	r->woken = false;
	r->state = RUNNING;
	pthread_mutex_unlock(&r->f->park_lock);
	if (err) {
		fuse_reply_err(r->req, -err);
		request_discard(r);
	} else {
		run(r);
	}
}

static void *resume_thread(void *arg)
{
	struct queue *q = arg;
	struct list *l;

	creds_private_umask();
	while ((l = queue_get(q)))
		resume(list_entry(l, struct request, link));
	return NULL;
}

/* ---- the timer: lock retries, late fatal signals, a source that stays away ---- */

static void collect_locks(struct fusefs *f, uint64_t now, fuse_ino_t ino, struct list *out)
{
	struct list *l, *next;

	for (l = f->lock_waiters.next; l != &f->lock_waiters; l = next) {
		struct request *r = list_entry(l, struct request, link);

		next = l->next;
		if (ino ? r->ino != ino : r->retry_at > now)
			continue;
		take_back(r, 0);
		list_append(out, &r->link);
	}
}

static void queue_all(struct fusefs *f, struct list *out)
{
	struct list *l;

	while ((l = list_pop(out)))
		queue_put(&f->resume, l);
}

void request_kick_locks(struct fusefs *f, fuse_ino_t ino)
{
	struct list out;

	list_init(&out);
	pthread_mutex_lock(&f->park_lock);
	collect_locks(f, 0, ino, &out);
	pthread_mutex_unlock(&f->park_lock);
	queue_all(f, &out);
}

static bool waited_too_long(const struct request *r, uint64_t now)
{
	const struct fusefs *f = r->f;

	return f->source_timeout && now - r->wait.since >= f->source_timeout &&
	       access_source_silent(f->engine, &r->wait);
}

static void collect_hopeless(struct fusefs *f, uint64_t now, struct list *out)
{
	struct list *l, *next;

	for (l = f->parked.next; l != &f->parked; l = next) {
		struct request *r = list_entry(l, struct request, link);

		next = l->next;
		if (r->interrupted && r->op->interruptible && fatal(r->pid) && take_back(r, -EINTR))
			list_append(out, &r->link);
		else if (waited_too_long(r, now) && take_back(r, -EIO))
			list_append(out, &r->link);
	}
}

/* park_lock held.  Sleeps without a limit while nobody is parked. */
static void timer_sleep(struct fusefs *f)
{
	bool locks = !list_empty(&f->lock_waiters);
	struct timespec t = clock_timespec(clock_mono() + (locks ? TIMER_TICK : FATAL_LOOK));

	if (locks || !list_empty(&f->parked))
		pthread_cond_clockwait(&f->timer_cond, &f->park_lock, CLOCK_MONOTONIC, &t);
	else
		pthread_cond_wait(&f->timer_cond, &f->park_lock);
}

static void *timer_thread(void *arg)
{
	struct fusefs *f = arg;
	uint64_t look = 0;

	pthread_mutex_lock(&f->park_lock);
	while (!f->timer_closed) {
		uint64_t now;
		struct list out;

		timer_sleep(f);
		now = clock_mono();
		list_init(&out);
		collect_locks(f, now, 0, &out);
		if (now >= look) {
			collect_hopeless(f, now, &out);
			look = now + FATAL_LOOK;
		}
		pthread_mutex_unlock(&f->park_lock);
		queue_all(f, &out);
		pthread_mutex_lock(&f->park_lock);
	}
	pthread_mutex_unlock(&f->park_lock);
	return NULL;
}

void request_fail_parked(struct fusefs *f)
{
	struct list out, *l, *next;

	list_init(&out);
	pthread_mutex_lock(&f->park_lock);
	for (l = f->parked.next; l != &f->parked; l = next) {
		next = l->next;
		if (take_back(list_entry(l, struct request, link), -EIO))
			list_append(&out, l);
	}
	for (l = f->lock_waiters.next; l != &f->lock_waiters; l = next) {
		next = l->next;
		take_back(list_entry(l, struct request, link), -EIO);
		list_append(&out, l);
	}
	pthread_mutex_unlock(&f->park_lock);
	queue_all(f, &out);
}

bool request_drained(struct fusefs *f, unsigned timeout_ms)
{
	uint64_t end = clock_mono() + timeout_ms * CLOCK_MS;
	struct timespec t = { .tv_nsec = (long)CLOCK_MS };
	bool left;

	for (;;) {
		pthread_mutex_lock(&f->park_lock);
		left = f->waited != 0;
		pthread_mutex_unlock(&f->park_lock);
		if (!left || clock_mono() > end)
			return !left;
		nanosleep(&t, NULL);
	}
}

unsigned request_stalled(struct fusefs *f, struct fusefs_stalled *out, unsigned max)
{
	unsigned n = 0;

	pthread_mutex_lock(&f->park_lock);
	for (struct list *l = f->parked.next; l != &f->parked && n < max; l = l->next, n++) {
		struct request *r = list_entry(l, struct request, link);

		memset(&out[n], 0, sizeof out[n]);
		out[n].pid = r->pid;
		out[n].since = r->wait.since;
		out[n].inode = r->node->handle;
		snprintf(out[n].op, sizeof out[n].op, "%s", r->op->name);
	}
	pthread_mutex_unlock(&f->park_lock);
	return n;
}

int request_fs_start(struct fusefs *f)
{
	int r = 0;

	while (!r && f->nresumers < FS_RESUMERS)
		if (!(r = pthread_create(&f->resumer[f->nresumers], NULL, resume_thread, &f->resume)))
			f->nresumers++;
	while (!r && f->nsyncers < FS_SYNCERS)
		if (!(r = pthread_create(&f->syncer[f->nsyncers], NULL, resume_thread, &f->sync)))
			f->nsyncers++;
	if (!r && !(r = pthread_create(&f->timer, NULL, timer_thread, f)))
		f->have_timer = true;
	return -r;
}

/* The readers have ended.  Everything queued is still run to its answer. */
void request_fs_stop(struct fusefs *f)
{
	request_fail_parked(f);
	queue_close(&f->sync);
	for (unsigned i = 0; i < f->nsyncers; i++)
		pthread_join(f->syncer[i], NULL);
	request_fail_parked(f);
	for (;;) {	/* wakes that were under way when take_back() lost the race */
		struct timespec t = { .tv_nsec = (long)CLOCK_MS };
		bool left;

		pthread_mutex_lock(&f->park_lock);
		left = !list_empty(&f->parked) || !list_empty(&f->lock_waiters);
		pthread_mutex_unlock(&f->park_lock);
		if (!left)
			break;
		nanosleep(&t, NULL);
		request_fail_parked(f);
	}
	queue_close(&f->resume);
	for (unsigned i = 0; i < f->nresumers; i++)
		pthread_join(f->resumer[i], NULL);
	pthread_mutex_lock(&f->park_lock);
	f->timer_closed = true;
	pthread_cond_signal(&f->timer_cond);
	pthread_mutex_unlock(&f->park_lock);
	if (f->have_timer)
		pthread_join(f->timer, NULL);
	f->nsyncers = f->nresumers = 0;
	f->have_timer = false;
}
