/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib/sev: status names, policy texts, CPUID; lib/util: hexadecimal, base64, whole files, mappings.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/sev/sev_cpuid.h"
#include "lib/sev/error.h"
#include "lib/sev/policy.h"
#include "lib/util/file.h"
#include "lib/util/map.h"
#include "lib/util/text.h"
#include "tests/unit/cmocka_all.h"

static void every_status_has_its_own_name(void **state)
{
	for (uint32_t a = 0; a <= 0x18; a++) {
		assert_string_not_equal(sev_fw_error_name(a), "UNKNOWN");
		assert_true(strlen(sev_fw_error_hint(a)) > 20);
		for (uint32_t b = 0; b < a; b++) {
			assert_string_not_equal(sev_fw_error_name(a), sev_fw_error_name(b));
			assert_string_not_equal(sev_fw_error_hint(a), sev_fw_error_hint(b));
		}
	}
	assert_string_equal(sev_fw_error_name(0x00), "SUCCESS");
	assert_string_equal(sev_fw_error_name(0x07), "POLICY_FAILURE");
	assert_string_equal(sev_fw_error_name(0x0b), "BAD_MEASUREMENT");
	assert_string_equal(sev_fw_error_name(0x18), "SECURE_DATA_INVALID");
	assert_string_equal(sev_fw_error_name(0x19), "UNKNOWN");
	assert_string_equal(sev_fw_error_name(SEV_FW_NO_CALL), "NO_FW_CALL");
}

static void errors_name_status_and_command(void **state)
{
	struct sev_error error;

	assert_int_equal(sev_error_firmware(&error, -EIO, 7, "SEND_START of '%s'", "vm"), -EIO);
	assert_int_equal(error.fw, 7);
	assert_non_null(strstr(error.message,
			       "SEND_START of 'vm': firmware error POLICY_FAILURE (0x07): "));
	assert_non_null(strstr(error.message, sev_fw_error_hint(7)));
	assert_int_equal(sev_error_firmware(&error, -ENOMEM, 0, "X"), -ENOMEM);
	assert_int_equal(error.fw, SEV_FW_NO_CALL);
	assert_string_equal(error.message, "X: Cannot allocate memory");
	assert_int_equal(sev_error_firmware(NULL, -EIO, 7, "X"), -EIO);
	assert_int_equal(sev_error_set(NULL, -EIO, "X"), -EIO);
}

static void the_longest_message_fits(void **state)
{
	struct sev_error error;
	char what[SEV_ERROR_MESSAGE_BYTES * 2];

	memset(what, 'w', sizeof(what));
	what[sizeof(what) - 1] = '\0';
	for (uint32_t fw = 1; fw <= 0x19; fw++) {
		size_t len;

		sev_error_firmware(&error, -EIO, fw, "%s", what);
		len = strlen(error.message);
		assert_true(len < sizeof(error.message) - 1);
		assert_string_equal(error.message + len - strlen(sev_fw_error_hint(fw)),
				    sev_fw_error_hint(fw));
	}
	sev_error_set(&error, -EIO, "%s", what);
	assert_int_equal(strlen(error.message), sizeof(error.message) - 1);
}

static void policies_are_read(void **state)
{
	static const struct {
		const char *text;
		uint32_t policy;
	} good[] = {
		{ "default", 0x23 },
		{ "NODBG|NOKS|SEV", 0x23 },
		{ "nodbg,noks,sev", 0x23 },
		{ "NOSEND", 0x8 },
		{ "default|DOMAIN|NOSEND|ES", 0x3f },
		{ "SEV|API=1.55", 0x37010020 },
		{ "0x23", 0x23 },
		{ "35", 0x23 },
		{ "0", 0 },
	};
	static const char *const bad[] = { "",
					   "|",
					   "SEV|",
					   "|SEV",
					   "SE",
					   "SEVX",
					   "0x40",
					   "-1",
					   "+1",
					   " 1",
					   "4294967296",
					   "0x23x",
					   "API=",
					   "API=256.0",
					   "API=0.256",
					   "API=0.1x",
					   "API=-1.2",
					   "SEV|0x1",
					   "NODBGNODBGNODBGNODBGNODBGNODBGNODBG" };
	uint32_t policy;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		policy = ~0U;
		assert_int_equal(sev_policy_parse(good[i].text, &policy), 0);
		assert_int_equal(policy, good[i].policy);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		policy = 0x1234;
		assert_int_equal(sev_policy_parse(bad[i], &policy), -EINVAL);
		assert_int_equal(policy, 0x1234);
	}
}

static void policies_are_written_so_that_they_can_be_read(void **state)
{
	char text[SEV_POLICY_TEXT_BYTES];
	uint32_t back;

	assert_string_equal(sev_policy_format(0x23, text, sizeof(text)), "NODBG|NOKS|SEV (0x23)");
	assert_string_equal(sev_policy_format(0, text, sizeof(text)), "(0x0)");
	for (uint32_t flags = 1; flags < 0x40; flags++) {
		uint32_t policy = flags | 0xff010000 | (flags & 1) << 20;

		sev_policy_format(policy, text, sizeof(text));
		assert_non_null(strchr(text, '('));
		strchr(text, '(')[-1] = '\0';
		assert_int_equal(sev_policy_parse(text, &back), 0);
		assert_int_equal(back, policy);
	}
}

/* Who may receive the guest is checked with SEV only; ES without NOKS has its own weakness. */
static void each_policy_is_weak_or_not(void **state)
{
	for (uint32_t policy = 0; policy < 0x100; policy++) {
		const char *weakness = sev_policy_weakness(policy);
		bool sent_to_anyone = !(policy & SEV_POLICY_SEV) && !(policy & SEV_POLICY_NOSEND);
		bool two_with_one_key = policy & SEV_POLICY_ES && !(policy & SEV_POLICY_NOKS);

		assert_int_equal(weakness != NULL, sent_to_anyone || two_with_one_key);
		if (weakness)
			assert_non_null(
				strstr(weakness, sent_to_anyone ? "without SEV" : "key sharing"));
	}
}

static void loose_policies_warn(void **state)
{
	assert_null(sev_policy_weakness(SEV_POLICY_DEFAULT));
	assert_null(sev_policy_weakness(SEV_POLICY_NOSEND));
	assert_null(sev_policy_weakness(SEV_POLICY_DOMAIN | SEV_POLICY_SEV));
	assert_null(sev_policy_weakness(SEV_POLICY_DEFAULT | SEV_POLICY_ES));
	assert_non_null(strstr(sev_policy_weakness(0), "without SEV"));
	assert_non_null(strstr(sev_policy_weakness(SEV_POLICY_NODBG | SEV_POLICY_NOKS), "sending"));
	assert_non_null(strstr(sev_policy_weakness(SEV_POLICY_DOMAIN), "without SEV"));
	assert_non_null(strstr(sev_policy_weakness(SEV_POLICY_ES | SEV_POLICY_SEV), "key sharing"));
	assert_null(sev_policy_warning(SEV_POLICY_DEFAULT, 0));
	assert_null(sev_policy_warning(0x3f, 0));
	assert_non_null(strstr(sev_policy_warning(SEV_POLICY_NODBG | SEV_POLICY_NOKS, 0), "SEV"));
	assert_null(sev_policy_warning(SEV_POLICY_NODBG | SEV_POLICY_NOKS, 1));
	assert_non_null(sev_policy_warning(0, 2));
	assert_null(sev_policy_warning(0, 3));
}

static void cpuid_leaf_is_taken_apart(void **state)
{
	struct sev_cpuid cpuid;

	/*
	 * an EPYC 7313: SME, SEV, PFM, ES, SNP, VMPL, coherent; C-bit 51, 5 bits less, 509 ASIDs,
	 * SEV from 100 on
	 */
	sev_cpuid_parse(&cpuid, 0x0001fc3f, 0x00000173, 509, 100);
	assert_true(cpuid.sme && cpuid.sev && cpuid.sev_es && cpuid.sev_snp && cpuid.coherent);
	assert_int_equal(cpuid.c_bit, 51);
	assert_int_equal(cpuid.phys_addr_reduction, 5);
	assert_int_equal(cpuid.asids, 509);
	assert_int_equal(cpuid.min_sev_asid, 100);
	assert_true(sev_cpuid_c_mask(&cpuid) == 1ULL << 51);
	sev_cpuid_parse(&cpuid, 0x1, 0x0000002f, 0, 0);
	assert_false(cpuid.sev);
	assert_true(sev_cpuid_c_mask(&cpuid) == 0);
}

static void hexadecimal(void **state)
{
	uint8_t in[] = { 0x00, 0x9f, 0xA0, 0xff }, out[4];
	char text[9];

	assert_string_equal(util_hex_encode(in, 4, text), "009fa0ff");
	assert_int_equal(util_hex_decode("009FA0fF", out, 4), 0);
	assert_memory_equal(in, out, 4);
	assert_int_equal(util_hex_decode("009fa0f", out, 4), -EINVAL);
	assert_int_equal(util_hex_decode("009fa0ff0", out, 4), -EINVAL);
	assert_int_equal(util_hex_decode("009fa0fg", out, 4), -EINVAL);
	assert_int_equal(util_hex_decode("0x9fa0ff", out, 4), -EINVAL);
}

/* RFC 4648, section 10. */
static void base64_test_vectors(void **state)
{
	static const char *const vectors[][2] = { { "", "" },
						  { "f", "Zg==" },
						  { "fo", "Zm8=" },
						  { "foo", "Zm9v" },
						  { "foob", "Zm9vYg==" },
						  { "fooba", "Zm9vYmE=" },
						  { "foobar", "Zm9vYmFy" } };
	char text[16], back[16];
	size_t len;

	for (size_t i = 0; i < 7; i++) {
		size_t n = strlen(vectors[i][0]);

		assert_string_equal(util_base64_encode(vectors[i][0], n, text), vectors[i][1]);
		assert_int_equal(strlen(text) + 1, UTIL_BASE64_BYTES(n));
		assert_int_equal(util_base64_decode(text, strlen(text), back, sizeof(back), &len),
				 0);
		assert_int_equal(len, n);
		assert_memory_equal(back, vectors[i][0], n);
	}
}

static void base64_refuses_what_is_none(void **state)
{
	static const char *const bad[] = { "Zg=",   "Zg",   "Z",     "Z===",	 "====",
					   "=",	    "Zh==", "Zm9=",  "Zm8=Zm8=", "Zg==Zg==",
					   "Zm9v!", "Zm-v", "Zm9v=", "Z=g=",	 "Zm9vZg==\1" };
	char out[64];
	size_t len;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(util_base64_decode(bad[i], strlen(bad[i]), out, sizeof(out), &len),
				 -EINVAL);
	assert_int_equal(util_base64_decode("Zm9v", 4, out, 2, &len), -EFBIG);
	assert_int_equal(util_base64_decode("Zm9v\0Zm9v", 9, out, sizeof(out), &len), -EINVAL);
	assert_int_equal(util_base64_decode(" Z\nm9\r\nv\t\n", 10, out, sizeof(out), &len), 0);
	assert_int_equal(len, 3);
}

struct folder {
	char path[64];
};

static int make_folder(void **state)
{
	struct folder *f = calloc(1, sizeof(*f));

	strcpy(f->path, "/tmp/sev_basics.XXXXXX");
	*state = f;
	return mkdtemp(f->path) ? 0 : -1;
}

static int remove_folder(void **state)
{
	struct folder *f = *state;
	int err = rmdir(f->path);

	free(f);
	return err; /* fails when something was left behind */
}

static void files_are_written_whole_and_private(void **state)
{
	struct folder *f = *state;
	char path[96], data[20000];
	struct stat st;
	void *back;
	size_t len;

	snprintf(path, sizeof(path), "%s/key", f->path);
	memset(data, 'x', sizeof(data));
	assert_int_equal(util_write_file(path, data, sizeof(data), 0600), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(util_read_file(path, sizeof(data), &back, &len), 0);
	assert_int_equal(len, sizeof(data));
	assert_memory_equal(back, data, len);
	assert_int_equal(((char *)back)[len], 0);
	util_free_secret(back, len);
	assert_int_equal(util_read_file(path, sizeof(data) - 1, &back, &len), -EFBIG);
	assert_int_equal(util_write_file(path, "", 0, 0644), 0);
	assert_int_equal(util_read_file(path, 0, &back, &len), 0);
	assert_int_equal(len, 0);
	free(back);
	unlink(path);
}

static void whether_a_file_can_be_written_is_known_before(void **state)
{
	struct folder *f = *state;
	char path[96];

	snprintf(path, sizeof(path), "%s/page", f->path);
	assert_int_equal(util_check_writable(path), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(util_write_file(path, "x", 1, 0600), 0);
	assert_int_equal(util_check_writable(path), 0);
	unlink(path);
	assert_int_equal(util_check_writable(f->path), -EISDIR);
	/* a rename would put a file in the device's place */
	assert_int_equal(util_check_writable("/dev/null"), -EINVAL);
	assert_int_equal(util_check_writable(""), -ENOENT);
	snprintf(path, sizeof(path), "%s/none/page", f->path);
	assert_int_equal(util_check_writable(path), -ENOENT);
}

static void files_that_cannot_be(void **state)
{
	struct folder *f = *state;
	char path[96];
	void *back;
	size_t len;

	assert_int_equal(util_read_file(f->path, 100, &back, &len), -EISDIR);
	snprintf(path, sizeof(path), "%s/none", f->path);
	assert_int_equal(util_read_file(path, 100, &back, &len), -ENOENT);
	snprintf(path, sizeof(path), "%s/none/key", f->path);
	assert_int_equal(util_write_file(path, "x", 1, 0600), -ENOENT);
	/* a folder is in the way: nothing may be left next to it (remove_folder() looks) */
	snprintf(path, sizeof(path), "%s/busy", f->path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(util_write_file(path, "x", 1, 0600), -EISDIR);
	rmdir(path);
}

static void mappings_are_congruent_with_the_file(void **state)
{
	const size_t bytes = 2 * UTIL_MAP_ALIGN, offset = 0x3000;
	int fd = memfd_create("mappings", MFD_CLOEXEC);
	unsigned char *whole, *part;
	struct stat st;
	void *at;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	assert_int_equal(util_map_aligned(&at, fd, 0, bytes), 0);
	whole = at;
	assert_int_equal((uintptr_t)at % UTIL_MAP_ALIGN, 0);
	whole[offset + 5] = 7;
	assert_int_equal(util_map_commit(at, bytes, true, NULL), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_blocks > 0);
	assert_int_equal(util_map_aligned(&at, fd, (off_t)offset, bytes - offset), 0);
	part = at;
	assert_int_equal((uintptr_t)at % UTIL_MAP_ALIGN, offset);
	/* What was there has survived, and the rest is zero in both views. */
	for (size_t i = 0; i < bytes - offset; i++)
		if (part[i] != (i == 5 ? 7 : 0))
			fail_msg("byte %zu is %u", i, part[i]);
	part[bytes - offset - 1] = 9;
	assert_int_equal(whole[bytes - 1], 9);
	munmap(part, bytes - offset);
	munmap(whole, bytes);
	assert_int_equal(util_map_aligned(&at, -1, 0, bytes), -EBADF);
	close(fd);
}

static bool collapses; /* the kernel knows MADV_COLLAPSE, and has memory for it */
static unsigned int asked;

int __real_madvise(void *at, size_t bytes, int advice);
int __wrap_madvise(void *at, size_t bytes, int advice);

int __wrap_madvise(void *at, size_t bytes, int advice)
{
	if (advice != 25) /* MADV_COLLAPSE */
		return __real_madvise(at, bytes, advice);
	asked++;
	if (collapses)
		return __real_madvise(at, bytes, MADV_POPULATE_WRITE);
	errno = EINVAL;
	return -1;
}

/* Before Linux 6.1 no page collapses: all of it is there all the same when its progress says so. */
static void memory_is_committed_whether_it_collapses_or_not(void **state)
{
	const size_t bytes = 8 * UTIL_MAP_ALIGN;
	unsigned char *there = malloc(bytes / 4096);

	for (int i = 0; i < 2; i++) {
		int fd = memfd_create("mappings", MFD_CLOEXEC);
		void *at;

		collapses = i;
		asked = 0;
		assert_true(fd >= 0);
		assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
		assert_int_equal(util_map_aligned(&at, fd, 0, bytes), 0);
		assert_int_equal(util_map_commit(at, bytes, true, NULL), 0);
		assert_true(asked > 0);
		assert_int_equal(mincore(at, bytes, there), 0);
		for (size_t page = 0; page < bytes / 4096; page++)
			assert_int_equal(there[page] & 1, 1);
		munmap(at, bytes);
		close(fd);
	}
	free(there);
	collapses = true;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_status_has_its_own_name),
		cmocka_unit_test(errors_name_status_and_command),
		cmocka_unit_test(the_longest_message_fits),
		cmocka_unit_test(policies_are_read),
		cmocka_unit_test(policies_are_written_so_that_they_can_be_read),
		cmocka_unit_test(loose_policies_warn),
		cmocka_unit_test(each_policy_is_weak_or_not),
		cmocka_unit_test(cpuid_leaf_is_taken_apart),
		cmocka_unit_test(hexadecimal),
		cmocka_unit_test(base64_test_vectors),
		cmocka_unit_test(base64_refuses_what_is_none),
		cmocka_unit_test_setup_teardown(files_are_written_whole_and_private, make_folder,
						remove_folder),
		cmocka_unit_test_setup_teardown(whether_a_file_can_be_written_is_known_before,
						make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(files_that_cannot_be, make_folder, remove_folder),
		cmocka_unit_test(mappings_are_congruent_with_the_file),
		cmocka_unit_test(memory_is_committed_whether_it_collapses_or_not),
	};

	return cmocka_run_group_tests_name("sev_basics", tests, NULL, NULL);
}
