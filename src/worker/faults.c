/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "faults.h"

#include <errno.h>
#include <stdio.h>

#include "base/cleanup.h"

#define RULES_MAX 8192

int faults_apply(struct source *fault, const char *spec, struct err *e)
{
	_cleanup_fclose_ FILE *f = NULL;
	char rules[RULES_MAX];
	size_t n;
	int r;

	if (!spec || spec[0] != '@') {
		r = source_fault_set(fault, spec ? spec : "", e);
	} else {
		f = fopen(spec + 1, "re");
		if (!f)
			return err_sys(e, errno, "DMM_SOURCE_FAULTS: %s", spec + 1);
		n = fread(rules, 1, sizeof rules - 1, f);
		rules[n] = 0;
		r = source_fault_set(fault, rules, e);
	}
	return r ? err_wrap(e, "DMM_SOURCE_FAULTS") : 0;
}
