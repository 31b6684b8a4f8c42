/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "nfs_page.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

void nfs_page_reset(struct nfs_page *p)
{
	p->count = 0;
	p->names_len = 0;
}

void nfs_page_free(struct nfs_page *p)
{
	free(p->entries);
	free(p->names);
	memset(p, 0, sizeof *p);
}

static int reserve(struct nfs_page *p, size_t name_bytes)
{
	if (p->count == p->cap) {
		uint32_t cap = p->cap ? 2 * p->cap : 256;
		struct source_entry *e = realloc(p->entries, cap * sizeof *e);

		if (!e)
			return -ENOMEM;
		p->entries = e;
		p->cap = cap;
	}
	if (p->names_cap - p->names_len < name_bytes) {
		size_t cap = p->names_cap ? 2 * p->names_cap : 16384;
		char *names = realloc(p->names, cap);

		if (!names)
			return -ENOMEM;
		p->names = names;
		p->names_cap = cap;
	}
	return 0;
}

int nfs_page_add(struct nfs_page *p, struct source_req *req, const char *name, size_t len,
		 struct source_entry **out)
{
	struct source_entry *e;

	*out = NULL;
	if ((len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.'))
		return 0;
	if (!check_name(name, len)) {
		check_bad_entry(req, name, len);
		return 0;
	}
	if (reserve(p, len + 1))
		return -ENOMEM;
	e = &p->entries[p->count++];
	e->name = NULL;
	e->name_len = (uint16_t)len;
	e->has_attr = e->has_fh = false;
	memcpy(p->names + p->names_len, name, len);
	p->names[p->names_len + len] = 0;
	p->names_len += len + 1;
	*out = e;
	return 0;
}

void nfs_page_seal(struct nfs_page *p, struct source_req *req)
{
	const char *name = p->names;
	uint32_t i;

	for (i = 0; i < p->count; i++) {
		p->entries[i].name = name;
		name += p->entries[i].name_len + 1;
	}
	req->entries = p->entries;
	req->entry_count = p->count;
}
