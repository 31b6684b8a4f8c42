/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "source/source.h"
#include "url.h"

static void test_parts(void **state)
{
	struct err e;
	struct url u;

	(void)state;
	assert_int_equal(url_parse("nfs://Server.Example:12049/a//b/./c%20d/"
				   "?version=4&uid=7&gid=4294967294", &u, &e), 0);
	assert_int_equal(u.scheme, URL_NFS);
	assert_string_equal(u.host, "server.example");
	assert_string_equal(u.path, "/a/b/c d");
	assert_int_equal(u.nfs_port, 12049);
	assert_int_equal(u.version, 4);
	assert_int_equal(u.uid, 7);
	assert_int_equal(u.gid, 4294967294u);

	assert_int_equal(url_parse("nfs://[fe80::1]:77/x?mountport=78", &u, &e), 0);
	assert_string_equal(u.host, "fe80::1");
	assert_int_equal(u.nfs_port, 77);
	assert_int_equal(u.mount_port, 78);
	assert_int_equal(u.version, 3);

	assert_int_equal(url_parse("nfs://h/%ff%0A", &u, &e), 0);
	assert_string_equal(u.path, "/\xff\n");
	assert_int_equal(url_parse("file:///a b%20?c", &u, &e), 0);
	assert_string_equal(u.path, "/a b%20?c");
}

static void test_canonical(void **state)
{
	static const char *const same[][2] = {
		{ "nfs://h/e", "nfs://h/e?gid=0&uid=0&version=3" },
		{ "nfs://H:2049/e/", "nfs://h/e?gid=0&nfsport=2049&uid=0&version=3" },
		{ "nfs://h/e?nfsport=2049", "nfs://h/e?gid=0&nfsport=2049&uid=0&version=3" },
		{ "nfs://h/e?version=3&uid=1&mountport=5&gid=2&nfsport=4",
		  "nfs://h/e?gid=2&mountport=5&nfsport=4&uid=1&version=3" },
		{ "nfs://h/%65%2fx%3f?version=4", "nfs://h/e/x%3F?gid=0&uid=0&version=4" },
		{ "nfs://[::1]/", "nfs://[::1]/?gid=0&uid=0&version=3" },
		{ "file:////a/./b//", "file:///a/b" },
		{ "file:///a/../b", "file:///a/../b" },
	};
	char out[300], again[300];
	struct err e;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof same / sizeof *same; i++) {
		assert_int_equal(source_url_canonical(same[i][0], out, sizeof out, &e), 0);
		assert_string_equal(out, same[i][1]);
		assert_int_equal(source_url_canonical(out, again, sizeof again, &e), 0);
		assert_string_equal(out, again);
	}
	assert_int_equal(source_url_canonical("nfs://host/export", out, 10, &e), -ENAMETOOLONG);
}

static void test_refused(void **state)
{
	static const char *const bad[][2] = {
		{ "smb://h/x", "unknown scheme" },
		{ "/some/dir", "unknown scheme" },
		{ "", "unknown scheme" },
		{ "nfs://h", "no export" },
		{ "nfs://h?version=3", "no export" },
		{ "nfs:///x", "no host" },
		{ "nfs://:77/x", "no host" },
		{ "nfs://[::1/x", "]" },
		{ "nfs://user@h/x", "bad character in host" },
		{ "nfs://h:0/x", "bad port \"0\"" },
		{ "nfs://h:65536/x", "bad port \"65536\"" },
		{ "nfs://h:/x", "bad port \"\"" },
		{ "nfs://h:+1/x", "bad port" },
		{ "nfs://h:1/x?nfsport=2", "two different NFS ports" },
		{ "nfs://h/x?nfsport=12x", "bad nfsport \"12x\"" },
		{ "nfs://h/x?mountport=", "bad mountport" },
		{ "nfs://h/x?version=4&mountport=5", "mountport has no meaning" },
		{ "nfs://h/x?version=5", "bad version \"5\"" },
		{ "nfs://h/x?version", "bad version" },
		{ "nfs://h/x?uid=-1", "bad uid" },
		{ "nfs://h/x?gid=4294967295", "bad gid" },
		{ "nfs://h/x?nosuch=1", "unknown option \"nosuch\"" },
		{ "nfs://h/x?uid=1&", "nothing after" },
		{ "nfs://h/x?uid=1&&gid=2", "unknown option \"\"" },
		{ "nfs://h/%00", "bad %-escape" },
		{ "nfs://h/%4", "bad %-escape" },
		{ "nfs://h/%zz", "bad %-escape" },
		{ "nfs://h/a/../b", "\"..\"" },
		{ "nfs://h/%2e%2e", "\"..\"" },
		{ "file://host/x", "must be absolute" },
		{ "file://", "must be absolute" },
	};
	char out[300];
	struct source *s;
	struct err e;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof bad / sizeof *bad; i++) {
		memset(&e, 0, sizeof e);
		assert_int_equal(source_url_canonical(bad[i][0], out, sizeof out, &e), -EINVAL);
		if (!strstr(e.text, bad[i][1]))
			fail_msg("\"%s\": got \"%s\", not \"%s\"", bad[i][0], e.text, bad[i][1]);
		assert_null(strchr(e.text, '\n'));
		assert_int_equal(source_open(bad[i][0], &s, &e), -EINVAL);
		assert_null(s);
	}
}

static void test_too_long(void **state)
{
	char url[6000] = "nfs://h/";
	char host[400] = "nfs://";
	struct url u;
	struct err e;

	(void)state;
	memset(url + strlen(url), 'x', 5000);
	assert_int_equal(url_parse(url, &u, &e), -EINVAL);
	memcpy(url, "file:///", 8);
	assert_int_equal(url_parse(url, &u, &e), -EINVAL);
	memset(host + strlen(host), 'h', 300);
	strcat(host, "/x");
	assert_int_equal(url_parse(host, &u, &e), -EINVAL);
}

static void test_local_path(void **state)
{
	const char *url = "file:///some/dir";

	(void)state;
	assert_ptr_equal(source_url_local_path(url), url + 7);
	assert_null(source_url_local_path("nfs://h/x"));
	assert_null(source_url_local_path("file://x"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parts),	    cmocka_unit_test(test_canonical),
		cmocka_unit_test(test_refused),	    cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_local_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
