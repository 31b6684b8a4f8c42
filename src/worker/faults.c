/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "faults.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/point.h"

#define RULES_MAX 8192

static int read_rules(const char *spec, char rules[RULES_MAX], struct err *e)
{
	_cleanup_fclose_ FILE *f = NULL;

	if (!spec || spec[0] != '@') {
		snprintf(rules, RULES_MAX, "%s", spec ? spec : "");
		return 0;
	}
	f = fopen(spec + 1, "re");
	if (!f)
		return err_sys(e, errno, "%s", spec + 1);
	rules[fread(rules, 1, RULES_MAX - 1, f)] = 0;
	return 0;
}

int faults_source(struct source *fault, const char *spec, struct err *e)
{
	char rules[RULES_MAX];
	int r = read_rules(spec, rules, e);

	if (!r)
		r = source_fault_set(fault, rules, e);
	return r ? err_wrap(e, "DMM_SOURCE_FAULTS") : 0;
}

int faults_points(const char *spec, struct err *e)
{
	char rules[RULES_MAX];
	int r = read_rules(spec, rules, e);

	if (!r)
		r = point_set(rules, e);
	return r ? err_wrap(e, "DMM_POINTS") : 0;
}

static void print_point(void *arg, const struct point *p)
{
	static const char *const can[] = { "kill stop delay", "kill stop delay error", "kill stop delay error skip" };

	(void)arg;
	printf("%s %s\n", p->name, can[p->kind]);
}

void faults_print_points(void)
{
	point_each(print_point, NULL);
}
