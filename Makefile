# SPDX-License-Identifier: GPL-3.0-or-later
#
# A thin layer over meson and ninja.  `make check` and `make demo` set up a
# fresh Debian 12 machine by themselves (as root); the rest is told in README
# and HACKING.md.
#
#   make         runnable programs in build/bin/
#   make deps    install the Debian packages of packaging/debian-packages.txt
#   make demo    watch a migration of a real tree from a real NFS server
#   make check   everything that must hold; last line `N passed, N failed`
#   make soak    a thousand kills, a hundred power cuts a file system, ...: at most SOAK_SECONDS=3600
#   make bench   medians of the figures that matter
#   make clean

SOAK_SECONDS ?= 3600
PACKAGES = $(shell sed 's/\#.*//' packaging/debian-packages.txt)

all: build/build.ninja
	ninja -C build

build/build.ninja:
	@mkdir -p build
	meson setup build

# Without missing packages this is one dpkg-query.  RUNLEVEL=1 keeps the package
# scripts from starting an NFS server that nobody asked for.
deps:
	@missing=$$(dpkg-query -W -f='$${Package} $${db:Status-Abbrev}\n' $(PACKAGES) 2>/dev/null | \
	    awk -v all="$(PACKAGES)" '$$2 ~ /^.i/ { have[$$1] = 1 } \
	        END { n = split(all, p, " "); for (i = 1; i <= n; i++) if (!have[p[i]]) print p[i] }'); \
	if [ -n "$$missing" ]; then \
	    echo "installing:" $$missing; \
	    apt-get update -q && \
	    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; \
	fi

demo: deps all
	python3 tests/demo/demo.py

check: deps
	python3 tests/tools/check.py

soak: deps all
	python3 tests/tools/soak.py --seconds $(SOAK_SECONDS)

bench: deps all
	python3 tests/tools/bench.py

clean:
	rm -rf build build-asan build-clang

.PHONY: all deps demo check soak bench clean
.NOTPARALLEL:
