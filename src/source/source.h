/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The source: a read-only, hostile, slow file system somewhere else.
 *
 * One asynchronous request type, one vtable.  Back ends (nfs, posix, later
 * smb) execute requests; decorators (retry, throttle, fault) are sources that
 * pass requests on to the source below them.  Nothing here ever writes to the
 * source.
 *
 * Life of a request
 *   The caller owns struct source_req, fills the input fields and calls
 *   source_submit().  done() is then called exactly once, from a thread of
 *   the source (never from inside source_submit(), so the caller may hold
 *   locks while submitting).  Reply data (data, entries) points into buffers
 *   of the source and is valid only until done() returns.  Inside done() the
 *   request may be freed, reused or resubmitted.
 *   There is no cancel: a request to a server that is gone waits like a hard
 *   mount and is reissued when the server is back.
 *
 * done() runs on the thread that serves the connection: it may do bounded
 * local work (land the data, create stubs), it must not wait for another
 * request of the source.
 *
 * Lanes.  SOURCE_DEMAND requests never queue behind SOURCE_BACKGROUND
 * ones: they travel on connections (or threads) of their own, and throttles
 * let them pass.  The caller bounds the number of requests in flight.
 *
 * Errors are -errno of the object: -ENOENT, -EACCES, -ESTALE (the handle is
 * no longer known: look the path up again; from READDIR also: the cookie is no
 * longer known, list from the start), -ENOTDIR, -EIO, -EPROTO (the
 * server's answer makes no sense), -ENAMETOOLONG ...  A transport failure is
 * not an error; it is waited out.  -ECANCELED: the source is being closed.
 *
 * Trust: every name, length, type and handle in a reply is checked by the
 * back end before done() sees it: names are 1..255 bytes without '/' and NUL
 * and never "." or "..", lengths are within what was asked for, sizes are
 * below 2^63.  An entry that breaks this is not delivered; the reply counts it
 * in bad_entries and bad_name holds one of them for the report.
 */
#ifndef DMM_SOURCE_SOURCE_H
#define DMM_SOURCE_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define SOURCE_FH_MAX 128	/* RFC 8881 NFS4_FHSIZE; v3 has 64 */
#define SOURCE_NAME_MAX 255
#define SOURCE_LINK_MAX 4095	/* longest symlink target that Linux can create */

enum source_type {
	SOURCE_REG = 1, SOURCE_DIR, SOURCE_LNK, SOURCE_BLK, SOURCE_CHR, SOURCE_FIFO, SOURCE_SOCK,
};

/* A source's own name for an object.  Opaque, comparable with memcmp over len bytes;
 * valid while this source is open (not across restarts), and until -ESTALE. */
struct source_fh {
	uint16_t len;
	uint8_t data[SOURCE_FH_MAX];
};

struct source_time {
	int64_t sec;		/* since 1970, may be negative */
	uint32_t nsec;
};

struct source_attr {
	enum source_type type;
	uint32_t mode;		/* 07777 only */
	uint32_t uid, gid;
	uint32_t nlink;
	uint32_t rdev_major, rdev_minor;
	uint64_t size;		/* bytes; for a symlink the length of its target */
	uint64_t used;		/* bytes of disk space on the server */
	uint64_t fsid, fileid;	/* together unique among live objects of the source */
	uint64_t change;	/* NFSv4 change attribute; 0 where there is none */
	struct source_time atime, mtime, ctime;
};

enum source_op {
	SOURCE_GETATTR,		/* fh                     -> attr */
	SOURCE_LOOKUP,		/* fh (directory), name   -> out_fh, attr */
	SOURCE_READDIR,		/* fh, cookie, verifier   -> entries, next_cookie, verifier, eof, attr of the directory */
	SOURCE_READLINK,	/* fh                     -> data, length (1..SOURCE_LINK_MAX, no NUL), attr if the protocol gives it */
	SOURCE_READ,		/* fh, offset, length     -> data, length (may be short), eof, attr
				 * (an NFS v3 server may leave attr out: has_attr) */
	SOURCE_STATFS,		/* fh                     -> fs */
};

enum source_lane { SOURCE_DEMAND, SOURCE_BACKGROUND };

struct source_entry {
	const char *name;	/* NUL-terminated */
	uint16_t name_len;
	bool has_attr;		/* false: the server did not say; LOOKUP the name */
	bool has_fh;
	struct source_attr attr;
	struct source_fh fh;
};

struct source_fs {
	uint64_t bytes_used, bytes_total;
	uint64_t files_used;	/* 0 where the server does not say */
};

struct source_req {
	/* in; unchanged by the source, so a request can be submitted again */
	enum source_op op;
	enum source_lane lane;
	struct source_fh fh;
	const char *name;	/* LOOKUP: the name. Others: last path component if known, for
				 * messages and the fault decorator; NULL is allowed */
	uint64_t offset;	/* READ */
	uint32_t length;	/* READ: 1..source_limits.read_max */
	uint64_t cookie;	/* READDIR: 0 starts */
	uint64_t verifier;	/* READDIR: from the last page; 0 starts */
	void (*done)(struct source_req *req);
	void *user;		/* the submitter's own */

	/* out; valid inside done() */
	int err;		/* 0 or -errno */
	bool has_attr;
	bool eof;
	struct source_attr attr;
	struct source_fh out_fh;
	const void *data;
	uint32_t out_length;
	const struct source_entry *entries;
	uint32_t entry_count;
	uint32_t bad_entries;
	char bad_name[64];	/* one of them, printable */
	uint64_t next_cookie, out_verifier;
	struct source_fs fs;

	/* for the source that has the request in hand (queues, timers) */
	void *hook[6];
};

struct source_limits {
	uint32_t read_max;	/* largest READ, bytes: min(server's, 1 MiB) (FACTS) */
	uint32_t depth;		/* useful number of background requests in flight */
	bool time_nsec;		/* times carry nanoseconds */
};

/* What the source is doing now, for status lines.  Counters only grow. */
struct source_stats {
	uint64_t requests[2], bytes[2];	/* by lane: answered; payload of READ */
	uint64_t reconnects;
	uint64_t retries;
	bool connected;		/* false: the server has not answered for a while */
	char trouble[160];	/* why, one line; "" when connected */
};

struct source;

struct source_ops {
	const char *name;	/* "nfs", "posix", "retry" ... */
	void (*submit)(struct source *s, struct source_req *req);
	void (*limits)(struct source *s, struct source_limits *out);
	void (*stats)(struct source *s, struct source_stats *out);
	/* Fails what is queued or in flight with -ECANCELED (done() is called for each),
	 * then frees the source and, for a decorator, the source below. */
	void (*close)(struct source *s);
};

struct source {
	const struct source_ops *ops;
	struct source *below;	/* decorators only; owned */
	struct source_fh root;	/* the directory that is migrated */
	struct source_attr root_attr;	/* as found at open */
};

/*
 * Open what a URL names; one connect attempt per protocol step, no endless
 * waiting: a wrong host, export or permission is a clear error here.
 *   nfs://HOST[:PORT]/EXPORT[?version=3|4&nfsport=&mountport=&uid=&gid=]
 *   file:///DIR
 * Only the bare back end; stack decorators on top yourself.
 *
 * NFS v3 has 32 bits for the seconds of a time: they are taken as 1935-12-22 to
 * 2072-01-28 (nfs3_attr.h).  Version 4 and file:// carry 64 bits.
 */
int source_open(const char *url, struct source **out, struct err *e);

/* Check a URL without connecting; writes a canonical form (sorted options, no
 * secrets) with which two command lines can be compared. */
int source_url_canonical(const char *url, char *out, size_t out_size, struct err *e);

/* For file:// the absolute local directory, else NULL (points into url). */
const char *source_url_local_path(const char *url);

/* Checks the contract on both sides (asserts on a caller's bug), then hands over. */
void source_submit(struct source *s, struct source_req *req);
void source_limits(struct source *s, struct source_limits *out);
void source_stats(struct source *s, struct source_stats *out);
void source_close(struct source *s);

/*
 * Retry decorator: an error of the object that may pass (-EIO, -EAGAIN
 * (NFS JUKEBOX/DELAY), -ETIMEDOUT, -EPROTO, -ENOMEM) is tried again with growing pauses,
 * `tries` times in all, then passed up.  Takes ownership of below.
 *
 * This and the other decorators return NULL without memory (below is closed
 * then).  While a decorator has a request in hand, req->done and req->user are
 * its own; they are the submitter's again inside done().
 */
struct source *source_retry(struct source *below, unsigned tries);

/*
 * Throttle decorator: token buckets for background bandwidth (bytes/s of
 * READ payload) and requests in flight; 0 = no limit, changes take effect at once.
 * Demand passes, and is charged to the bucket.
 */
struct source *source_throttle(struct source *below);
void source_throttle_set(struct source *throttle, uint64_t bytes_per_second, unsigned in_flight);

/*
 * Fault decorator, steered at run time by rules, one a line or separated by ';':
 *   OP [name=GLOB] [after=N] [count=N] [every=N] ACTION
 *   OP:     any getattr lookup readdir readlink read statfs
 *   ACTION: delay=DURATION (10s, 250ms) | err=EIO|EACCES|ESTALE|ENOENT|... | short (READ returns half)
 *           | flip (one bit of READ data) | touch (mtime in the reply differs) | stall (until the rules change)
 * source_fault_set() replaces all rules; bad syntax leaves the old ones in force.
 */
struct source *source_fault(struct source *below);
int source_fault_set(struct source *fault, const char *rules, struct err *e);

#endif
