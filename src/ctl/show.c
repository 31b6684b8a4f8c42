/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "show.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

#include "base/size.h"

/* Invisible or changing direction (Unicode 15, Bidi_Control and zero-width characters). */
static bool deceptive(wchar_t c)
{
	return (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2060 && c <= 0x206f) || c == 0x61c || c == 0xad || c == 0xfeff ||
	       (c >= 0xfff9 && c <= 0xfffb);
}

/* One character or escape into piece (8 bytes); returns the bytes taken from s. */
static size_t next_piece(const char *s, char *piece, unsigned *columns)
{
	mbstate_t st = { 0 };
	wchar_t c;
	size_t len = mbrtowc(&c, s, strlen(s), &st);
	int width = len == (size_t)-1 || len == (size_t)-2 || len > 4 ? -1 : wcwidth(c);

	if (width > 0 && iswprint((wint_t)c) && !deceptive(c)) {
		memcpy(piece, s, len);
		piece[len] = 0;
		*columns = (unsigned)width;
		return len;
	}
	snprintf(piece, 8, "\\x%02x", (unsigned char)*s);
	*columns = 4;
	return 1;
}

char *show_text(char *out, size_t n, const char *in, unsigned columns)
{
	size_t used = 0, mark = 0;
	unsigned at = 0;

	while (*in) {
		char piece[8];
		unsigned width;
		size_t took = next_piece(in, piece, &width), len = strlen(piece);

		if (used + len >= n || at + width > columns) {
			snprintf(out + mark, n - mark, "%.*s", columns < 3 ? (int)columns : 3, "...");
			return out;
		}
		memcpy(out + used, piece, len);
		used += len;
		at += width;
		if (at + 3 <= columns && used + 4 <= n)
			mark = used;	/* the last place where "..." still fits */
		in += took;
	}
	if (n)
		out[used] = 0;
	return out;
}

char *show_count(char *buf, size_t n, uint64_t v)
{
	char digits[24];
	size_t len = (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)v);
	size_t used = 0;

	for (size_t i = 0; i < len && used + 2 < n; i++) {
		if (i && (len - i) % 3 == 0)
			buf[used++] = ',';
		if (used + 1 < n)
			buf[used++] = digits[i];
	}
	buf[used] = 0;
	return buf;
}

char *show_rate(char *buf, size_t n, double bytes_per_second)
{
	char size[32];

	snprintf(buf, n, "%s/s", size_format(size, sizeof size, (uint64_t)bytes_per_second));
	return buf;
}
