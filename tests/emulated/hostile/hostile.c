/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worst guest of the emulator's QEMU: runs in place of the firmware, at ring 0 and with all of
 * the physical address space, and gives the PSP's mailbox and VMRUN what no driver would. It passes
 * when the machine still answers. What it does follows from the seed.
 *
 * Memory: itself below 2 MiB, its tools at 4 MiB, the arena that it lets others write to from 16
 * MiB.
 */
#include <stdbool.h>
#include <stdint.h>

#define ROUNDS_MAILBOX 3000
#define ROUNDS_VMRUN   3000

#define IDT	    0x400000UL
#define HSAVE	    0x401000UL
#define ARENA	    0x1000000UL
#define ARENA_PAGES 4096
#define BAR_MAILBOX 0xe0000000UL
#define BAR_MSIX    0xe0100000UL
#define LAPIC	    0xfee00000UL
#define BEYOND_RAM  0x700000000UL
#define CBIT	    (1UL << 47)

#define REG_CMDRESP   0x10580
#define REG_CMDBUF_LO 0x105e0
#define REG_CMDBUF_HI 0x105e4
#define RESP	      (1u << 31)

extern uint64_t seed;
extern char on_interrupt[], on_exception[], on_exception_code[];
void vmrun(uint64_t vmcb_pa);
void hostile(void);

uint64_t exceptions;
static uint64_t state; /* of random64(): not seed itself, which shares a page with code */
static uint64_t exits[4]; /* invalid, NPF, interrupt, other */

static void outb(uint16_t port, uint8_t v)
{
	asm volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static void outl(uint16_t port, uint32_t v)
{
	asm volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static uint32_t inl(uint16_t port)
{
	uint32_t v;

	asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static void wrmsr(uint32_t msr, uint64_t v)
{
	asm volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)));
}

static void print(const char *s)
{
	for (; *s; s++)
		outb(0x3f8, *s);
}

static void print_number(uint64_t v)
{
	char digits[21];
	int i = 20;

	digits[i] = 0;
	do
		digits[--i] = '0' + v % 10;
	while (v /= 10);
	print(digits + i);
}

static uint64_t random64(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * 0x2545f4914f6cdd1dULL;
}

static uint64_t below(uint64_t n)
{
	return (random64() >> 11) % n;
}

static uint64_t arena_page(void)
{
	return ARENA + below(ARENA_PAGES) * 4096;
}

/* A system physical address of every kind that there is; only the arena is RAM. */
static uint64_t any_address(void)
{
	switch (below(10)) {
	case 0:
		return BAR_MAILBOX + (below(2) ? REG_CMDRESP & ~15UL : below(0x20000));
	case 1:
		return BAR_MSIX + below(4096);
	case 2:
		return LAPIC + below(4096);
	case 3:
		return BEYOND_RAM + below(1UL << 40);
	case 4:
		return random64() | 1UL << 44;
	case 5:
		return arena_page() | CBIT;
	case 6:
		return arena_page() + below(4096);
	default:
		return arena_page();
	}
}

static void volatile_write(uint64_t pa, uint32_t v)
{
	*(volatile uint32_t *)pa = v;
}

static uint32_t volatile_read(uint64_t pa)
{
	return *(volatile uint32_t *)pa;
}

/* A command buffer: words that mean something in some command, at random places. */
static void fill_command(uint64_t pa)
{
	for (int i = 0; i < 32; i++) {
		uint64_t word;

		switch (below(6)) {
		case 0:
			word = any_address();
			break;
		case 1:
			word = below(8) | below(20) << 32;
			break;
		case 2:
			word = below(0x10000) & ~15UL;
			break;
		case 3:
			word = random64();
			break;
		default:
			word = arena_page();
		}
		*(volatile uint32_t *)(pa + 8 * i) = word;
		*(volatile uint32_t *)(pa + 8 * i + 4) = word >> 32;
	}
}

/* Spec: "while the command executes, RESP is clear". An answer that does not come is a hang. */
static bool command(uint32_t number, uint64_t buffer)
{
	volatile_write(BAR_MAILBOX + REG_CMDBUF_LO, buffer);
	volatile_write(BAR_MAILBOX + REG_CMDBUF_HI, buffer >> 32);
	volatile_write(BAR_MAILBOX + REG_CMDRESP, number << 16 | below(2));
	for (uint64_t i = 0; i < 1000000000; i++)
		if (volatile_read(BAR_MAILBOX + REG_CMDRESP) & RESP)
			return true;
	return false;
}

static bool mailbox_round(void)
{
	static const uint8_t known[] = { 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09,
					 0x0a, 0x0b, 0x0c, 0x0d, 0x20, 0x21, 0x22, 0x23, 0x24,
					 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x40, 0x41, 0x42,
					 0x43, 0x44, 0x50, 0x51, 0x52, 0x53, 0x60, 0x61 };
	uint64_t buffer = any_address();
	uint32_t number = below(8) ? known[below(sizeof(known))] : below(0x800);

	if (buffer >= ARENA && buffer + 512 < ARENA + ARENA_PAGES * 4096)
		fill_command(buffer);
	if (!below(4))
		volatile_write(BAR_MAILBOX + below(0x20000 / 4) * 4, random64());
	if (!below(4))
		*(volatile uint8_t *)(BAR_MAILBOX + below(0x20000)) = random64();
	/* What the scribbling started has to end first. */
	for (uint64_t i = 0; i < 1000; i++)
		(void)volatile_read(BAR_MAILBOX + REG_CMDRESP);
	return command(number, buffer);
}

/*
 * The arena's pages have kinds: of each 16 the first eight are tables, four levels of the guest's
 * and four of nested ones, the others code. A table leads to tables of the next level, now and then
 * elsewhere.
 */
#define GUEST_TABLES  0
#define NESTED_TABLES 4
#define CODE	      8

static uint64_t page_of_kind(uint64_t kind)
{
	return ARENA + (below(ARENA_PAGES / 16) * 16 + kind) * 4096;
}

static uint64_t leaf(void)
{
	return below(4) ? page_of_kind(CODE + below(8)) : arena_page();
}

static void fill_table(uint64_t pa)
{
	uint64_t kind = pa / 4096 % 16;

	for (int i = 0; i < 512; i++) {
		uint64_t entry = kind % 4 == 3 ? leaf() : page_of_kind(kind + 1);

		if (!below(32))
			entry = any_address() & ~0xfffUL;
		/* The timer's interrupts come through it. */
		if (entry == LAPIC)
			entry = BEYOND_RAM;
		if (below(64))
			entry |= 7;
		if (!below(64))
			entry |= random64() & 0x8000000000000fffUL;
		if (below(2) && kind < NESTED_TABLES)
			entry |= CBIT;
		*(volatile uint64_t *)(pa + 8 * i) = entry;
	}
	/*
	 * Most guests see the arena where it is: 2 MiB pages in the third level, reached through
	 * the first entries.
	 */
	if (kind == NESTED_TABLES + 2 && below(8))
		for (uint64_t i = ARENA >> 21; i < (ARENA + ARENA_PAGES * 4096) >> 21; i++)
			*(volatile uint64_t *)(pa + 8 * i) = i << 21 | 0x87;
}

/* Guest code: what is intercepted or asks for help in decoding, between accesses to memory. */
static void fill_code(uint64_t pa)
{
	static const uint8_t snippets[][8] = {
		{ 0x0f, 0x20, 0xc0, 0x90 }, /* mov %cr0, %rax */
		{ 0x44, 0x0f, 0x20, 0xc1, 0x90 }, /* mov %cr8, %rcx */
		{ 0x41, 0x0f, 0x22, 0xdf }, /* mov %r15, %cr3 */
		{ 0x0f, 0x21, 0xf8, 0x90 }, /* mov %dr7, %rax */
		{ 0x0f, 0x01, 0x38, 0x90 }, /* invlpg (%rax) */
		{ 0x0f, 0x01, 0xdf, 0x90 }, /* invlpga */
		{ 0x0f, 0x01, 0xd8, 0x90 }, /* vmrun */
		{ 0x0f, 0x01, 0xda, 0x90 }, /* vmload */
		{ 0x0f, 0x01, 0xd9, 0x90 }, /* vmmcall */
		{ 0x0f, 0x09, 0x0f, 0x08 }, /* wbinvd; invd */
		{ 0xcd, 0x80, 0xcc, 0xce }, /* int $128; int3; into */
		{ 0xf4, 0x0f, 0xa2, 0x90 }, /* hlt; cpuid */
		{ 0xf3, 0xa4, 0xf3, 0xab }, /* rep movsb; rep stosl */
		{ 0xf3, 0x6e, 0xf3, 0x6d }, /* rep outsb; rep insl */
		{ 0x48, 0x8b, 0x00, 0x48, 0x89, 0x01 }, /* mov (%rax), %rax; mov %rax, (%rcx) */
		{ 0x48, 0x89, 0x81, 0xfc, 0x0f, 0,
		  0 }, /* mov %rax, 0xffc(%rcx): often across pages */
		{ 0xf0, 0x48, 0x0f, 0xb1, 0x0a }, /* lock cmpxchg %rcx, (%rdx) */
		{ 0x48, 0x0f, 0xc7, 0xf0 }, /* rdrand %rax */
		{ 0xff, 0xe0, 0xff, 0xd1 }, /* jmp *%rax; call *%rcx */
		{ 0xb9, 0x31, 0x01, 0x01, 0xc0, 0x0f, 0x32 }, /* rdmsr of SEV_STATUS */
		{ 0x0f, 0x01, 0x10, 0x0f, 0x01, 0x18 }, /* lgdt (%rax); lidt (%rax) */
	};

	for (int i = 0; i < 512; i++) {
		const uint8_t *snippet = snippets[below(sizeof(snippets) / sizeof(snippets[0]))];

		for (int j = 0; j < 8; j++)
			*(volatile uint8_t *)(pa + 8 * i + j) =
				below(64) ? snippet[j] ? snippet[j] : 0x90 : random64();
	}
}

static void fill_arena(void)
{
	for (uint64_t page = 0; page < ARENA_PAGES; page++) {
		if (page % 16 < CODE)
			fill_table(ARENA + page * 4096);
		else
			fill_code(ARENA + page * 4096);
	}
}

static void set64(uint64_t pa, uint32_t at, uint64_t v)
{
	*(volatile uint64_t *)(pa + at) = v;
}

static void set32(uint64_t pa, uint32_t at, uint32_t v)
{
	*(volatile uint32_t *)(pa + at) = v;
}

static uint64_t root(uint64_t kind)
{
	uint64_t pa = page_of_kind(kind);

	if (!below(32))
		return any_address();
	if (!below(4))
		fill_table(pa);
	return pa;
}

/* A sane value, or one time in n a wild one. */
static uint64_t mostly(uint64_t sane, uint64_t n)
{
	return below(n) ? sane : random64();
}

/* Offsets: APM volume 2, appendix B. */
static void fill_control(uint64_t vmcb)
{
	static const uint32_t asids[] = { 1, 1, 1, 2, 2, 3, 15, 16, 17, 0x7fff, 0, 0xffffffff };

	for (uint32_t at = 0; at < 0x400; at += 8)
		set64(vmcb, at, below(4) ? 0 : random64());
	if (below(2))
		for (uint32_t at = 0; at < 0x10; at += 4)
			set32(vmcb, at, 0);
	/*
	 * Interrupts, ports, MSRs, shutdown and GIF are ours, or the guest would own the machine.
	 */
	set32(vmcb, 0x0c, (uint32_t)mostly(0, 2) | 1u | 1u << 27 | 1u << 28 | 1u << 31);
	set32(vmcb, 0x10, (uint32_t)mostly(0, 2) | 1u << 4 | 1u << 5 | (below(32) ? 1 : 0));
	set64(vmcb, 0x40, below(16) ? arena_page() : any_address());
	set64(vmcb, 0x48, below(16) ? arena_page() : any_address());
	set32(vmcb, 0x58, asids[below(sizeof(asids) / sizeof(asids[0]))]);
	set32(vmcb, 0x60, (uint32_t)mostly(0, 4) | 1u << 24);
	set64(vmcb, 0x90, below(16) ? 1 | below(2) << 1 : below(8));
	if (!below(4))
		set64(vmcb, 0xa8, mostly(random64() & 0xffffffff00000bffUL, 4));
	else
		set64(vmcb, 0xa8, 0);
	set64(vmcb, 0xb0, root(NESTED_TABLES));
}

static void fill_save(uint64_t vmcb)
{
	uint64_t save = vmcb + 0x400;
	/* Without nested and without guest paging it would run over us. */
	bool paged = below(2) || !(*(volatile uint8_t *)(vmcb + 0x90) & 1);

	/* Segments: flat ones of 64 or 32 bits, or anything. */
	for (uint32_t at = 0; at < 0x100; at += 16) {
		set64(save, at, mostly(at == 16 ? 0xffffffff029b0008 : 0xffffffff00930010, 8));
		if (at == 16 && !paged)
			set64(save, at, 0xffffffff0c9b0008);
		set64(save, at + 8, mostly(0, 8));
	}
	set64(save, 0xd0, mostly(paged ? 0x1d00 : 0x1000, 16)); /* EFER */
	set64(save, 0x148, mostly(below(2) ? 0x6b0 : 0x20, 16)); /* CR4 */
	set64(save, 0x150, mostly(root(GUEST_TABLES) | (below(2) ? CBIT : 0), 16)); /* CR3 */
	set64(save, 0x158, paged ? mostly(0x11, 16) | 0x80000001 : mostly(0x11, 16)); /* CR0 */
	set64(save, 0x160, mostly(0x400, 16));
	set64(save, 0x168, mostly(0xffff0ff0, 16));
	set64(save, 0x170, mostly(2, 2) & 0x3f7fd7); /* RFLAGS */
	set64(save, 0x178, mostly((paged ? random64() >> 17 : leaf()) & ~7UL, 8));
	set64(save, 0x1d8, mostly(below(1UL << 30), 4));
	set64(save, 0x1f8, mostly(below(1UL << 30), 4));
}

static void vmrun_round(void)
{
	uint64_t vmcb = arena_page();
	int64_t code;

	fill_code(page_of_kind(CODE + below(8)));
	fill_control(vmcb);
	fill_save(vmcb);
	if (!below(16))
		vmcb = any_address();
	vmrun(vmcb);
	if (vmcb < ARENA || vmcb >= ARENA + ARENA_PAGES * 4096 || (vmcb & 0xfff))
		return;
	code = *(volatile int64_t *)(vmcb + 0x70);
	exits[code == -1 ? 0 : code == 0x400 ? 1 : code == 0x60 ? 2 : 3]++;
}

static void set_gate(int vector, const char *handler)
{
	uint64_t at = (uint64_t)handler, *gate = (uint64_t *)(IDT + vector * 16UL);

	gate[0] = (at & 0xffff) | 24UL << 16 | 0x8e00UL << 32 | (at >> 16 & 0xffff) << 48;
	gate[1] = at >> 32;
}

static void set_up_interrupts(void)
{
	struct __attribute__((packed)) {
		uint16_t limit;
		uint64_t base;
	} idtr = { 0xfff, IDT };

	for (int i = 0; i < 256; i++)
		set_gate(i, i >= 32				      ? on_interrupt :
			    i == 8 || (i >= 10 && i <= 14) || i == 17 ? on_exception_code :
									on_exception);
	asm volatile("lidt %0" : : "m"(idtr));
	/* The PICs at vectors 32 and 40, only the timer unmasked, and that at 1 kHz. */
	outb(0x20, 0x11), outb(0x21, 32), outb(0x21, 4), outb(0x21, 1);
	outb(0xa0, 0x11), outb(0xa1, 40), outb(0xa1, 2), outb(0xa1, 1);
	outb(0x21, 0xfe), outb(0xa1, 0xff);
	*(volatile uint32_t *)(LAPIC + 0xf0) = 0x1ff;
	*(volatile uint32_t *)(LAPIC + 0x350) = 0x700;
	outb(0x43, 0x34), outb(0x40, 1193 & 0xff), outb(0x40, 1193 >> 8);
	asm volatile("sti");
}

static bool find_psp(void)
{
	for (uint32_t device = 0; device < 32; device++) {
		uint32_t config = 0x80000000 | device << 11;

		outl(0xcf8, config);
		if (inl(0xcfc) != 0x14561022)
			continue;
		outl(0xcf8, config | 0x18), outl(0xcfc, BAR_MAILBOX);
		outl(0xcf8, config | 0x24), outl(0xcfc, BAR_MSIX);
		outl(0xcf8, config | 0x04), outl(0xcfc, 6);
		return true;
	}
	return false;
}

static void verdict(bool ok, const char *what, uint64_t n)
{
	print(ok ? "ok - " : "not ok - ");
	print(what);
	print(" (");
	print_number(n);
	print(")\n");
}

void hostile(void)
{
	bool answered = find_psp();
	uint64_t n;

	state = seed;
	set_up_interrupts();
	wrmsr(0xc0010117, HSAVE);
	verdict(answered, "the PSP is there", 1);
	for (n = 0; answered && n < ROUNDS_MAILBOX; n++)
		answered = mailbox_round();
	verdict(answered, "every command was answered", n);
	fill_arena();
	for (n = 0; n < ROUNDS_VMRUN; n++)
		vmrun_round();
	verdict(true, "hostile VMCBs were survived", n);
	verdict(exits[0], "some refused", exits[0]);
	verdict(exits[1], "some ended in nested page faults", exits[1]);
	verdict(exits[2], "some by the timer", exits[2]);
	verdict(exits[3], "some ended otherwise", exits[3]);
	verdict(exceptions, "some raised exceptions", exceptions);
	verdict(command(0x04, ARENA), "the PSP still answers", 1);
	print("1..9\n");
	/* Reset; with -no-reboot the machine ends. */
	for (;;)
		outb(0xcf9, 6);
}
