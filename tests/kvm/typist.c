/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints on the serial port as a driver does that polls: it looks whether the transmitter is empty,
 * then fills the FIFO. Argument 0: how many bytes. Then it waits to be told to stop, with nothing
 * that would be an exit.
 */
#include "payloads/sdk/runtime.h"

#define PORT 0x3f8
#define FCR  2
#define LSR  5
#define THRE 0x20
#define FIFO 16
#define LINE 64

static void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

static uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

void payload_main(const struct payload_params *params, unsigned int vcpu)
{
	(void)vcpu;
	out8(PORT + FCR, 1);
	for (uint64_t i = 0; i < params->args[0]; i++) {
		while (i % FIFO == 0 && !(in8(PORT + LSR) & THRE))
			__builtin_ia32_pause();
		out8(PORT, (uint8_t)(i % LINE == LINE - 1 ? '\n' : 'a' + i % LINE % 26));
	}
	while (!payload_stopping())
		payload_beat(vcpu);
}
