/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Records: what has happened on the target and is not in the catalog yet.
 *
 * A record is queued after the thing itself is finished on the target; the
 * committer flushes and then applies it (D2).  Applying is idempotent and conditional on the
 * prior state (D8), because the urgent committer may have been faster.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "internal.h"

#define STATE_BIT(s) (1u << (s))

static size_t name_bucket(uint64_t parent, const char *name, size_t len)
{
	return hash_bytes(name, len, parent) % NAME_BUCKETS;
}

struct record *record_find_name(struct engine *en, uint64_t parent, const char *name, size_t len)
{
	struct record *r = en->names[name_bucket(parent, name, len)];

	while (r && (r->parent != parent || r->name_len != len || memcmp(r->name, name, len)))
		r = r->name_next;
	return r;
}

static void unname(struct engine *en, struct record *r)
{
	struct record **p = &en->names[name_bucket(r->parent, r->name, r->name_len)];

	if (!r->named)
		return;
	while (*p != r)
		p = &(*p)->name_next;
	*p = r->name_next;
	r->named = false;
}

static void unlink_index(struct engine *en, struct eobj *o)
{
	struct eobj **p = &en->links[hash_u64(o->promise.fileid) % 1024];

	while (*p && *p != o)
		p = &(*p)->link_next;
	if (*p)
		*p = o->link_next;
}

struct record *record_new(enum record_kind kind, struct eobj *o, const char *name, size_t name_len)
{
	struct record *r = calloc(1, sizeof *r + name_len + 1);

	if (!r)
		return NULL;
	list_init(&r->link);
	list_init(&r->of_object);
	r->kind = kind;
	r->o = o;
	if (o) {
		o->refs++;
		r->oid = o->oid;
	}
	r->name_len = (uint16_t)name_len;
	if (name_len)
		memcpy(r->name, name, name_len);
	return r;
}

void record_free(struct record *r)
{
	if (r->o)
		eobj_put(r->o);
	free(r->row);
	free(r->reason);
	free(r->here);
	free(r);
}

void record_free_all(struct list *records)
{
	struct list *n;

	while ((n = list_pop(records)))
		record_free(list_entry(n, struct record, link));
}

static void enqueue(struct engine *en, struct record *r)
{
	if (!en->queued++)
		en->queued_since = clock_mono();
	list_append(&en->queue, &r->link);
	commit_kick(en);
}

int record_queue(struct engine *en, enum record_kind kind, struct eobj *o)
{
	struct record *r = NULL;

	pthread_mutex_lock(&en->mu);
	if (kind == RECORD_RANGES && o->ranges_queued) {
		pthread_mutex_unlock(&en->mu);
		return 0;
	}
	r = record_new(kind, o, NULL, 0);
	if (r) {
		if (kind == RECORD_RANGES)
			o->ranges_queued = true;
		enqueue(en, r);
	}
	pthread_mutex_unlock(&en->mu);
	return r ? 0 : -ENOMEM;
}

static void enter_name(struct engine *en, struct record *r)
{
	size_t b = name_bucket(r->parent, r->name, r->name_len);

	r->name_next = en->names[b];
	en->names[b] = r;
	r->named = true;
}

int record_queue_name(struct engine *en, enum record_kind kind, struct eobj *o, uint64_t parent,
		      const char *name, size_t name_len)
{
	struct record *r;
	uint64_t oid = o->oid;
	int rc = kind == RECORD_LINK ? engine_new_oid(en, &oid) : 0;

	if (rc)
		return rc;
	pthread_mutex_lock(&en->mu);
	r = record_new(kind, o, name, name_len);
	if (r) {
		r->oid = oid;
		r->parent = parent;
		o->pending_rows++;
		list_append(&o->name_records, &r->of_object);
		enter_name(en, r);
		if (kind == RECORD_ROW && eobj_has_links(o)) {
			size_t b = hash_u64(o->promise.fileid) % 1024;

			o->link_next = en->links[b];
			en->links[b] = o;
		}
		enqueue(en, r);
	}
	pthread_mutex_unlock(&en->mu);
	return r ? 0 : -ENOMEM;
}

int record_queue_bare(struct engine *en, const struct catalog_row *row, int code, const char *reason)
{
	struct record *r;

	pthread_mutex_lock(&en->mu);
	r = record_new(RECORD_BARE, NULL, row->name, row->name_len);
	if (r) {
		r->oid = row->oid;
		r->parent = row->parent;
		r->code = code;
		r->row = malloc(sizeof *row);
		r->reason = strdup(reason);
	}
	if (r && (!r->row || !r->reason)) {
		free(r->row);
		free(r->reason);
		free(r);
		r = NULL;
	}
	if (r) {
		*r->row = *row;
		enter_name(en, r);
		enqueue(en, r);
	}
	pthread_mutex_unlock(&en->mu);
	return r ? 0 : -ENOMEM;
}

int record_queue_failure(struct engine *en, struct eobj *o, int code, const char *reason)
{
	struct record *r;

	pthread_mutex_lock(&en->mu);
	r = record_new(RECORD_QUARANTINE, o, NULL, 0);
	if (r) {
		r->code = code;
		r->reason = strdup(reason);
		enqueue(en, r);
	}
	pthread_mutex_unlock(&en->mu);
	return r ? 0 : -ENOMEM;
}

void record_snapshot(struct record *r)
{
	struct content *c = &r->o->content;
	uint32_t words = (c->count + 63) / 64;

	r->o->ranges_queued = false;
	r->here = malloc(words * sizeof *r->here);
	if (!r->here)
		return;		/* recorded by a later group */
	r->here_words = words;
	r->content_gen = r->o->content_gen;
	for (uint32_t i = 0; i < words; i++)
		r->here[i] = c->set[CONTENT_HERE][i] & ~c->set[CONTENT_RECORDED][i];
}

/* Has what it saw been dropped since? */
static bool snap_valid(struct engine *en, const struct record *r)
{
	bool valid;

	pthread_mutex_lock(&en->mu);
	valid = r->here && r->content_gen == r->o->content_gen;
	pthread_mutex_unlock(&en->mu);
	return valid;
}

static bool snap_test(const struct record *r, uint32_t i)
{
	return r->here[i / 64] >> (i % 64) & 1;
}

/* ---- applying ---- */

static int apply_row(struct engine *en, struct record *r)
{
	struct catalog_row row;
	int rc;

	pthread_mutex_lock(&en->mu);
	eobj_to_row(r->o, &row);
	pthread_mutex_unlock(&en->mu);
	/* A file whose content came before its first flush is recorded by its own COMPLETE record,
	 * whose flush covers it for certain. */
	if (row.type == CATALOG_REG && row.size)
		row.state = CATALOG_FOUND;
	if (row.type == CATALOG_DIR)
		row.state = CATALOG_FOUND;
	rc = catalog_add(en->catalog, &row);
	return rc == -EEXIST ? 0 : rc;
}

static int apply_link(struct engine *en, struct record *r)
{
	struct catalog_row row = { .oid = r->oid, .parent = r->parent, .type = CATALOG_HARDLINK,
				   .link_oid = r->o->oid, .state = CATALOG_MIGRATED,
				   .name_len = r->name_len };
	int rc;

	memcpy(row.name, r->name, r->name_len);
	rc = catalog_add(en->catalog, &row);
	return rc == -EEXIST ? 0 : rc;
}

static int apply_bare(struct engine *en, struct record *r)
{
	int rc = catalog_add(en->catalog, r->row);

	if (rc)
		return rc == -EEXIST ? 0 : rc;
	return catalog_reason_set(en->catalog, r->oid, r->code, r->reason);
}

static int transition(struct engine *en, uint64_t oid, unsigned from, enum catalog_state to)
{
	int rc = catalog_transition(en->catalog, oid, from, to, NULL);

	return rc == -ESTALE ? 0 : rc;
}

/* The checksum of a large file from the sums of its ranges; *n counts them. */
struct whole {
	uint64_t size;
	unsigned n;
	bool known;
	uint8_t sum[CHECKSUM_SIZE];
};

static int add_to_whole(void *arg, uint64_t start, uint64_t end, const uint8_t *sum)
{
	struct whole *w = arg;

	w->known = !w->n++ && !start && end == w->size && sum;
	if (w->known)
		memcpy(w->sum, sum, sizeof w->sum);
	return 0;
}

/* One chunk as a range; each counts once, however often it is recorded. */
static int add_chunk(struct engine *en, const struct eobj *o, uint64_t oid, uint32_t i)
{
	uint8_t copy[CHECKSUM_SIZE];
	const uint8_t *sum;

	pthread_mutex_lock(&en->mu);
	sum = content_sum(&o->content, i);
	if (sum)
		memcpy(copy, sum, sizeof copy);
	pthread_mutex_unlock(&en->mu);
	return catalog_range_add(en->catalog, oid, content_start(&o->content, i), content_end(&o->content, i),
				 sum ? copy : NULL);
}

static int checksum_of_ranges(struct engine *en, const struct record *r)
{
	const struct content *c = &r->o->content;
	struct whole w = { .size = c->size };
	int rc = 0;

	for (uint32_t i = 0; !rc && i < c->count; i++) {
		bool todo;

		pthread_mutex_lock(&en->mu);
		todo = !content_test(c, CONTENT_RECORDED, i);
		pthread_mutex_unlock(&en->mu);
		if (todo)
			rc = add_chunk(en, r->o, r->oid, i);
	}
	if (!rc)
		rc = catalog_range_each(en->catalog, r->oid, add_to_whole, &w);
	return !rc && w.known ? catalog_set_checksum(en->catalog, r->oid, w.sum) : rc;
}

static int record_checksum(struct engine *en, const struct record *r)
{
	uint8_t copy[CHECKSUM_SIZE];
	const uint8_t *sum;

	if (r->o->content.count > 1)
		return checksum_of_ranges(en, r);
	pthread_mutex_lock(&en->mu);
	sum = r->o->content.count ? content_sum(&r->o->content, 0) : NULL;
	if (sum)
		memcpy(copy, sum, sizeof copy);
	pthread_mutex_unlock(&en->mu);
	return sum ? catalog_set_checksum(en->catalog, r->oid, copy) : 0;
}

static int apply_complete(struct engine *en, struct record *r)
{
	bool modified;
	enum catalog_state actual = CATALOG_CLEANING;
	int rc;

	pthread_mutex_lock(&en->mu);
	modified = r->o->modified;
	pthread_mutex_unlock(&en->mu);
	rc = modified ? 0 : record_checksum(en, r);	/* while it may still have ranges */
	if (!rc)
		rc = catalog_transition(en->catalog, r->oid, STATE_BIT(CATALOG_FOUND), CATALOG_CLEANING, &actual);
	if (rc)
		return rc == -ESTALE ? 0 : rc;
	if (modified)
		rc = catalog_set_flags(en->catalog, r->oid, CATALOG_F_MODIFIED, 0);
	return rc;
}

static int apply_ranges(struct engine *en, struct record *r)
{
	int rc = 0;

	if (!snap_valid(en, r))
		return 0;
	for (uint32_t i = 0; !rc && i < r->here_words * 64; i++)
		if (snap_test(r, i))
			rc = add_chunk(en, r->o, r->oid, i);
	return rc;
}

static int apply_cleaned(struct engine *en, struct record *r)
{
	const struct timespec *t = &r->o->clean_ctime;	/* settled before the record was queued */
	int rc = catalog_transition(en->catalog, r->oid, STATE_BIT(CATALOG_CLEANING),
				    r->o->modified ? CATALOG_OVERWRITTEN : CATALOG_MIGRATED, NULL);

	if (rc || r->o->type != CATALOG_REG)
		return rc == -ESTALE ? 0 : rc;
	return catalog_set_ctime(en->catalog, r->oid, (struct catalog_time){ t->tv_sec, (uint32_t)t->tv_nsec });
}

static int apply_quarantine(struct engine *en, struct record *r)
{
	enum catalog_state actual;
	int rc = catalog_transition(en->catalog, r->oid, STATE_BIT(CATALOG_FOUND),
				    CATALOG_QUARANTINED, &actual);

	if (rc)
		return rc == -ESTALE ? 0 : rc;
	return catalog_reason_set(en->catalog, r->oid, r->code, r->reason ? r->reason : "out of memory");
}

int record_apply(struct engine *en, struct record *r)
{
	switch (r->kind) {
	case RECORD_ROW:
		return apply_row(en, r);
	case RECORD_LINK:
		return apply_link(en, r);
	case RECORD_BARE:
		return apply_bare(en, r);
	case RECORD_LISTED:
		return transition(en, r->oid, STATE_BIT(CATALOG_FOUND), CATALOG_CLEANING);
	case RECORD_COMPLETE:
		return apply_complete(en, r);
	case RECORD_RANGES:
		return apply_ranges(en, r);
	case RECORD_CLEANED:
		return apply_cleaned(en, r);
	case RECORD_DELETED:
		return transition(en, r->oid,
				  STATE_BIT(CATALOG_FOUND) | STATE_BIT(CATALOG_QUARANTINED),
				  CATALOG_DELETED);
	case RECORD_INTENT_CLEAR:
		return catalog_set_flags(en->catalog, r->oid, 0, CATALOG_F_INTENT_DELETE);
	case RECORD_QUARANTINE:
		return apply_quarantine(en, r);
	case RECORD_ROOT_MODE:
		return catalog_meta_set(en->catalog, "root_mode", &en->root_mode, sizeof en->root_mode);
	}
	return -EINVAL;
}

static void name_done(struct engine *en, struct record *r)
{
	if (!r->recorded)
		r->o->pending_rows--;
	r->recorded = true;
	list_remove(&r->of_object);
	unname(en, r);
	if (r->kind == RECORD_ROW) {
		r->o->in_catalog = true;
		if (eobj_has_links(r->o))
			unlink_index(en, r->o);
	}
}

bool record_row_completes(const struct eobj *o)
{
	return is_here(o) && !is_clean(o) && o->type != CATALOG_DIR && (o->type != CATALOG_REG || !o->promise.size);
}

static void ranges_done(struct record *r)
{
	if (!r->here || r->content_gen != r->o->content_gen)
		return;
	for (uint32_t i = 0; i < r->o->content.count; i++)
		if (snap_test(r, i))
			content_set_bit(&r->o->content, CONTENT_RECORDED, i);
}

bool record_done(struct engine *en, struct record *r, struct wakes *k)
{
	bool clean = false;

	switch (r->kind) {
	case RECORD_ROW:
		name_done(en, r);
		clean = record_row_completes(r->o);
		if (clean)
			eobj_recorded(r->o);
		break;
	case RECORD_LINK:
		name_done(en, r);
		clean = is_recorded(r->o) && !is_clean(r->o);
		break;
	case RECORD_BARE:
		unname(en, r);
		break;
	case RECORD_LISTED:
	case RECORD_COMPLETE:
		eobj_recorded(r->o);
		clean = true;
		break;
	case RECORD_RANGES:
		ranges_done(r);
		break;
	case RECORD_CLEANED:
		eobj_reach(r->o, STAGE_CLEAN);
		break;
	default:
		break;
	}
	if (r->o) {
		wait_collect(r->o, k);
		urgent_ask(r->o);
	}
	return clean;
}
