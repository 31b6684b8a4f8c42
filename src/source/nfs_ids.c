/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "nfs_ids.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define SLOTS 256
#define NAME_LEN 64	/* longer names are looked up each time */

struct slot {
	char name[NAME_LEN];
	uint8_t len;		/* 0 = empty */
	bool group;
	uint32_t id;
};

struct nfs_ids {
	struct slot slot[SLOTS];
};

struct nfs_ids *nfs_ids_new(void)
{
	return calloc(1, sizeof(struct nfs_ids));
}

void nfs_ids_free(struct nfs_ids *ids)
{
	free(ids);
}

static bool number(const char *s, size_t len, uint32_t *out)
{
	uint64_t v = 0;
	size_t i;

	if (len == 0 || len > 10)
		return false;
	for (i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = 10 * v + (uint64_t)(s[i] - '0');
	}
	*out = (uint32_t)v;
	return v <= UINT32_MAX;
}

static uint32_t from_database(bool group, const char *s, size_t len)
{
	char name[256], room[16384];
	const char *at = memchr(s, '@', len);
	size_t n = at ? (size_t)(at - s) : len;
	struct passwd pw, *p = NULL;
	struct group gr, *g = NULL;

	if (n == 0 || n >= sizeof name || memchr(s, 0, n))
		return NFS_IDS_NOBODY;
	memcpy(name, s, n);
	name[n] = 0;
	if (group)
		return !getgrnam_r(name, &gr, room, sizeof room, &g) && g ? g->gr_gid : NFS_IDS_NOBODY;
	return !getpwnam_r(name, &pw, room, sizeof room, &p) && p ? p->pw_uid : NFS_IDS_NOBODY;
}

uint32_t nfs_ids_map(struct nfs_ids *ids, bool group, const char *s, size_t len)
{
	struct slot *slot;
	uint32_t id;

	if (number(s, len, &id))
		return id;
	if (len == 0 || len > NAME_LEN)
		return from_database(group, s, len);
	slot = &ids->slot[hash_bytes(s, len, group) % SLOTS];
	if (slot->len != len || slot->group != group || memcmp(slot->name, s, len)) {
		memcpy(slot->name, s, len);
		slot->len = (uint8_t)len;
		slot->group = group;
		slot->id = from_database(group, s, len);
	}
	return slot->id;
}
