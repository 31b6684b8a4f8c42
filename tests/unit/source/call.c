/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "call.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

struct call_gate {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	unsigned count;
};

struct call_gate *call_gate_new(void)
{
	struct call_gate *g = calloc(1, sizeof *g);

	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->wake, NULL);
	return g;
}

void call_gate_free(struct call_gate *g)
{
	pthread_mutex_lock(&g->lock);	/* the last passer may still hold it */
	pthread_mutex_unlock(&g->lock);
	free(g);
}

void call_gate_pass(struct call_gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->count++;
	pthread_cond_broadcast(&g->wake);
	pthread_mutex_unlock(&g->lock);
}

bool call_gate_wait(struct call_gate *g, unsigned passes, double seconds)
{
	struct timespec end = clock_timespec(clock_mono() + (uint64_t)(seconds * 1e9));
	bool ok;
	int late = 0;

	pthread_mutex_lock(&g->lock);
	while (g->count < passes && !late)
		late = pthread_cond_clockwait(&g->wake, &g->lock, CLOCK_MONOTONIC, &end);
	ok = g->count >= passes;
	pthread_mutex_unlock(&g->lock);
	return ok;
}

unsigned call_gate_count(struct call_gate *g)
{
	unsigned n;

	pthread_mutex_lock(&g->lock);
	n = g->count;
	pthread_mutex_unlock(&g->lock);
	return n;
}

/* ---- one request ---- */

struct one {
	struct call_gate *gate;
	char *data;
	struct call_list *list;
};

static void keep_entries(struct call_list *l, const struct source_req *req)
{
	uint32_t i;

	l->entries = reallocarray(l->entries, l->count + req->entry_count + 1, sizeof *l->entries);
	for (i = 0; i < req->entry_count; i++) {
		const struct source_entry *e = &req->entries[i];
		struct call_entry *to = &l->entries[l->count++];

		memset(to, 0, sizeof *to);
		memcpy(to->name, e->name, e->name_len);
		to->name_len = e->name_len;
		to->has_attr = e->has_attr;
		to->has_fh = e->has_fh;
		if (e->has_attr)
			to->attr = e->attr;
		if (e->has_fh)
			to->fh = e->fh;
	}
	l->bad += req->bad_entries;
	l->pages++;
}

static void finished(struct source_req *req)
{
	struct one *o = req->user;

	if (!req->err && (req->op == SOURCE_READ || req->op == SOURCE_READLINK)) {
		o->data = calloc(1, (size_t)req->out_length + 1);
		if (req->out_length)
			memcpy(o->data, req->data, req->out_length);
	}
	if (!req->err && o->list)
		keep_entries(o->list, req);
	call_gate_pass(o->gate);
}

static int run(struct source *s, struct source_req *req, struct one *o)
{
	o->gate = call_gate_new();
	req->done = finished;
	req->user = o;
	source_submit(s, req);
	call_gate_wait(o->gate, 1, 1e6);
	call_gate_free(o->gate);
	return req->err;
}

int call_getattr(struct source *s, const struct source_fh *fh, struct source_attr *out)
{
	struct source_req req = { .op = SOURCE_GETATTR, .fh = *fh };
	struct one o = { .data = NULL };
	int r = run(s, &req, &o);

	if (!r)
		*out = req.attr;
	return r;
}

int call_lookup(struct source *s, const struct source_fh *dir, const char *name,
		struct source_fh *fh, struct source_attr *attr)
{
	struct source_req req = { .op = SOURCE_LOOKUP, .fh = *dir, .name = name };
	struct one o = { .data = NULL };
	int r = run(s, &req, &o);

	if (!r) {
		*fh = req.out_fh;
		if (attr)
			*attr = req.attr;
	}
	return r;
}

int call_path(struct source *s, const char *path, struct source_fh *fh, struct source_attr *attr)
{
	char *copy = strdup(path), *save, *name = strtok_r(copy, "/", &save);
	int r = 0;

	*fh = s->root;
	if (attr)
		*attr = s->root_attr;
	for (; name && !r; name = strtok_r(NULL, "/", &save))
		r = call_lookup(s, fh, name, fh, attr);
	free(copy);
	return r;
}

int call_readlink(struct source *s, const struct source_fh *fh, char **data, uint32_t *len)
{
	struct source_req req = { .op = SOURCE_READLINK, .fh = *fh };
	struct one o = { .data = NULL };
	int r = run(s, &req, &o);

	*data = o.data;
	*len = req.out_length;
	return r;
}

int call_read(struct source *s, const struct source_fh *fh, uint64_t offset, uint32_t length,
	      char **data, uint32_t *got, bool *eof, struct source_attr *attr)
{
	struct source_req req = { .op = SOURCE_READ, .fh = *fh, .offset = offset,
				  .length = length };
	struct one o = { .data = NULL };
	int r = run(s, &req, &o);

	*data = o.data;
	*got = req.out_length;
	*eof = req.eof;
	if (attr && !r)
		*attr = req.has_attr ? req.attr : (struct source_attr){ .type = 0 };
	return r;
}

int call_statfs(struct source *s, const struct source_fh *fh, struct source_fs *out)
{
	struct source_req req = { .op = SOURCE_STATFS, .fh = *fh };
	struct one o = { .data = NULL };
	int r = run(s, &req, &o);

	*out = req.fs;
	return r;
}

int call_readdir(struct source *s, const struct source_fh *fh, struct call_list *out)
{
	struct source_req req = { .op = SOURCE_READDIR, .fh = *fh, .lane = SOURCE_BACKGROUND };
	struct one o = { .list = out };
	int r;

	memset(out, 0, sizeof *out);
	do {
		r = run(s, &req, &o);
		req.cookie = req.next_cookie;
		req.verifier = req.out_verifier;
	} while (!r && !req.eof);
	if (r)
		call_list_free(out);
	return r;
}

void call_list_free(struct call_list *l)
{
	free(l->entries);
	memset(l, 0, sizeof *l);
}

const struct call_entry *call_list_find(const struct call_list *l, const char *name)
{
	size_t i;

	for (i = 0; i < l->count; i++)
		if (!strcmp(l->entries[i].name, name))
			return &l->entries[i];
	return NULL;
}
