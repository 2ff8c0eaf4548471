/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <nettle/sha2.h>

#include "demo/guest/guest.h"

#define FILE_WORDS (1 << 17)
#define CHUNK	   65536

static struct {
	uint8_t digest[SHA256_DIGEST_SIZE];
	char text[17];
	uint64_t checks;
} file;

static void hash(const char *path, uint8_t digest[SHA256_DIGEST_SIZE])
{
	static uint8_t buf[CHUNK];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct sha256_ctx ctx;
	ssize_t n;

	sha256_init(&ctx);
	while (fd >= 0 && (n = read(fd, buf, sizeof(buf))) > 0)
		sha256_update(&ctx, (size_t)n, buf);
	if (fd >= 0)
		close(fd);
	sha256_digest(&ctx, SHA256_DIGEST_SIZE, digest);
}

void file_make(const char *path)
{
	FILE *out = fopen(path, "we");
	uint64_t word = 1;

	for (int i = 0; out && i < FILE_WORDS; i++) {
		word = word * 6364136223846793005ULL + 1442695040888963407ULL;
		fwrite(&word, sizeof(word), 1, out);
	}
	if (!out || fclose(out))
		guest_error("%s cannot be written", path);
	hash(path, file.digest);
	for (int i = 0; i < 8; i++)
		snprintf(file.text + 2 * i, 3, "%02x", file.digest[i]);
}

void file_check(const char *path)
{
	uint8_t digest[SHA256_DIGEST_SIZE];

	hash(path, digest);
	if (memcmp(digest, file.digest, sizeof(digest)) != 0)
		guest_error("%s has changed", path);
	file.checks++;
}

const char *file_digest(void)
{
	return file.text;
}

uint64_t file_checks(void)
{
	return file.checks;
}
