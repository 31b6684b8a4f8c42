/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * verify: the target read back from the disk and compared (audit_verify()).
 *
 * Against the source it opens a connection of its own, so that a verification neither disturbs
 * the lanes of a running migration nor ends with them.
 */
#include <errno.h>
#include <string.h>

#include "audit/audit.h"
#include "opener.h"
#include "verb.h"

#define RETRY_TRIES 5
#define I(x) ((json_int_t)(x))

static const char *const verdicts[AUDIT_VERDICTS] = {
	[AUDIT_SAME] = "same", [AUDIT_CHANGED] = "changed", [AUDIT_SUSPECT] = "suspect", [AUDIT_DAMAGED] = "damaged",
	[AUDIT_GONE] = "gone", [AUDIT_UNREADABLE] = "unreadable", [AUDIT_NO_CHECKSUM] = "no-checksum",
	[AUDIT_SOURCE_CHANGED] = "source-changed", [AUDIT_WAITING] = "waiting",
};

/* What speaks of damage, not of applications or of the source. */
static uint64_t problems(const struct audit_verify_progress *p)
{
	return p->files[AUDIT_DAMAGED] + p->files[AUDIT_UNREADABLE] + p->files[AUDIT_SUSPECT];
}

static json_t *fields(const struct audit_verify_progress *p)
{
	json_t *files = json_object();

	for (int i = 0; i < AUDIT_VERDICTS; i++)
		json_object_set_new(files, verdicts[i], json_integer(I(p->files[i])));
	return json_pack("{s:o, s:I, s:I, s:I, s:I, s:b, s:b, s:I}", "files", files,
			 "done_files", I(p->done_files), "done_bytes", I(p->done_bytes),
			 "total_files", I(p->total_files), "total_bytes", I(p->total_bytes),
			 "resumed", p->resumed, "finished", p->finished, "problems", I(problems(p)));
}

static void on_finding(void *arg, const struct audit_finding *f)
{
	reply_send(arg, "finding", json_pack("{s:s, s:o, s:I, s:o}", "verdict", verdicts[f->verdict],
					     "path", reply_text(f->path), "oid", I(f->oid), "text", reply_text(f->text)));
}

static void on_progress(void *arg, const struct audit_verify_progress *p)
{
	reply_send(arg, "progress", fields(p));
}

static bool on_stop(void *arg)
{
	return reply_withdrawn(arg);
}

/* A target whose file system is not mounted today looks like one from which everything was deleted. */
static int same_root(struct verb_context *v, struct err *e)
{
	struct target_handle h;
	struct catalog_row root;
	int r = catalog_get(v->catalog, CATALOG_ROOT_OID, &root);

	if (!r)
		r = target_handle_of(target_root_fd(v->target), &h);
	if (r)
		return err_sys(e, r, "the root of %s", v->target_path);
	if (root.handle_len == h.len + 2 && root.handle[0] == h.len && root.handle[1] == h.type && !memcmp(root.handle + 2, h.data, h.len))
		return 0;
	return err_set(e, ESTALE, "%s is not the directory that was migrated to; is its file system mounted?", v->target_path);
}

static int open_source(const char *url, struct reply *reply, struct source **out, struct err *e)
{
	int r = opener_source(url, reply, out, e);

	if (r)
		return r;
	*out = source_retry(*out, RETRY_TRIES);
	return *out ? 0 : err_sys(e, ENOMEM, "source");
}

static int verify(struct audit_verify_config *cfg, struct reply *r, struct err *e)
{
	const struct audit_verify_calls calls = {
		.finding = on_finding, .progress = on_progress, .stop = on_stop, .arg = r,
	};
	struct audit_verify_progress p = { 0 };
	int error = audit_verify(cfg, &calls, &p, e);

	if (error == -EINTR)
		return err_set(e, EINTR, "stopped after %llu of %llu files; the same command goes on",
			       (unsigned long long)p.done_files, (unsigned long long)p.total_files);
	if (!error)
		reply_send(r, "verified", fields(&p));
	return error;
}

int verb_verify(struct verb_context *v, struct reply *r, json_t *request, json_t **done, struct err *e)
{
	json_int_t rate = json_integer_value(json_object_get(request, "rate"));
	struct audit_verify_config cfg = {
		.catalog = v->catalog, .target = v->target,
		.rate = rate > 0 ? (uint64_t)rate : 0,
		.restart = json_is_true(json_object_get(request, "restart")),
	};
	int error = 0;

	(void)done;
	if (!cfg.target)
		return err_set(e, ENOENT, "the target %s cannot be opened", v->target_path);
	error = same_root(v, e);
	if (error)
		return error;
	if (atomic_exchange(&v->verifying, true))
		return err_set(e, EBUSY, "a verification of this migration is going on already");
	if (json_is_true(json_object_get(request, "against_source")))
		error = open_source(v->source, r, &cfg.source, e);
	if (!error)
		error = verify(&cfg, r, e);
	if (cfg.source)
		source_close(cfg.source);
	atomic_store(&v->verifying, false);
	return error;
}
