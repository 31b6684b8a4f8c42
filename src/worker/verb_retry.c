/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * retry: quarantined objects are tried again, or given up.
 *
 * Works page by page: the objects of a page that are meant are handed to the engine together, then their
 * results are told.  The position in the list moves on, so that what goes into quarantine again at once is not
 * met a second time.  When the request is withdrawn nobody waits for the engine any more: a page
 * lives until its last result has come (references).
 */
#include <errno.h>
#include <fnmatch.h>
#include <pthread.h>
#include <string.h>

#include "audit/audit.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "text.h"
#include "verb.h"

enum { PAGE_ROWS = 128, PATH_ROOM = 16384, TEXT_ROOM = 600, LOOK_MS = 100 };

#define I(x) ((json_int_t)(x))

/* ---- which ---- */

struct wanted {
	bool all;
	unsigned n;
	struct pattern {
		char *text;	/* bytes of a path, or a glob */
		bool met;
	} *patterns;
};

static void wanted_free(struct wanted *w)
{
	for (unsigned i = 0; i < w->n; i++)
		free(w->patterns[i].text);
	free(w->patterns);
}

static int add_pattern(struct wanted *w, const char *text, struct err *e)
{
	char *bytes;

	if (!text)
		return err_set(e, EINVAL, "retry: \"paths\" wants strings");
	bytes = malloc(strlen(text) + 1);
	if (!bytes)
		return err_sys(e, ENOMEM, "retry");
	if (text_bytes(bytes, strlen(text) + 1, text)) {
		free(bytes);
		return err_set(e, EINVAL, "retry: \"paths\" has a bad escape");
	}
	w->patterns[w->n++].text = bytes;
	return 0;
}

static int wanted_read(struct wanted *w, json_t *request, struct err *e)
{
	json_t *paths = json_object_get(request, "paths"), *p;
	size_t i;
	int r = 0;

	w->all = json_is_true(json_object_get(request, "all"));
	w->patterns = calloc(json_array_size(paths) + 1, sizeof *w->patterns);
	if (!w->patterns)
		return err_sys(e, ENOMEM, "retry");
	json_array_foreach(paths, i, p) {
		if (!r)
			r = add_pattern(w, json_string_value(p), e);
	}
	if (!r && w->all == (w->n > 0))
		r = err_set(e, EINVAL, "retry wants either \"all\" or \"paths\"");
	return r;
}

/* By its bytes, by how reports spell it, or by a glob in which * also means '/'. */
static bool matches(const char *pattern, const char *path, const char *spelled)
{
	pattern += strncmp(pattern, "./", 2) ? 0 : 2;
	while (*pattern == '/')
		pattern++;
	return !strcmp(pattern, path) || !strcmp(pattern, spelled) || !fnmatch(pattern, path, 0);
}

static bool is_wanted(struct wanted *w, const char *path)
{
	_cleanup_free_ char *spelled = malloc(4 * strlen(path) + 1);
	bool found = w->all;

	if (!spelled)
		return found;
	text_clean(spelled, 4 * strlen(path) + 1, path);
	for (unsigned i = 0; i < w->n; i++)
		if (matches(w->patterns[i].text, path, spelled))
			found = w->patterns[i].met = true;
	return found;
}

/* ---- a page of work ---- */

struct page;

struct item {
	struct page *page;
	uint64_t oid;
	char *path;
	bool done;
	int err;
	char text[TEXT_ROOM];
};

struct page {
	pthread_mutex_t lock;
	pthread_cond_t change;
	unsigned refs;		/* one for the request, one for each result to come */
	unsigned n, left;
	struct item item[PAGE_ROWS];
};

static struct page *page_new(void)
{
	struct page *p = calloc(1, sizeof *p);

	if (!p)
		return NULL;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->change, NULL);
	p->refs = 1;
	return p;
}

/* With the lock held; gives it up. */
static void page_put(struct page *p)
{
	bool last = !--p->refs;

	pthread_mutex_unlock(&p->lock);
	if (!last)
		return;
	for (unsigned i = 0; i < p->n; i++)
		free(p->item[i].path);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->change);
	free(p);
}

static void item_done(void *arg, uint64_t oid, int err, const char *text)
{
	struct item *it = arg;
	struct page *p = it->page;

	(void)oid;
	pthread_mutex_lock(&p->lock);
	it->done = true;
	it->err = err;
	snprintf(it->text, sizeof it->text, "%s", text ? text : "");
	p->left--;
	pthread_cond_broadcast(&p->change);
	page_put(p);
}

/* False: withdrawn meanwhile. */
static bool page_wait(struct page *p, struct reply *r)
{
	bool all;

	pthread_mutex_lock(&p->lock);
	while (p->left && !reply_withdrawn(r)) {
		struct timespec until = clock_timespec(clock_mono() + LOOK_MS * CLOCK_MS);

		pthread_cond_clockwait(&p->change, &p->lock, CLOCK_MONOTONIC, &until);
	}
	all = !p->left;
	pthread_mutex_unlock(&p->lock);
	return all;
}

/* ---- the request ---- */

struct retry {
	struct verb_context *v;
	struct reply *reply;
	struct engine *engine;
	bool give_up;
	struct wanted wanted;
	struct catalog_pos at;
	uint64_t matched, refused;
};

static int collect(struct retry *q, struct page *p, unsigned *listed)
{
	_cleanup_free_ struct catalog_row *rows = calloc(PAGE_ROWS, sizeof *rows);
	_cleanup_free_ char *path = malloc(PATH_ROOM);
	int r = rows && path ? catalog_list(q->v->catalog, CATALOG_LIST_QUARANTINED, &q->at, rows, PAGE_ROWS, listed) : -ENOMEM;

	for (unsigned i = 0; !r && i < *listed; i++) {
		struct item *it = &p->item[p->n];

		r = audit_path(q->v->catalog, rows[i].oid, path, PATH_ROOM);
		if (r || !is_wanted(&q->wanted, path))
			continue;
		*it = (struct item){ .page = p, .oid = rows[i].oid, .path = strdup(path) };
		if (!it->path)
			return -ENOMEM;
		p->n++;
	}
	return r;
}

/* The engine may take its time over each.  -EINTR: withdrawn before the last. */
static int start(struct retry *q, struct page *p)
{
	for (unsigned i = 0; i < p->n; i++) {
		if (reply_withdrawn(q->reply))
			return -EINTR;
		pthread_mutex_lock(&p->lock);
		p->left++;
		p->refs++;
		pthread_mutex_unlock(&p->lock);
		if (q->give_up)
			engine_give_up(q->engine, p->item[i].oid, item_done, &p->item[i]);
		else
			engine_retry(q->engine, p->item[i].oid, item_done, &p->item[i]);
	}
	return 0;
}

static void tell(struct retry *q, const struct item *it)
{
	const char *name = it->err ? strerrorname_np(abs(it->err)) : NULL;

	q->matched++;
	q->refused += it->err != 0;
	reply_send(q->reply, it->err ? "refused" : q->give_up ? "given-up" : "retried",
		   json_pack("{s:o, s:I, s:o, s:i, s:s}", "path", reply_text(it->path), "oid", I(it->oid),
			     "text", reply_text(it->text), "code", abs(it->err), "errno", name ? name : ""));
}

static int do_page(struct retry *q, unsigned *listed)
{
	struct page *p = page_new();
	int r = p ? collect(q, p, listed) : -ENOMEM;

	if (!p)
		return r;
	if (!r)
		r = start(q, p);
	if (!r && !page_wait(p, q->reply))
		r = -EINTR;
	for (unsigned i = 0; !r && i < p->n; i++)
		tell(q, &p->item[i]);
	pthread_mutex_lock(&p->lock);
	page_put(p);
	return r;
}

static void tell_unmatched(struct retry *q)
{
	for (unsigned i = 0; i < q->wanted.n; i++) {
		if (q->wanted.patterns[i].met)
			continue;
		q->refused++;
		reply_send(q->reply, "no-match", json_pack("{s:o, s:s}", "path", reply_text(q->wanted.patterns[i].text),
							   "text", "nothing of this name is quarantined"));
	}
}

static int all_pages(struct retry *q, struct err *e)
{
	unsigned listed = 0;
	int r;

	do {
		if (reply_withdrawn(q->reply))
			r = -EINTR;
		else
			r = do_page(q, &listed);
	} while (!r && listed);
	if (r == -EINTR)
		return err_set(e, EINTR, "stopped; give the same command again for the rest");
	return r ? err_sys(e, r, "the catalog cannot be read") : 0;
}

int verb_retry(struct verb_context *v, struct reply *r, json_t *request, json_t **done, struct err *e)
{
	struct retry q = {
		.v = v, .reply = r, .engine = atomic_load(&v->engine),
		.give_up = json_is_true(json_object_get(request, "give_up")),
	};
	int error = q.engine ? wanted_read(&q.wanted, request, e)
			     : err_set(e, EAGAIN, "the migration is still starting; try again when it is mounted");

	if (!error)
		error = all_pages(&q, e);
	if (!error) {
		tell_unmatched(&q);
		*done = json_pack("{s:I, s:I}", "objects", I(q.matched), "refused", I(q.refused));
	}
	wanted_free(&q.wanted);
	return error;
}
