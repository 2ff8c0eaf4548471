/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/sev/sev_cpuid.h"

#include <string.h>

#include <cpuid.h>

void sev_cpuid_parse(struct sev_cpuid *cpuid, uint32_t eax, uint32_t ebx, uint32_t ecx,
		     uint32_t edx)
{
	*cpuid = (struct sev_cpuid){
		.sme = eax & 1U << 0,
		.sev = eax & 1U << 1,
		.sev_es = eax & 1U << 3,
		.sev_snp = eax & 1U << 4,
		.coherent = eax & 1U << 10,
		.c_bit = ebx & 0x3f,
		.phys_addr_reduction = ebx >> 6 & 0x3f,
		.asids = ecx,
		.min_sev_asid = edx,
	};
}

bool sev_cpuid_host(struct sev_cpuid *cpuid)
{
	unsigned int eax, ebx, ecx, edx;

	memset(cpuid, 0, sizeof(*cpuid));
	if (!__get_cpuid(SEV_CPUID_LEAF, &eax, &ebx, &ecx, &edx))
		return false;
	sev_cpuid_parse(cpuid, eax, ebx, ecx, edx);
	return true;
}

uint64_t sev_cpuid_c_mask(const struct sev_cpuid *cpuid)
{
	return cpuid->sev ? 1ULL << cpuid->c_bit : 0;
}
