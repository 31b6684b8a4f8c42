/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The manual and the README cannot drift: their options are the parser's table.
 * Arguments: dmm.1, README.md.
 */
#include "unit.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/command.h"

static const char *const *paths;

static char *slurp(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = calloc(1, 1 << 20);

	assert_non_null(f);
	assert_non_null(text);
	assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
	fclose(f);
	return text;
}

/* From ".Sh SYNOPSIS" to the next section, made to look like command_synopsis(). */
static char *manual_synopsis(const char *man)
{
	const char *p = strstr(man, ".Sh SYNOPSIS"), *end;
	char *out = calloc(1, 8192);
	size_t n = 0;

	assert_non_null(p);
	p = strchr(p, '\n') + 1;
	end = strstr(p, ".Sh ");
	assert_non_null(end);
	while (p < end) {
		const char *nl = strchr(p, '\n');
		bool op = !strncmp(p, ".Op ", 4), nm = !strncmp(p, ".Nm ", 4);

		p += 4;
		if (nm && n)
			out[n - 1] = '\n';
		if (op)
			out[n++] = '[';
		while (p < nl) {
			if (!strncmp(p, "Fl -", 4)) {
				memcpy(out + n, "--", 2);
				n += 2;
				p += 4;
			} else if (!strncmp(p, "Ar ", 3)) {
				p += 3;
			} else {
				out[n++] = *p++;
			}
		}
		if (op)
			out[n++] = ']';
		out[n++] = ' ';
		p = nl + 1;
	}
	out[n ? n - 1 : 0] = 0;
	return out;
}

static void test_manual_synopsis(void **state)
{
	char *man = slurp(paths[0]), *is = manual_synopsis(man), want[4096] = "", line[1024];

	(void)state;
	for (size_t i = 0; command_table[i]; i++) {
		if (i)
			strcat(want, "\n");
		strcat(want, command_synopsis(command_table[i], line, sizeof line));
	}
	assert_string_equal(is, want);
	free(is);
	free(man);
}

/* Every option has its paragraph (.It Fl -name), and no paragraph is without option. */
static void test_manual_paragraphs(void **state)
{
	char *man = slurp(paths[0]), it[80];
	size_t options = 0, items = 0;

	(void)state;
	for (size_t i = 0; command_table[i]; i++)
		for (const struct args_option *o = command_table[i]->options; o && o->name; o++) {
			snprintf(it, sizeof it, ".It Fl -%s%s%s\n", o->name,
				 o->value ? " Ar " : "", o->value ? o->value : "");
			if (!strstr(man, it))
				fail_msg("the manual has no paragraph %s", it);
			options++;
		}
	for (const char *p = man; (p = strstr(p, ".It Fl -")); p++)
		items++;
	assert_int_equal(items, options);
	free(man);
}

/* Long options in the README's prose and examples exist. */
static void test_readme(void **state)
{
	char *text = slurp(paths[1]), line[1024];

	(void)state;
	assert_non_null(strstr(text, command_synopsis(&command_run, line, sizeof line)));
	for (const char *p = text; (p = strstr(p, "--")); ) {
		size_t n = 0;
		bool known = false;

		if (p > text && !strchr(" `[", p[-1])) {
			p += 2;
			continue;
		}
		p += 2;
		while (isalnum((unsigned char)p[n]) || (p[n] == '-' && n))
			n++;
		for (size_t i = 0; n && command_table[i]; i++)
			for (const struct args_option *o = command_table[i]->options;
			     o && o->name; o++)
				known |= strlen(o->name) == n && !strncmp(o->name, p, n);
		if (n && !known)
			fail_msg("README.md mentions --%.*s, which does not exist", (int)n, p);
	}
	free(text);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_manual_synopsis),
		cmocka_unit_test(test_manual_paragraphs),
		cmocka_unit_test(test_readme),
	};

	if (argc < 3)
		return 2;
	paths = (const char *const *)(argv + 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
