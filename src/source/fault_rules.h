/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The rule language of the fault decorator (source.h, source_fault()).
 *
 * Every rule that matches a request acts; counters belong to the rule and
 * start anew with each set of rules.
 *
 * Threads: a set of rules is used under its owner's lock.
 */
#ifndef DMM_SOURCE_FAULT_RULES_H
#define DMM_SOURCE_FAULT_RULES_H

#include "source.h"

/* What shall happen to one request; all zero = nothing. */
struct fault_plan {
	uint64_t delay_ns;
	bool stall, shorten, flip, touch;
	int err;		/* -errno, 0 = none */
};

struct fault_rules;

/* NULL with a line in e.  An empty text is a set without rules. */
struct fault_rules *fault_rules_parse(const char *text, struct err *e);
void fault_rules_free(struct fault_rules *r);

/* Match one request and count. */
struct fault_plan fault_rules_apply(struct fault_rules *r, const struct source_req *req);

#endif
