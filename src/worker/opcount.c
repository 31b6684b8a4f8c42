/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "opcount.h"

#include <stdatomic.h>
#include <stdlib.h>

struct opcount {
	struct source source;		/* first: a struct source * is this */
	_Atomic uint64_t counts[2][OPCOUNT_OPS];
};

static void submit(struct source *s, struct source_req *req)
{
	struct opcount *o = (struct opcount *)s;

	atomic_fetch_add_explicit(&o->counts[req->lane][req->op], 1, memory_order_relaxed);
	source_submit(s->below, req);
}

static void limits(struct source *s, struct source_limits *out)
{
	source_limits(s->below, out);
}

static void stats(struct source *s, struct source_stats *out)
{
	source_stats(s->below, out);
}

static void close_below(struct source *s)
{
	source_close(s->below);
	free(s);
}

static const struct source_ops ops = {
	.name = "opcount",
	.submit = submit,
	.limits = limits,
	.stats = stats,
	.close = close_below,
};

struct source *opcount_new(struct source *below)
{
	struct opcount *o = calloc(1, sizeof *o);

	if (!o)
		return NULL;
	o->source.ops = &ops;
	o->source.below = below;
	o->source.root = below->root;
	o->source.root_attr = below->root_attr;
	return &o->source;
}

void opcount_read(struct source *s, uint64_t counts[2][OPCOUNT_OPS])
{
	struct opcount *o = (struct opcount *)s;

	for (int lane = 0; lane < 2; lane++)
		for (int op = 0; op < OPCOUNT_OPS; op++)
			counts[lane][op] = atomic_load_explicit(&o->counts[lane][op],
								memory_order_relaxed);
}
