/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "helper/crypto.h"

#include <cpuid.h>
#include <intel-ipsec-mb.h>

_Static_assert(sizeof(struct gcm_key_data) <= sizeof(struct gcm_key), "grow struct gcm_key");
_Static_assert(_Alignof(struct gcm_key_data) <= _Alignof(struct gcm_key), "align struct gcm_key");

/*
 * The kernels check their pointers and note errors here; nobody reads it. Its table of error
 * numbers is in the library's error.c.
 */
extern int imb_errno_value __asm__("imb_errno");
extern const int imb_errno_types[64];
int imb_errno_value;
const int imb_errno_types[64];

/*
 * Not all of them are in the public header, though the library's dispatcher calls them: same
 * prototype for each architecture.
 */
#define DECLARE(arch)                                                                             \
	void aes_gcm_precomp_256_##arch(struct gcm_key_data *key);                                \
	void aes_gcm_enc_256_##arch(const struct gcm_key_data *key, struct gcm_context_data *ctx, \
				    uint8_t *out, const uint8_t *in, uint64_t len,                \
				    const uint8_t *iv, const uint8_t *aad, uint64_t aad_len,      \
				    uint8_t *tag, uint64_t tag_len);                              \
	void aes_gcm_dec_256_##arch(const struct gcm_key_data *key, struct gcm_context_data *ctx, \
				    uint8_t *out, const uint8_t *in, uint64_t len,                \
				    const uint8_t *iv, const uint8_t *aad, uint64_t aad_len,      \
				    uint8_t *tag, uint64_t tag_len);
DECLARE(sse)
DECLARE(avx_gen4)
DECLARE(vaes_avx512)
void aes_keyexp_256_enc_sse(const void *key, void *rounds);

#define GCM_KERNEL(arch)                                                                           \
	static void schedule_##arch(struct gcm_key *gcm, const uint8_t key[32])                    \
	{                                                                                          \
		struct gcm_key_data *data = (struct gcm_key_data *)gcm;                            \
                                                                                                   \
		aes_keyexp_256_enc_sse(key, data->expanded_keys);                                  \
		aes_gcm_precomp_256_##arch(data);                                                  \
	}                                                                                          \
	static void seal_##arch(const struct gcm_key *gcm, uint8_t *out, const uint8_t *in,        \
				uint64_t bytes, const uint8_t iv[GCM_IV_BYTES],                    \
				const uint8_t *aad, uint64_t aad_bytes,                            \
				uint8_t tag[GCM_TAG_BYTES])                                        \
	{                                                                                          \
		struct gcm_context_data context;                                                   \
                                                                                                   \
		aes_gcm_enc_256_##arch((const struct gcm_key_data *)gcm, &context, out, in, bytes, \
				       iv, aad, aad_bytes, tag, GCM_TAG_BYTES);                    \
	}                                                                                          \
	static void open_##arch(const struct gcm_key *gcm, uint8_t *out, const uint8_t *in,        \
				uint64_t bytes, const uint8_t iv[GCM_IV_BYTES],                    \
				const uint8_t *aad, uint64_t aad_bytes,                            \
				uint8_t tag[GCM_TAG_BYTES])                                        \
	{                                                                                          \
		struct gcm_context_data context;                                                   \
                                                                                                   \
		aes_gcm_dec_256_##arch((const struct gcm_key_data *)gcm, &context, out, in, bytes, \
				       iv, aad, aad_bytes, tag, GCM_TAG_BYTES);                    \
	}

GCM_KERNEL(sse)
GCM_KERNEL(avx_gen4)
GCM_KERNEL(vaes_avx512)

#define XMM_0_15                                                                                 \
	"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
		"xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

static void scrub_sse(void)
{
	__asm__ volatile(".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
			 "pxor %%xmm\\r, %%xmm\\r\n\t"
			 ".endr"
			 :
			 :
			 : XMM_0_15);
}

static void scrub_avx_gen4(void)
{
	__asm__ volatile("vzeroall" : : : XMM_0_15);
}

static void scrub_vaes_avx512(void)
{
	scrub_avx_gen4();
	__asm__ volatile(".irp r,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\t"
			 "vpxorq %%zmm\\r, %%zmm\\r, %%zmm\\r\n\t"
			 ".endr"
			 :
			 :
			 : XMM_0_15);
}

static const struct gcm_kernel kernels[] = {
	{ 1, "SSE", scrub_sse, schedule_sse, seal_sse, open_sse },
	{ 2, "AVX2", scrub_avx_gen4, schedule_avx_gen4, seal_avx_gen4, open_avx_gen4 },
	{ 3, "VAES/AVX-512", scrub_vaes_avx512, schedule_vaes_avx512, seal_vaes_avx512,
	  open_vaes_avx512 },
};

static uint64_t xcr0(void)
{
	uint32_t low = 0, high = 0;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return low | (uint64_t)high << 32;
}

/*
 * What the CPU says and what XCR0 enables: the registers must be usable too. A host that pretends
 * here gets a #UD in its own mirror, which ends the mirror.
 */
static uint32_t level(void)
{
	const uint32_t sse = bit_AES | bit_PCLMUL | bit_SSE4_1 | bit_SSSE3;
	const uint32_t avx2 = bit_AVX2 | bit_BMI | bit_BMI2;
	const uint32_t avx512 = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
	uint32_t a, b, c, d, b7 = 0, c7 = 0;
	uint64_t enabled = 0;

	if (!__get_cpuid(1, &a, &b, &c, &d) || (c & sse) != sse)
		return 0;
	if (c & bit_OSXSAVE)
		enabled = xcr0();
	if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d))
		return 1;
	if (!(c & bit_AVX) || (enabled & 0x6) != 0x6 || (b7 & avx2) != avx2)
		return 1;
	if ((enabled & 0xe6) != 0xe6 || (b7 & avx512) != avx512 ||
	    (c7 & (bit_VAES | bit_VPCLMULQDQ)) != (bit_VAES | bit_VPCLMULQDQ))
		return 2;
	return 3;
}

const struct gcm_kernel *gcm_by_id(uint32_t id)
{
	return id >= 1 && id <= level() ? &kernels[id - 1] : NULL;
}

const struct gcm_kernel *gcm_best(void)
{
	return gcm_by_id(level());
}
