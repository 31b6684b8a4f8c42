/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The job: rows from the catalog in the order of their oids, through a window to the threads, and their
 * verdicts back in the same order.
 *
 *	head ... next ... tail		head: the oldest that is not told yet; next: the first that no thread has taken
 *
 * What is before head is done for good: its counts and findings go into the catalog every few seconds in one transaction with the
 * place to go on from, and how far the large files in work have been read.  A verification that is stopped or killed loses
 * only what came after that.
 *
 * The catalog's connection is taken for a page of rows and for that transaction.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "verify.h"

enum { WINDOW = 512, PAGE = 64, DEPTH = 4, PENDING = 512 };
static const uint64_t tick = 50 * CLOCK_MS, tell_age = CLOCK_SEC, save_age = 2 * CLOCK_SEC;

struct finding {
	uint64_t oid;
	enum audit_verdict verdict;
	char text[VERIFY_TEXT];
};

struct run {
	struct verify_job job;
	const struct audit_verify_calls *calls;
	struct audit_verify_progress progress;
	struct verify_place place;		/* as of head */
	struct verify_place resumed;		/* its parts, until the rows come by */
	struct verify_item *window;		/* [WINDOW]; guarded by job.mu; a taken item that is not done is its thread's */
	uint64_t head, next, tail;
	uint64_t walked;			/* the last oid read from the catalog */
	bool read_all;
	struct catalog_row *page;		/* [PAGE] */
	struct finding *pending;		/* [PENDING]: not in the catalog yet */
	unsigned npending;
	bool dirty;				/* place is newer than the catalog's */
	uint64_t told_at, saved_at;
	int err;				/* why the job cannot go on; job.mu */
	pthread_t thread[VERIFY_DEPTH_MAX];
	unsigned nthreads;
};

/* ---- the rate ---- */

void verify_rate(struct verify_job *j, uint64_t n)
{
	uint64_t rate = j->cfg->rate, now = clock_mono(), turn;

	if (!rate)
		return;
	pthread_mutex_lock(&j->rate_mu);
	turn = j->rate_next > now ? j->rate_next : now;
	j->rate_next = turn + (uint64_t)((double)n * CLOCK_SEC / (double)rate);
	pthread_mutex_unlock(&j->rate_mu);
	while (now < turn && !atomic_load(&j->stop)) {
		uint64_t left = turn - now;
		struct timespec ts = clock_timespec(now + (left < tick ? left : tick));

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
		now = clock_mono();
	}
}

/* ---- the threads ---- */

static struct verify_item *item_at(struct run *v, uint64_t i)
{
	return &v->window[i % WINDOW];
}

static void give_up(struct run *v, int err)
{
	if (!v->err)
		v->err = err;
	atomic_store(&v->job.stop, true);
}

static void *thread_main(void *arg)
{
	struct run *v = arg;
	struct verify_buffer *b = verify_buffer_new();

	pthread_mutex_lock(&v->job.mu);
	if (!b)
		give_up(v, -ENOMEM);
	while (b) {
		struct verify_item *item;
		int r;

		while (v->next == v->tail && !v->read_all && !atomic_load(&v->job.stop))
			pthread_cond_wait(&v->job.work, &v->job.mu);
		if (v->next == v->tail || atomic_load(&v->job.stop))
			break;
		item = item_at(v, v->next++);
		pthread_mutex_unlock(&v->job.mu);
		r = verify_file(&v->job, item, b);
		pthread_mutex_lock(&v->job.mu);
		if (r && r != -EINTR)
			give_up(v, r);
		if (r)
			break;
		item->done = true;
		pthread_cond_signal(&v->job.retired);
	}
	pthread_mutex_unlock(&v->job.mu);
	verify_buffer_free(b);
	return NULL;
}

static int start_threads(struct run *v)
{
	unsigned depth = v->job.cfg->depth ? v->job.cfg->depth : DEPTH;
	int r = 0;

	if (depth > VERIFY_DEPTH_MAX)
		depth = VERIFY_DEPTH_MAX;
	while (!r && v->nthreads < depth) {
		r = pthread_create(&v->thread[v->nthreads], NULL, thread_main, v);
		v->nthreads += !r;
	}
	return v->nthreads ? 0 : -r;
}

static void end_threads(struct run *v)
{
	pthread_mutex_lock(&v->job.mu);
	atomic_store(&v->job.stop, true);
	pthread_cond_broadcast(&v->job.work);
	pthread_mutex_unlock(&v->job.mu);
	while (v->nthreads)
		pthread_join(v->thread[--v->nthreads], NULL);
}

/* ---- rows in ---- */

static void take_row(struct run *v, const struct catalog_row *row)
{
	struct verify_item *item = item_at(v, v->tail);

	*item = (struct verify_item){ .row = *row };
	for (unsigned i = 0; i < v->resumed.nparts; i++)
		if (v->resumed.part[i].oid == row->oid) {
			item->part = v->resumed.part[i];
			item->has_part = true;
		}
	v->tail++;
}

static int fill(struct run *v)
{
	while (!v->read_all && v->tail - v->head + PAGE <= WINDOW) {
		unsigned n;
		int r = catalog_walk(v->job.cfg->catalog, &v->walked, v->page, PAGE, &n);

		if (r)
			return r;
		pthread_mutex_lock(&v->job.mu);
		for (unsigned i = 0; i < n; i++)
			take_row(v, &v->page[i]);
		v->read_all = !n;
		pthread_cond_broadcast(&v->job.work);
		pthread_mutex_unlock(&v->job.mu);
	}
	return 0;
}

/* ---- verdicts out ---- */

static bool is_finding(enum audit_verdict v)
{
	return v == AUDIT_CHANGED || v == AUDIT_SUSPECT || v == AUDIT_DAMAGED || v == AUDIT_GONE || v == AUDIT_UNREADABLE ||
	       v == AUDIT_SOURCE_CHANGED;
}

static void tell_finding(struct run *v, uint64_t oid, enum audit_verdict verdict, const char *text)
{
	char path[4096];
	struct audit_finding f = { .oid = oid, .verdict = verdict, .path = path, .text = text };

	if (!v->calls->finding)
		return;
	if (audit_path(v->job.cfg->catalog, oid, path, sizeof path))
		strcpy(path, "?");
	v->calls->finding(v->calls->arg, &f);
}

static void retire(struct run *v, struct verify_item *item)
{
	const struct catalog_row *row = &item->row;

	v->dirty = true;
	v->place.oid = row->oid;
	if (row->type != CATALOG_HARDLINK)
		v->place.done_files++;
	if (row->type == CATALOG_REG)
		v->place.done_bytes += row->size;
	if (!item->counted)
		return;
	v->place.files[item->verdict]++;
	if (!is_finding(item->verdict))
		return;
	tell_finding(v, row->oid, item->verdict, item->text);
	v->pending[v->npending] = (struct finding){ .oid = row->oid, .verdict = item->verdict };
	memcpy(v->pending[v->npending++].text, item->text, VERIFY_TEXT);
}

static void retire_done(struct run *v)
{
	pthread_mutex_lock(&v->job.mu);
	while (v->head < v->next && item_at(v, v->head)->done && v->npending < PENDING) {
		pthread_mutex_unlock(&v->job.mu);
		retire(v, item_at(v, v->head));
		pthread_mutex_lock(&v->job.mu);
		v->head++;
	}
	pthread_mutex_unlock(&v->job.mu);
}

static void note_parts(struct run *v)
{
	v->place.nparts = 0;
	pthread_mutex_lock(&v->job.mu);
	for (uint64_t i = v->head; i < v->tail && v->place.nparts < VERIFY_DEPTH_MAX; i++) {
		const struct verify_item *item = item_at(v, i);

		if (!item->done && item->has_part)
			v->place.part[v->place.nparts++] = item->part;
	}
	pthread_mutex_unlock(&v->job.mu);
}

static int store(struct run *v)
{
	struct catalog *c = v->job.cfg->catalog;
	int r = catalog_begin(c);

	if (r)
		return r;
	for (unsigned i = 0; !r && i < v->npending; i++)
		r = catalog_finding_set(c, v->pending[i].oid, (int)v->pending[i].verdict, v->pending[i].text);
	if (!r)
		r = verify_place_store(c, &v->place);
	if (r) {
		catalog_rollback(c);
		return r;
	}
	return catalog_commit(c);
}

/* A full disk is tried twice: the first time has made room (catalog.h). */
static int save(struct run *v)
{
	int r;

	note_parts(v);
	r = store(v);
	if (r == -ENOSPC)
		r = store(v);
	v->saved_at = clock_mono();
	if (r)
		return r;
	v->npending = 0;
	v->dirty = false;
	return 0;
}

static void fill_progress(struct run *v)
{
	struct catalog_counters n;

	memcpy(v->progress.files, v->place.files, sizeof v->progress.files);
	v->progress.done_files = v->place.done_files;
	v->progress.done_bytes = v->place.done_bytes;
	v->progress.total_files = v->progress.total_bytes = 0;
	if (catalog_counters(v->job.cfg->catalog, &n))
		return;
	for (int s = 0; s < CATALOG_STATE_COUNT; s++) {
		v->progress.total_files += n.objects[s];
		v->progress.total_bytes += n.bytes[s];
	}
}

static void tell_progress(struct run *v)
{
	v->told_at = clock_mono();
	fill_progress(v);
	if (v->calls->progress)
		v->calls->progress(v->calls->arg, &v->progress);
}

/* ---- beginning ---- */

static int tell_again(void *arg, uint64_t oid, int code, const char *text)
{
	if (code >= 0 && code < AUDIT_VERDICTS)
		tell_finding(arg, oid, (enum audit_verdict)code, text);
	return 0;
}

static int begin_anew(struct run *v)
{
	struct catalog *c = v->job.cfg->catalog;
	int r = catalog_begin(c);

	if (r)
		return r;
	v->place = (struct verify_place){ .against_source = v->job.cfg->source != NULL };
	r = catalog_finding_clear(c);
	if (!r)
		r = verify_place_store(c, &v->place);
	if (r) {
		catalog_rollback(c);
		return r;
	}
	return catalog_commit(c);
}

static int begin(struct run *v)
{
	const struct audit_verify_config *cfg = v->job.cfg;
	int r = cfg->restart ? -ENOENT : verify_place_load(cfg->catalog, cfg->source != NULL, &v->resumed);

	if (r == -ENOENT) {
		memset(&v->resumed, 0, sizeof v->resumed);
		r = begin_anew(v);
		return r == -ENOSPC ? begin_anew(v) : r;
	}
	if (r)
		return r;
	v->place = v->resumed;
	v->walked = v->place.oid;
	v->progress.resumed = v->place.oid != 0 || v->place.nparts;
	return catalog_finding_each(cfg->catalog, tell_again, v);
}

/* ---- the loop ---- */

static void wait_a_moment(struct run *v)
{
	struct timespec ts = clock_timespec(clock_mono() + tick);

	pthread_mutex_lock(&v->job.mu);
	if (!(v->head < v->next && item_at(v, v->head)->done))
		pthread_cond_clockwait(&v->job.retired, &v->job.mu, CLOCK_MONOTONIC, &ts);
	pthread_mutex_unlock(&v->job.mu);
}

static bool all_done(const struct run *v)
{
	return v->read_all && v->head == v->tail;
}

static int loop(struct run *v)
{
	for (;;) {
		uint64_t now;
		int r = fill(v);

		if (r)
			return r;
		retire_done(v);
		if (all_done(v))
			return 0;
		if (atomic_load(&v->job.stop))
			return -EINTR;		/* err says why */
		if (v->calls->stop && v->calls->stop(v->calls->arg))
			return -EINTR;
		now = clock_mono();
		if (v->npending == PENDING || now - v->saved_at >= save_age) {
			r = save(v);
			if (r)
				return r;
		}
		if (now - v->told_at >= tell_age)
			tell_progress(v);
		wait_a_moment(v);
	}
}

static int run_init(struct run *v, const struct audit_verify_config *cfg, const struct audit_verify_calls *calls)
{
	v->job.cfg = cfg;
	v->calls = calls;
	pthread_mutex_init(&v->job.mu, NULL);
	pthread_mutex_init(&v->job.rate_mu, NULL);
	pthread_cond_init(&v->job.work, NULL);
	pthread_cond_init(&v->job.retired, NULL);
	v->job.drop_cache = verify_disk_caches(cfg->target);
	v->window = calloc(WINDOW, sizeof *v->window);
	v->page = calloc(PAGE, sizeof *v->page);
	v->pending = calloc(PENDING, sizeof *v->pending);
	if (cfg->source)
		v->job.source = verify_source_new(cfg->source, cfg->catalog, &v->job.stop);
	return v->window && v->page && v->pending && (v->job.source || !cfg->source) ? 0 : -ENOMEM;
}

static void run_free(struct run *v)
{
	verify_source_free(v->job.source);
	free(v->pending);
	free(v->page);
	free(v->window);
	free(v);
}

static int say(int r, struct err *e)
{
	if (r == -EINTR)
		return err_set(e, EINTR, "verification stopped; the same command goes on from there");
	if (r == -ECANCELED)
		return err_set(e, ECANCELED, "verification stopped: the source was closed");
	if (r == -EMFILE || r == -ENFILE || r == -ENOMEM)
		return err_sys(e, r, "verification cannot go on now; the same command goes on from there");
	return err_sys(e, r, "verification cannot go on: the catalog");
}

int audit_verify(const struct audit_verify_config *cfg, const struct audit_verify_calls *calls,
		 struct audit_verify_progress *out, struct err *e)
{
	struct run *v = calloc(1, sizeof *v);
	int r = v ? run_init(v, cfg, calls) : -ENOMEM, saved;

	if (!r)
		r = begin(v);
	if (!r) {
		v->saved_at = v->told_at = clock_mono();
		r = start_threads(v);
	}
	if (!r) {
		r = loop(v);
		end_threads(v);
		if (v->err)
			r = v->err;
		retire_done(v);
		v->place.finished = !r;
		saved = v->dirty || !r ? save(v) : 0;
		if (!r || r == -EINTR)
			r = saved ? saved : r;
		v->progress.finished = !r;
		tell_progress(v);
	}
	if (v) {
		*out = v->progress;
		run_free(v);
	}
	return r ? say(r, e) : 0;
}
