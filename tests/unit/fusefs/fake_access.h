/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An engine for tests: conditions hold when the test says so.
 *
 * Objects are made by the test under an oid that a mark on the target names.  Each
 * has a set of gates; a need of a closed gate parks, fake_open() opens gates and wakes.
 * Everything the file system tells is counted.
 */
#ifndef DMM_TEST_FAKE_ACCESS_H
#define DMM_TEST_FAKE_ACCESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/access.h"

enum {
	GATE_NAME = 1, GATE_LISTED = 2, GATE_RECORD = 4, GATE_CONTENT = 8, GATE_CONTENT_RECORDED = 16,
	GATE_RANGE = 32, GATE_RANGE_RECORDED = 64, GATE_INTENT = 128, GATE_CHANGE = 256, GATE_ATTACH = 512,
	GATE_ALL = 1023,
};

struct eobj {
	struct engine *en;
	uint64_t oid;
	unsigned refs;
	unsigned gates;		/* open ones */
	bool complete, listed, slow, hide;
	uint64_t size;		/* what the overlay says, 0 = the target's */
	uint64_t range_here;	/* GATE_RANGE: below this offset ranges are here anyway */
	/* told by the file system */
	unsigned times_taken, written, truncated, change_begun, change_ended, deleted, deleted_gone, hidden, visited,
		intents, records, exec_opens;
	uint64_t written_bytes;
};

#define FAKE_OBJECTS 512
struct engine {
	pthread_mutex_t lock;
	struct list waiters;
	struct eobj obj[FAKE_OBJECTS];	/* index = oid */
	struct access_listener listener;
	unsigned root_sets;
	struct target *target;
	_Atomic bool silent;	/* the source does not answer */
};

struct engine *fake_new(struct target *t);
void fake_free(struct engine *en);
struct eobj *fake_object(struct engine *en, uint64_t oid, unsigned gates);
void fake_open(struct eobj *o, unsigned gates);		/* and wake with 0 */
void fake_fail(struct eobj *o, unsigned gates, int err);	/* wake with an error, gates stay closed */
unsigned fake_waiting(struct engine *en);
void fake_changed(struct engine *en, const struct target_handle *h);
unsigned fake_refs(struct engine *en);			/* of all objects */

#endif
