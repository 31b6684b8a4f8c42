/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Requests of a source, one at a time and waited for; replies are copied out. */
#ifndef DMM_TEST_CALL_H
#define DMM_TEST_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "source/source.h"

struct call_entry {
	char name[SOURCE_NAME_MAX + 1];
	size_t name_len;
	bool has_attr, has_fh;
	struct source_attr attr;
	struct source_fh fh;
};

struct call_list {
	struct call_entry *entries;
	size_t count;
	unsigned bad, pages;
};

/* Each returns what the request returned. */
int call_getattr(struct source *s, const struct source_fh *fh, struct source_attr *out);
int call_lookup(struct source *s, const struct source_fh *dir, const char *name,
		struct source_fh *fh, struct source_attr *attr);
int call_path(struct source *s, const char *path, struct source_fh *fh, struct source_attr *attr);
/* data is malloc'ed, NUL-terminated; free() it. */
int call_readlink(struct source *s, const struct source_fh *fh, char **data, uint32_t *len);
int call_read(struct source *s, const struct source_fh *fh, uint64_t offset, uint32_t length,
	      char **data, uint32_t *got, bool *eof, struct source_attr *attr);
int call_statfs(struct source *s, const struct source_fh *fh, struct source_fs *out);
/* All pages; on an error the list is empty. */
int call_readdir(struct source *s, const struct source_fh *fh, struct call_list *out);
void call_list_free(struct call_list *l);
const struct call_entry *call_list_find(const struct call_list *l, const char *name);

/* A counter that done() functions of other threads raise. */
struct call_gate;
struct call_gate *call_gate_new(void);
void call_gate_free(struct call_gate *g);
void call_gate_pass(struct call_gate *g);
/* False after seconds. */
bool call_gate_wait(struct call_gate *g, unsigned passes, double seconds);
unsigned call_gate_count(struct call_gate *g);

#endif
