/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What CPUID says of memory encryption: leaf 0x8000001F (AMD64 APM volume 3, appendix E.4.17).
 */
#ifndef LIB_SEV_SEV_CPUID_H
#define LIB_SEV_SEV_CPUID_H

#include <stdbool.h>
#include <stdint.h>

#define SEV_CPUID_LEAF 0x8000001fU

struct sev_cpuid {
	bool sme;
	bool sev;
	bool sev_es;
	bool sev_snp;
	/*
	 * the hardware keeps caches coherent across encryption domains: no flush when a page
	 * changes its kind
	 */
	bool coherent;
	uint8_t c_bit; /* position of the C-bit in a page-table entry */
	/* by how many bits MAXPHYADDR shrinks with memory encryption on */
	uint8_t phys_addr_reduction;
	uint32_t asids; /* guests with encryption at once; ASIDs 1..asids */
	uint32_t min_sev_asid; /* first ASID for plain SEV; below it they are for SEV-ES */
};

/*
 * Take the registers of leaf 0x8000001F apart: the host's own, or what KVM_GET_SUPPORTED_CPUID
 * gives a guest.
 */
void sev_cpuid_parse(struct sev_cpuid *cpuid, uint32_t eax, uint32_t ebx, uint32_t ecx,
		     uint32_t edx);

/* The leaf of the CPU this runs on. False (all zeros) when the CPU does not have it. */
bool sev_cpuid_host(struct sev_cpuid *cpuid);

/* The C-bit as a mask for page-table entries; 0 when cpuid has no SEV. */
uint64_t sev_cpuid_c_mask(const struct sev_cpuid *cpuid);

#endif
