/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Asking the source again, one request at a time from each thread.
 *
 * A request waits like a hard mount and cannot be cancelled; the job can.  So a request is reference counted: whoever
 * stops waiting leaves it to its answer, which may come as late as the source's end.
 *
 * Names are those of the catalog, walked down from the root; handles of directories are remembered in a small table
 * (a direct map: what collides is looked up again).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "verify.h"

enum { REMEMBERED = 4096, PATH_DEPTH = 4096, STALE_TRIES = 3 };

struct known {
	uint64_t oid;			/* 0: none */
	struct source_fh fh;
};

struct verify_source {
	struct source *s;
	struct catalog *c;
	atomic_bool *stop;
	uint32_t read_max;
	pthread_mutex_t mu;
	struct known known[REMEMBERED];
};

struct call {
	struct source_req req;
	pthread_mutex_t mu;
	pthread_cond_t cond;
	unsigned refs;
	bool answered;
	char name[SOURCE_NAME_MAX + 1];
	char *data;			/* READ: room for req.length bytes */
};

struct verify_source *verify_source_new(struct source *s, struct catalog *c, atomic_bool *stop)
{
	struct verify_source *v = calloc(1, sizeof *v);
	struct source_limits lim;

	if (!v)
		return NULL;
	v->s = s;
	v->c = c;
	v->stop = stop;
	pthread_mutex_init(&v->mu, NULL);
	source_limits(s, &lim);
	v->read_max = lim.read_max;
	return v;
}

void verify_source_free(struct verify_source *v)
{
	if (v)
		pthread_mutex_destroy(&v->mu);
	free(v);
}

/* ---- one request ---- */

static struct call *call_new(enum source_op op, const struct source_fh *fh, const char *name)
{
	struct call *k = calloc(1, sizeof *k);

	if (!k)
		return NULL;
	pthread_mutex_init(&k->mu, NULL);
	pthread_cond_init(&k->cond, NULL);
	k->refs = 1;
	k->req.op = op;
	k->req.lane = SOURCE_BACKGROUND;
	k->req.fh = *fh;
	if (name) {
		strncpy(k->name, name, SOURCE_NAME_MAX);
		k->req.name = k->name;
	}
	return k;
}

static void call_put(struct call *k)
{
	bool last;

	pthread_mutex_lock(&k->mu);
	last = !--k->refs;
	pthread_mutex_unlock(&k->mu);
	if (!last)
		return;
	pthread_cond_destroy(&k->cond);
	pthread_mutex_destroy(&k->mu);
	free(k->data);
	free(k);
}

static void answered(struct source_req *req)
{
	struct call *k = req->user;

	if (!req->err && k->data && req->out_length <= req->length)
		memcpy(k->data, req->data, req->out_length);
	pthread_mutex_lock(&k->mu);
	k->answered = true;
	pthread_cond_signal(&k->cond);
	pthread_mutex_unlock(&k->mu);
	call_put(k);
}

/* The answer's error, or -EINTR: stopped, nothing in k may be looked at any more. */
static int call_run(struct verify_source *v, struct call *k)
{
	bool there;

	pthread_mutex_lock(&k->mu);	/* the last answer may still be letting go */
	k->refs++;
	k->answered = false;
	pthread_mutex_unlock(&k->mu);
	k->req.done = answered;
	k->req.user = k;
	source_submit(v->s, &k->req);
	pthread_mutex_lock(&k->mu);
	while (!k->answered && !atomic_load(v->stop)) {
		struct timespec ts = clock_timespec(clock_mono() + 50 * CLOCK_MS);

		pthread_cond_clockwait(&k->cond, &k->mu, CLOCK_MONOTONIC, &ts);
	}
	there = k->answered;
	pthread_mutex_unlock(&k->mu);
	return there ? k->req.err : -EINTR;
}

/* ---- names ---- */

static bool recall(struct verify_source *v, uint64_t oid, struct source_fh *fh)
{
	struct known *k = &v->known[hash_u64(oid) % REMEMBERED];
	bool there;

	pthread_mutex_lock(&v->mu);
	there = k->oid == oid;
	if (there)
		*fh = k->fh;
	pthread_mutex_unlock(&v->mu);
	return there;
}

static void remember(struct verify_source *v, uint64_t oid, const struct source_fh *fh)
{
	struct known *k = &v->known[hash_u64(oid) % REMEMBERED];

	pthread_mutex_lock(&v->mu);
	k->oid = oid;
	k->fh = *fh;
	pthread_mutex_unlock(&v->mu);
}

static void forget_all(struct verify_source *v)
{
	pthread_mutex_lock(&v->mu);
	for (int i = 0; i < REMEMBERED; i++)
		v->known[i].oid = 0;
	pthread_mutex_unlock(&v->mu);
}

static int lookup(struct verify_source *v, const struct source_fh *dir, const char *name, struct source_fh *fh,
		  struct source_attr *attr)
{
	struct call *k = call_new(SOURCE_LOOKUP, dir, name);
	int r = k ? call_run(v, k) : -ENOMEM;

	if (!r) {
		*fh = k->req.out_fh;
		*attr = k->req.attr;
	}
	if (k)
		call_put(k);
	return r;
}

/* oids from dir upwards to one whose handle is known: that handle, and how many are to be looked up. */
static int climb(struct verify_source *v, uint64_t dir, uint64_t chain[], unsigned *n, struct source_fh *fh)
{
	struct catalog_row row;

	for (*n = 0; *n < PATH_DEPTH; dir = row.parent) {
		int r;

		if (dir == CATALOG_ROOT_OID) {
			*fh = v->s->root;
			return 0;
		}
		if (recall(v, dir, fh))
			return 0;
		chain[(*n)++] = dir;
		r = catalog_get(v->c, dir, &row);
		if (r)
			return r == -ENOENT ? -EUCLEAN : r;
	}
	return -EUCLEAN;
}

static int find_dir(struct verify_source *v, uint64_t dir, struct source_fh *fh)
{
	uint64_t *chain = calloc(PATH_DEPTH, sizeof *chain);
	struct source_attr attr;
	struct catalog_row row;
	unsigned n;
	int r = chain ? climb(v, dir, chain, &n, fh) : -ENOMEM;

	while (!r && n) {
		struct source_fh up = *fh;

		r = catalog_get(v->c, chain[--n], &row);
		if (!r)
			r = lookup(v, &up, row.name, fh, &attr);
		if (!r && attr.type != SOURCE_DIR)
			r = -ENOTDIR;
		if (!r)
			remember(v, chain[n], fh);
	}
	free(chain);
	return r;
}

int verify_source_find(struct verify_source *v, const struct catalog_row *row, struct source_fh *fh,
		       struct source_attr *attr)
{
	struct source_fh dir;
	int r;

	for (int tries = 0;; tries++) {
		r = find_dir(v, row->parent, &dir);
		if (!r)
			r = lookup(v, &dir, row->name, fh, attr);
		if (r != -ESTALE || tries == STALE_TRIES)
			break;
		forget_all(v);
	}
	if (!r && row->type == CATALOG_DIR && attr->type == SOURCE_DIR)
		remember(v, row->oid, fh);
	return r == -ENOTDIR || r == -ESTALE ? -ENOENT : r;
}

/* ---- content ---- */

static bool same_version(const struct source_attr *a, const struct source_attr *b)
{
	return a->size == b->size && a->mtime.sec == b->mtime.sec && a->mtime.nsec == b->mtime.nsec &&
	       a->change == b->change && a->fileid == b->fileid;
}

static int read_on(struct verify_source *v, struct call *k, const struct source_attr *attr, struct verify_sum *s)
{
	uint64_t left = s->size - s->pos;
	int r;

	k->req.offset = s->pos;
	k->req.length = (uint32_t)(left < v->read_max ? left : v->read_max);
	r = call_run(v, k);
	if (r)
		return r;
	if (!k->req.out_length || k->req.out_length > left || (k->req.has_attr && !same_version(attr, &k->req.attr)))
		return -ESTALE;
	verify_sum_data(s, k->data, k->req.out_length);
	return 0;
}

int verify_source_sum(struct verify_source *v, const struct catalog_row *row, const struct source_fh *fh,
		      const struct source_attr *attr, uint8_t out[CHECKSUM_SIZE])
{
	struct call *k = call_new(SOURCE_READ, fh, row->name);
	struct verify_sum s;
	int r = k && (k->data = malloc(v->read_max)) ? verify_sum_init(&s, attr->size) : -ENOMEM;

	if (!r) {
		while (!r && s.pos < s.size)
			r = read_on(v, k, attr, &s);
		if (!r)
			verify_sum_end(&s, out);
		verify_sum_free(&s);
	}
	if (k)
		call_put(k);
	return r;
}
