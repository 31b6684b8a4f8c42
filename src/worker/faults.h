/* SPDX-License-Identifier: GPL-3.0-or-later */
/* DMM_SOURCE_FAULTS: rules for the source's fault decorator, or @FILE holding them. */
#ifndef DMM_WORKER_FAULTS_H
#define DMM_WORKER_FAULTS_H

#include "source/source.h"

/* spec NULL: no rules. */
int faults_apply(struct source *fault, const char *spec, struct err *e);

#endif
