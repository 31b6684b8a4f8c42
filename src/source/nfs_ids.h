/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * NFSv4 owner strings (RFC 7530 5.9) -> numeric ids.
 *
 * "1000" is the number (RFC 7530 allows it, and AUTH_SYS servers send it);
 * "name@domain" and "name" are looked up in this host's user database by the
 * part before the '@'; what is not known there is 65534, nobody.  The domain
 * is not compared: a migration has one source, and its users are this host's.
 * Answers are remembered, because a lookup may go to a directory service.
 *
 * Threads: one at a time.
 */
#ifndef DMM_SOURCE_NFS_IDS_H
#define DMM_SOURCE_NFS_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NFS_IDS_NOBODY 65534u

struct nfs_ids;

struct nfs_ids *nfs_ids_new(void);
void nfs_ids_free(struct nfs_ids *ids);
uint32_t nfs_ids_map(struct nfs_ids *ids, bool group, const char *s, size_t len);

#endif
