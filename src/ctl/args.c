/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "args.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

static int find(const struct args_option *table, const char *name, size_t len)
{
	for (int i = 0; table && table[i].name; i++)
		if (strlen(table[i].name) == len && !memcmp(table[i].name, name, len))
			return i;
	return -1;
}

/* arg starts with "--"; returns how many arguments it took (1 or 2) or -EINVAL. */
static int take_option(struct args *a, const char *arg, const char *next, struct err *e)
{
	const char *name = arg + 2, *eq = strchr(name, '=');
	size_t len = eq ? (size_t)(eq - name) : strlen(name);
	int i = find(a->table, name, len);

	if (i < 0)
		return err_set(e, EINVAL, "unknown option --%.*s", (int)len, name);
	assert(i < ARGS_OPTIONS_MAX);
	if (a->value[i])
		return err_set(e, EINVAL, "--%s is given twice", a->table[i].name);
	if (!a->table[i].value) {
		if (eq)
			return err_set(e, EINVAL, "--%s takes no value", a->table[i].name);
		a->value[i] = "";
		return 1;
	}
	a->value[i] = eq ? eq + 1 : next;
	if (!a->value[i] || !*a->value[i])
		return err_set(e, EINVAL, "--%s wants a value: --%s %s", a->table[i].name,
			       a->table[i].name, a->table[i].value);
	return eq ? 1 : 2;
}

int args_parse(const struct args_option *table, int argc, char **argv, struct args *out,
	       struct err *e)
{
	bool only_operands = false;

	*out = (struct args){ .table = table };
	for (int i = 0; i < argc;) {
		const char *arg = argv[i];

		if (!only_operands && !strcmp(arg, "--")) {
			only_operands = true;
			i++;
		} else if (!only_operands && arg[0] == '-' && arg[1] == '-') {
			int took = take_option(out, arg, i + 1 < argc ? argv[i + 1] : NULL, e);

			if (took < 0)
				return took;
			i += took;
		} else if (!only_operands && arg[0] == '-' && arg[1]) {
			return err_set(e, EINVAL, "unknown option %s", arg);
		} else {
			if (out->operands == ARGS_OPERANDS_MAX)
				return err_set(e, EINVAL, "too many arguments");
			out->operand[out->operands++] = arg;
			i++;
		}
	}
	return 0;
}

const char *args_get(const struct args *a, const char *name)
{
	int i = find(a->table, name, strlen(name));

	assert(i >= 0);
	return a->value[i];
}
