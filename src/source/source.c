/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The front door: picks the back end, and checks the caller's side of the
 * contract of source.h at every layer of a stack (check_finish() checks the
 * other side).  A breach is a bug of this program and aborts; bad data from
 * a server never gets here as a breach.
 */
#include "source.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "backends.h"
#include "check.h"
#include "url.h"

int source_open(const char *url, struct source **out, struct err *e)
{
	struct url u;
	int r = url_parse(url, &u, e);

	*out = NULL;
	if (r)
		return r;
	r = u.scheme == URL_NFS ? nfs_source_open(&u, out, e) : posix_source_open(&u, out, e);
	return r ? err_wrap(e, "source \"%s\"", url) : 0;
}

int source_url_canonical(const char *url, char *out, size_t out_size, struct err *e)
{
	struct url u;
	int r = url_parse(url, &u, e);

	return r ? r : url_format(&u, out, out_size, e);
}

const char *source_url_local_path(const char *url)
{
	return strncmp(url, "file:///", 8) ? NULL : url + 7;
}

void source_submit(struct source *s, struct source_req *req)
{
	assert(req->done);
	assert(req->lane == SOURCE_DEMAND || req->lane == SOURCE_BACKGROUND);
	assert(req->fh.len > 0 && req->fh.len <= SOURCE_FH_MAX);
	switch (req->op) {
	case SOURCE_LOOKUP:
		assert(req->name && check_name(req->name, strlen(req->name)));
		break;
	case SOURCE_READ:
		assert(req->length > 0 && req->offset <= (uint64_t)INT64_MAX - req->length);
		break;
	case SOURCE_GETATTR:
	case SOURCE_READDIR:
	case SOURCE_READLINK:
	case SOURCE_STATFS:
		break;
	default:
		assert(!"unknown operation");
	}
	check_reset(req);
	s->ops->submit(s, req);
}

void source_limits(struct source *s, struct source_limits *out)
{
	memset(out, 0, sizeof *out);
	s->ops->limits(s, out);
	assert(out->read_max > 0 && out->depth > 0);
}

void source_stats(struct source *s, struct source_stats *out)
{
	memset(out, 0, sizeof *out);
	s->ops->stats(s, out);
}

void source_close(struct source *s)
{
	if (s)
		s->ops->close(s);
}
