/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Bounds for libnfs's XDR decoder.
 *
 * libnfs 4.0 checks lengths with signed arithmetic (a length of 2^31 and more
 * passes, and the read position goes backwards), does not check the end of
 * fixed-size opaques, and multiplies array sizes in 32 bits: a hostile server
 * can make it read and write outside the reply.  Its generated decoders reach
 * the primitives through the dynamic symbol table, so the definitions in
 * nfs_zdr.c, being in the program, are used by libnfs itself (ELF symbol
 * interposition; not with a libnfs that is linked statically or -Bsymbolic).
 */
#ifndef DMM_SOURCE_NFS_ZDR_H
#define DMM_SOURCE_NFS_ZDR_H

#include <stdbool.h>

/* Does libnfs really use them?  Decodes a small crafted reply to find out. */
bool nfs_zdr_active(void);

#endif
