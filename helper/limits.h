/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Numbers that the assembler needs too. */
#ifndef HELPER_LIMITS_H
#define HELPER_LIMITS_H

#define HELPER_VCPUS_MAX  16
#define HELPER_AREA_BYTES 28672 /* a vCPU's guard page, stack and struct helper_vcpu */
#define HELPER_AREA_STACK 16384 /* top of the stack in it */

#endif
