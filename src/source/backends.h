/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The back ends, for source_open() only. */
#ifndef DMM_SOURCE_BACKENDS_H
#define DMM_SOURCE_BACKENDS_H

#include "source.h"
#include "url.h"

/* Both: on success *out has its root and root_attr; on failure one line is in e. */
int nfs_source_open(const struct url *u, struct source **out, struct err *e);
int posix_source_open(const struct url *u, struct source **out, struct err *e);

#endif
