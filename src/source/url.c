/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "url.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char nfs_prefix[] = "nfs://";
static const char file_prefix[] = "file://";

/* Decimal digits only: strtoul() also takes signs, blanks and 0x. */
static int parse_number(const char *s, size_t len, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;
	size_t i;

	if (len == 0 || len > 10)
		return -EINVAL;
	for (i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -EINVAL;
		v = v * 10 + (uint64_t)(s[i] - '0');
	}
	if (v > max)
		return -EINVAL;
	*out = v;
	return 0;
}

static int parse_port(const char *s, size_t len, const char *what, uint16_t *out, struct err *e)
{
	uint64_t v;

	if (parse_number(s, len, 65535, &v) || v == 0)
		return err_set(e, EINVAL, "bad %s \"%.*s\" (1..65535)", what, (int)len, s);
	if (*out && *out != v)
		return err_set(e, EINVAL, "two different NFS ports, %u and %.*s", *out, (int)len, s);
	*out = (uint16_t)v;
	return 0;
}

static int parse_id(const char *s, size_t len, const char *what, uint32_t *out, struct err *e)
{
	uint64_t v;

	/* 2^32-1 means "nobody in particular" in every Unix interface */
	if (parse_number(s, len, UINT32_MAX - 1, &v))
		return err_set(e, EINVAL, "bad %s \"%.*s\" (0..4294967294)", what, (int)len, s);
	*out = (uint32_t)v;
	return 0;
}

static int parse_option(const char *s, size_t len, struct url *u, struct err *e)
{
	const char *eq = memchr(s, '=', len);
	size_t key = eq ? (size_t)(eq - s) : len, vlen = eq ? len - key - 1 : 0;
	const char *v = eq ? eq + 1 : s + len;

#define KEY(name) (key == sizeof(name) - 1 && !memcmp(s, name, key))
	if (KEY("version")) {
		if (vlen != 1 || (*v != '3' && *v != '4'))
			return err_set(e, EINVAL, "bad version \"%.*s\" (3 or 4)", (int)vlen, v);
		u->version = (unsigned)(*v - '0');
		return 0;
	}
	if (KEY("nfsport"))
		return parse_port(v, vlen, "nfsport", &u->nfs_port, e);
	if (KEY("mountport"))
		return parse_port(v, vlen, "mountport", &u->mount_port, e);
	if (KEY("uid"))
		return parse_id(v, vlen, "uid", &u->uid, e);
	if (KEY("gid"))
		return parse_id(v, vlen, "gid", &u->gid, e);
#undef KEY
	return err_set(e, EINVAL, "unknown option \"%.*s\" (version, nfsport, mountport, uid, gid)",
		       (int)key, s);
}

static int parse_options(const char *s, struct url *u, struct err *e)
{
	int r = 0;

	while (!r && *s) {
		size_t len = strcspn(s, "&");

		r = parse_option(s, len, u, e);
		s += len;
		if (!r && *s == '&' && !*++s)
			return err_set(e, EINVAL, "nothing after the last \"&\"");
	}
	return r;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int decode(const char *s, size_t len, char *out, size_t size, struct err *e)
{
	size_t i, o = 0;

	for (i = 0; i < len; i++) {
		int c = (unsigned char)s[i];

		if (c == '%') {
			int hi = i + 2 < len ? hex(s[i + 1]) : -1;
			int lo = i + 2 < len ? hex(s[i + 2]) : -1;

			if (hi < 0 || lo < 0 || (hi | lo) == 0)
				return err_set(e, EINVAL, "bad %%-escape in \"%.*s\"", (int)len, s);
			c = hi << 4 | lo;
			i += 2;
		}
		if (o + 1 >= size)
			return err_set(e, EINVAL, "path is longer than %zu bytes", size - 1);
		out[o++] = (char)c;
	}
	out[o] = 0;
	return 0;
}

/* Squeeze slashes, drop ".", refuse "..". In place. */
static int normalise(char *path, struct err *e)
{
	char *in = path, *out = path;

	while (*in) {
		size_t len;

		while (*in == '/')
			in++;
		len = strcspn(in, "/");
		if (len == 2 && !memcmp(in, "..", 2))
			return err_set(e, EINVAL, "\"..\" in the path");
		if (len > 0 && !(len == 1 && *in == '.')) {
			*out++ = '/';
			memmove(out, in, len);
			out += len;
		}
		in += len;
	}
	if (out == path)
		*out++ = '/';
	*out = 0;
	return 0;
}

static int parse_host(const char *s, size_t len, struct url *u, struct err *e)
{
	const char *port = NULL, *host = s, *end = s + len;
	size_t i, hlen = len;

	if (len && *s == '[') {
		const char *close = memchr(s, ']', len);

		if (!close)
			return err_set(e, EINVAL, "\"[\" without \"]\" in the host");
		host = s + 1;
		hlen = (size_t)(close - host);
		if (close + 1 < end && close[1] != ':')
			return err_set(e, EINVAL, "text after \"]\" in the host");
		port = close + 1 < end ? close + 2 : NULL;
	} else if ((port = memchr(s, ':', len))) {
		hlen = (size_t)(port++ - s);
	}
	if (hlen == 0)
		return err_set(e, EINVAL, "no host");
	if (hlen >= sizeof u->host)
		return err_set(e, EINVAL, "host name is too long");
	for (i = 0; i < hlen; i++) {
		if (!isalnum((unsigned char)host[i]) && !strchr(".-_:%", host[i]))
			return err_set(e, EINVAL, "bad character in host \"%.*s\"", (int)hlen, host);
		u->host[i] = (char)tolower((unsigned char)host[i]);
	}
	return port ? parse_port(port, (size_t)(end - port), "port", &u->nfs_port, e) : 0;
}

static int parse_nfs(const char *s, struct url *u, struct err *e)
{
	size_t host = strcspn(s, "/?"), path;
	int r;

	u->scheme = URL_NFS;
	u->version = 3;
	r = parse_host(s, host, u, e);
	if (r)
		return r;
	s += host;
	path = strcspn(s, "?");
	if (path == 0)
		return err_set(e, EINVAL, "no export: nfs://HOST/EXPORT");
	r = decode(s, path, u->path, sizeof u->path, e);
	if (!r)
		r = normalise(u->path, e);
	if (!r && s[path] == '?')
		r = parse_options(s + path + 1, u, e);
	if (!r && u->version == 4 && u->mount_port)
		r = err_set(e, EINVAL, "mountport has no meaning with version=4");
	return r;
}

static int parse_file(const char *s, struct url *u, struct err *e)
{
	u->scheme = URL_FILE;
	if (*s != '/')
		return err_set(e, EINVAL, "the directory must be absolute: file:///DIR");
	if (strlen(s) >= sizeof u->path)
		return err_set(e, EINVAL, "path is longer than %zu bytes", sizeof u->path - 1);
	strcpy(u->path, s);
	return 0;
}

int url_parse(const char *text, struct url *out, struct err *e)
{
	int r;

	memset(out, 0, sizeof *out);
	if (!strncmp(text, nfs_prefix, sizeof nfs_prefix - 1))
		r = parse_nfs(text + sizeof nfs_prefix - 1, out, e);
	else if (!strncmp(text, file_prefix, sizeof file_prefix - 1))
		r = parse_file(text + sizeof file_prefix - 1, out, e);
	else
		r = err_set(e, EINVAL, "unknown scheme (nfs://HOST/EXPORT or file:///DIR)");
	if (r)
		err_wrap(e, "source \"%s\"", text);
	return r;
}

/* RFC 3986 "unreserved", and the slash. */
static bool plain(unsigned char c)
{
	return isalnum(c) || strchr("-._~/", c);
}

static void encode(const char *path, char *out, size_t size)
{
	size_t o = 0;

	for (; *path && o + 4 < size; path++) {
		unsigned char c = (unsigned char)*path;

		if (plain(c))
			out[o++] = (char)c;
		else
			o += (size_t)snprintf(out + o, size - o, "%%%02X", c);
	}
	out[o] = 0;
}

static int format_nfs(const struct url *u, char *out, size_t size)
{
	char path[3 * sizeof u->path], mount[24] = "", port[24] = "";
	bool six = strchr(u->host, ':');

	encode(u->path, path, sizeof path);
	if (u->mount_port)
		snprintf(mount, sizeof mount, "mountport=%u&", u->mount_port);
	if (u->nfs_port)
		snprintf(port, sizeof port, "nfsport=%u&", u->nfs_port);
	return snprintf(out, size, "nfs://%s%s%s%s?gid=%u&%s%suid=%u&version=%u", six ? "[" : "",
			u->host, six ? "]" : "", path, u->gid, mount, port, u->uid, u->version);
}

int url_format(const struct url *u, char *out, size_t out_size, struct err *e)
{
	struct url copy = *u;
	int n;

	if (u->scheme == URL_NFS) {
		n = format_nfs(u, out, out_size);
	} else {
		/* ".." may lead through a symbolic link: such a path stays as it is */
		if (normalise(copy.path, NULL))
			copy = *u;
		n = snprintf(out, out_size, "file://%s", copy.path);
	}
	if (n < 0 || (size_t)n >= out_size)
		return err_set(e, ENAMETOOLONG, "the source URL is too long");
	return 0;
}
