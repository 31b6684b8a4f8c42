/* SPDX-License-Identifier: GPL-3.0-or-later */
/* cmocka wants its headers in this order. */
#ifndef DMM_TESTS_WORKER_UNIT_H
#define DMM_TESTS_WORKER_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
