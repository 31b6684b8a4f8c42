/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Shared by the files of verify only.
 *
 *   verify.c         the job: rows in, verdicts out, in the order of the oids; threads
 *   verify_file.c    one row: what is compared with what, and the verdict
 *   verify_disk.c    a file's checksum, from the disk
 *   verify_source.c  a name and a file's checksum, from the source again
 *   verify_sum.c     content in order -> checksum
 *   verify_place.c   the place where an interrupted verification goes on, in the catalog
 */
#ifndef DMM_AUDIT_VERIFY_H
#define DMM_AUDIT_VERIFY_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "audit/audit.h"
#include "base/checksum.h"

enum { VERIFY_DEPTH_MAX = 16, VERIFY_TEXT = 240 };

/* ---- content in order ---- */

struct verify_sum {
	uint64_t size, pos;
	unsigned shift;
	uint32_t chunks;
	struct checksum_stream *stream;
	uint8_t sum[CHECKSUM_SIZE];	/* of whole chunks up to pos */
};
int verify_sum_init(struct verify_sum *s, uint64_t size);
/* Go on behind whole chunks that were summed up before; pos must be a multiple of the chunk size. */
void verify_sum_resume(struct verify_sum *s, uint64_t pos, const uint8_t sum[CHECKSUM_SIZE]);
void verify_sum_data(struct verify_sum *s, const void *data, uint64_t n);
void verify_sum_zeros(struct verify_sum *s, uint64_t n);
bool verify_sum_at_chunk(const struct verify_sum *s);
/* After size bytes. */
void verify_sum_end(struct verify_sum *s, uint8_t out[CHECKSUM_SIZE]);
void verify_sum_free(struct verify_sum *s);

/* ---- where a verification stands ---- */

/* How far a large file has been read; only for as long as its ctime is the same. */
struct verify_part {
	uint64_t oid, pos;
	int64_t ctime_sec;
	uint32_t ctime_nsec;
	uint32_t pad;
	uint8_t sum[CHECKSUM_SIZE];
};

struct verify_place {
	uint32_t version;
	uint8_t against_source, finished;
	uint8_t nparts, pad;
	uint64_t oid;			/* every row up to this one is done */
	uint64_t files[AUDIT_VERDICTS], done_files, done_bytes;
	struct verify_part part[VERIFY_DEPTH_MAX];
};

/* -ENOENT: there is none that this verification can go on from. */
int verify_place_load(struct catalog *c, bool against_source, struct verify_place *p);
int verify_place_store(struct catalog *c, const struct verify_place *p);	/* inside begin/commit */

/* ---- the job ---- */

struct verify_item {
	struct catalog_row row;
	enum audit_verdict verdict;
	bool counted;			/* has a verdict */
	bool done;
	bool has_part;			/* part is how far it is; job->mu */
	struct verify_part part;
	char text[VERIFY_TEXT];
};

struct verify_source;

struct verify_job {
	const struct audit_verify_config *cfg;
	atomic_bool stop;
	pthread_mutex_t mu;
	pthread_cond_t work, retired;
	struct verify_source *source;	/* NULL: recorded checksums */
	bool drop_cache;		/* O_DIRECT alone does not promise the disk on this file system */

	pthread_mutex_t rate_mu;
	uint64_t rate_next;		/* clock_mono() from which on the next byte may be read */
};

/* Waits until n more bytes may be read; returns early when the job stops. */
void verify_rate(struct verify_job *j, uint64_t n);
/* How much to read at once: little when the rate is low, so that it is even. */
uint64_t verify_piece(const struct verify_job *j);

/* ---- one row ---- */

struct verify_buffer;			/* a thread's own */
struct verify_buffer *verify_buffer_new(void);
void verify_buffer_free(struct verify_buffer *b);

/* 0: item has its verdict; -EINTR: stopped; -errno: the job cannot go on (memory, descriptors, catalog). */
int verify_file(struct verify_job *j, struct verify_item *item, struct verify_buffer *b);

/* -ESTALE: no such inode; -EMEDIUMTYPE: not a regular file; -EOVERFLOW: its size is not `size`, *st is valid. */
int verify_disk_look(const struct verify_job *j, const struct target_handle *h, uint64_t size, struct stat *st);
/*
 * The checksum of [0, size) of the inode as it is on the disk, *st as it was after reading.  part_of (may be NULL)
 * is told how far it is, and tells where to begin.  *at is where an error was.  Errors also as verify_disk_look(); -EINTR.
 */
int verify_disk_sum(struct verify_job *j, const struct target_handle *h, uint64_t size, struct verify_item *part_of,
		    struct verify_buffer *b, uint8_t out[CHECKSUM_SIZE], struct stat *st, uint64_t *at);
/* Does reading with O_DIRECT not suffice on the target's file system? */
bool verify_disk_caches(const struct target *t);

/* ---- the source again ---- */

struct verify_source *verify_source_new(struct source *s, struct catalog *c, atomic_bool *stop);
void verify_source_free(struct verify_source *v);	/* requests in flight free themselves */
/* The object under the name of this row.  -ENOENT: the source has no such name any more. */
int verify_source_find(struct verify_source *v, const struct catalog_row *row, struct source_fh *fh,
		       struct source_attr *attr);
/* Of a file of the size that attr says; -ESTALE: it has changed meanwhile. */
int verify_source_sum(struct verify_source *v, const struct catalog_row *row, const struct source_fh *fh,
		      const struct source_attr *attr, uint8_t out[CHECKSUM_SIZE]);

#endif
