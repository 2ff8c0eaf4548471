# A thin front: the work is done by meson (build), scripts/ (checks) and emulator/sev-host.
.PHONY: all deps demo demo-libvirt check install deb deb-qemu qemu sbom model check-quick \
	check-qemu check-unit check-model check-kvm check-package check-emulated check-fuzz lint \
	fuzz bench bench-profile trial clean help

all: build/build.ninja
	ninja -C build

help:
	@echo 'make demo            the main job: shows sevmirror at work on emulated SEV hosts'
	@echo 'make demo-libvirt    the same by virsh: Debian hosts, a Debian guest in QEMU (builds'
	@echo '                     it)'
	@echo 'make check           all tests; ends with "N passed, N failed, N skipped"'
	@echo 'make                 build only (into build/)'
	@echo 'make check-quick     unit tests, lint of what changed, one migration: two minutes'
	@echo 'make check-qemu      the patched QEMU (builds it: 10 to 20 minutes, once)'
	@echo 'make check-RING      one ring of tests: unit, model, valgrind, kvm, package,'
	@echo '                     emulated, fuzz'
	@echo 'make install         install the command, the library and their files; takes prefix='
	@echo '                     and DESTDIR='
	@echo 'make deb             Debian packages, into build-deb/'
	@echo 'make qemu            the QEMU that migrates SEV guests (docs/qemu.md); 10 to 20'
	@echo '                     minutes, once'
	@echo 'make deb-qemu        its Debian package, qemu-system-x86-sevmirror, into build-deb/'
	@echo 'make sbom            what is linked, as SPDX: build/sevmirror.spdx.json'
	@echo 'make lint            clang-format, cppcheck, clang-tidy, shellcheck'
	@echo 'make model           the model of the protocol, searched deeper (half an hour,'
	@echo '                     8 GiB)'
	@echo 'make fuzz            the fuzzers for FUZZ_SECONDS each (default 600)'
	@echo 'make trial           random migrations with random faults (docs/hacking.md) for'
	@echo '                     TRIAL_SECONDS (default 3600) or TRIAL_COUNT migrations; SEED=N'
	@echo '                     runs that one and prints its plan'
	@echo 'make bench           measurements, ratios against peers in the same run'
	@echo 'make bench-profile   where the CPU time of a migration goes'
	@echo 'make deps            install what the build and the tests need (Debian 12 or 13,'
	@echo '                     root)'

deps:
	@scripts/deps

build/build.ninja:
	@scripts/deps
	meson setup build

install: all
	@[ -z "$(prefix)" ] || meson configure build -Dprefix="$(prefix)"
	DESTDIR="$(DESTDIR)" meson install -C build

deb:
	@scripts/deb

qemu: all
	@qemu/build

deb-qemu: all
	@qemu/package

sbom: all
	@scripts/sbom

demo: all
	@scripts/demo

demo-libvirt: all
	@scripts/demo-libvirt

check:
	@scripts/check

check-quick check-qemu check-unit check-model check-kvm check-package check-emulated check-fuzz:
	@scripts/check $(@:check-%=%)

lint:
	@scripts/check lint

fuzz:
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-600} scripts/check fuzz

model:
	@scripts/deps
	@tests/model/run deep

trial: all
	@tests/trial/run $(if $(SEED),--seed $(SEED),--first $(or $(TRIAL_FIRST),1) --continue \
		$(if $(TRIAL_COUNT),--count $(TRIAL_COUNT),--seconds $(or $(TRIAL_SECONDS),3600))) \
		build

bench: all
	@scripts/bench

bench-profile: all
	@scripts/bench --profile

clean:
	rm -rf build build-*
