/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Length of the well-formed UTF-8 sequence at s, 0 when there is none (RFC 3629, table in
 * section 4: no overlong forms, no surrogates, nothing above U+10FFFF). */
static size_t sequence(const unsigned char *s)
{
	static const struct {
		unsigned char lo, hi, second_lo, second_hi, len;
	} form[] = {
		{ 0x20, 0x7e, 0, 0, 1 },
		{ 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 },
		{ 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 },
		{ 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (size_t i = 0; i < sizeof form / sizeof form[0]; i++) {
		if (s[0] < form[i].lo || s[0] > form[i].hi)
			continue;
		if (form[i].len > 1 && (s[1] < form[i].second_lo || s[1] > form[i].second_hi))
			return 0;
		for (size_t k = 2; k < form[i].len; k++)
			if ((s[k] & 0xc0) != 0x80)
				return 0;
		return form[i].len;
	}
	return 0;
}

char *text_clean(char *out, size_t n, const char *in)
{
	const unsigned char *s = (const unsigned char *)in;
	size_t used = 0;

	while (*s) {
		char piece[5];
		size_t len = *s == '\\' ? 0 : sequence(s), step = len;

		if (len) {
			memcpy(piece, s, len);
		} else {
			len = (size_t)snprintf(piece, sizeof piece, "\\x%02x", *s);
			step = 1;
		}
		if (used + len >= n)
			break;
		memcpy(out + used, piece, len);
		used += len;
		s += step;
	}
	if (n)
		out[used] = 0;
	return out;
}

static int hex(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int text_bytes(char *out, size_t n, const char *text)
{
	size_t used = 0;

	for (const char *p = text; *p; used++) {
		int byte = (unsigned char)*p;

		if (*p != '\\') {
			p++;
		} else {
			if (p[1] != 'x' || hex(p[2]) < 0 || hex(p[3]) < 0)
				return -EINVAL;
			byte = hex(p[2]) << 4 | hex(p[3]);
			p += 4;
		}
		if (!byte)
			return -EINVAL;
		if (used + 1 >= n)
			return -ENAMETOOLONG;
		out[used] = (char)byte;
	}
	if (!n)
		return -ENAMETOOLONG;
	out[used] = 0;
	return 0;
}
