# Two commands matter: `make run` and `make test`. The rest is listed by `make help`.
#
# VARIANT chooses how things are built: release (default), asan (ASan + UBSan), tsan, fuzz (clang).
# Everything built lies under build/$(VARIANT).

VARIANT ?= release
OUT     := build/$(VARIANT)
CC      := gcc
CXX     := g++

WARN    := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wno-unused-parameter
# Intrusive lists and the like: gcc 12 has been seen to read a list head once for a loop that changes it (-fno-strict-aliasing cures it).
BASE    := -std=gnu17 -D_GNU_SOURCE -fno-strict-aliasing -Isrc -I/usr/share/include/llhttp -g -fno-omit-frame-pointer
release_FLAGS := -O2
asan_FLAGS    := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
tsan_FLAGS    := -O1 -fsanitize=thread
fuzz_FLAGS    := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
ifeq ($(VARIANT),fuzz)
CC   := clang
CXX  := clang++
WARN := # gcc's warnings are the ones we keep
endif
CFLAGS  := $(BASE) $(WARN) $($(VARIANT)_FLAGS) -MMD -MP
CXXFLAGS:= -std=c++17 -Isrc -g -fno-omit-frame-pointer $($(VARIANT)_FLAGS) -MMD -MP
LDFLAGS := $($(VARIANT)_FLAGS)
LDLIBS  := -lrocksdb -lpq -lcurl -lhiredis -lssl -lcrypto -lxxhash -lmsgpackc -lprotobuf-c -lstdc++ -lpthread -lm

# Every .c below src is the server's, but for main.c (the program) and src/load (another program).
LIB_SRC  := $(filter-out src/main.c,$(wildcard src/*.c src/[a-km-z]*/*.c src/l[a-np-z]*/*.c))
LIB_CXX  := $(wildcard src/*/*.cc)
LIB_OBJ  := $(LIB_SRC:%.c=$(OUT)/%.o) $(LIB_CXX:%.cc=$(OUT)/%.o) \
            $(OUT)/llhttp/llhttp.o $(OUT)/llhttp/api.o $(OUT)/llhttp/http.o $(OUT)/gen/demo_page.o $(OUT)/gen/envelope.pb-c.o \
            $(patsubst src/store/%.sql,$(OUT)/gen/%.o,$(wildcard src/store/*.sql))
LIB      := $(OUT)/libsockudo.a
LOAD_OBJ := $(patsubst %.c,$(OUT)/%.o,$(wildcard src/load/*.c))
UNIT_SRC := $(wildcard test/unit/*/*_test.c)
UNIT     := $(UNIT_SRC:test/unit/%.c=$(OUT)/unit/%)
UNIT_LIB := $(patsubst %.c,$(OUT)/%.o,$(wildcard test/unit/support/*.c))
SIM_OBJ  := $(patsubst %.c,$(OUT)/%.o,$(wildcard test/sim/*.c))

.PHONY: all run test help deps clean unit sim lint fuzz bench format
all: $(OUT)/sockudo $(OUT)/sockudo-load $(OUT)/sockudo-sim

run: ## install what is missing, build, start the server on its defaults, show the first stream
	@tools/install-deps build
	@$(MAKE) --no-print-directory -s -j$$(nproc) $(OUT)/sockudo
	@tools/run-demo

test: deps ## install what is missing, run everything; the last line counts
	@tools/run-tests

deps: ## install the Debian packages that are missing (as root)
	@tools/install-deps

unit: $(UNIT) ## unit tests only (VARIANT=asan|tsan for the sanitizers)
	@tools/run-unit $(UNIT)

sim: $(OUT)/sockudo-sim ## simulated histories; SEED=n replays one, COUNT=n runs many
	@$(OUT)/sockudo-sim $(if $(SEED),--seed $(SEED)) $(if $(COUNT),--count $(COUNT))

lint: ## our own rules: sizes, layer order, banned calls
	@tools/lint

fuzz: ## run each fuzz target for SECONDS (default 60)
	@tools/run-fuzz $(or $(SECONDS_EACH),60)

bench: deps ## measure, compare with peers in the same run, print a report
	@$(MAKE) --no-print-directory -s -j$$(nproc) all bench-parts
	@bench/run

# Scale runs: test/load/README.md.
.PHONY: ai-scale-up ai-scale-down ai-scale-smoke ai-scale-five ai-scale-five-full ai-scale-100k ai-scale-results soak ai-scale-headline-plan ai-scale-soak-plan ai-s14-release-evidence calibrate
SCALE  := node test/load/ai-scale-runner.mjs
RESULTS ?= build/scale
MINUTES ?= 60
ai-scale-up: all ## five local nodes on 6001-6005, metrics on 9601-9605 (STORE=rocksdb BUS=none: without PostgreSQL and Redis)
	@tools/fleet start build/scale/fleet --nodes 5 --port 6001 --metrics-port 9601 $(if $(STORE),--store $(STORE)) $(if $(BUS),--bus $(BUS))

ai-scale-down: ## end them
	@tools/fleet stop build/scale/fleet

ai-scale-smoke: all ## five local nodes, every kind of load once, everything judged (RESULTS=folder)
	@AGAIN='make $@ RESULTS=$(RESULTS)' tools/scale-local smoke $(RESULTS) --nodes 5

ai-scale-five: all ## 2,000 appends/s in 500 streams, p99 within window + 10 ms; nodes and backends on core 0, agents on core 1
	@AGENT_CPUS=1 AGAIN='make $@ RESULTS=$(RESULTS)' tools/scale-local five-nodes $(RESULTS) --nodes 5 --workers 1 --cpus 0

ai-scale-five-full: all ## the same nodes as loaded as they can be: appends a transaction, write-ahead log, bus
	@AGENT_CPUS=1 AGAIN='make $@ RESULTS=$(RESULTS)' tools/scale-local five-nodes-full $(RESULTS) --nodes 5 --workers 1 --cpus 0

ai-scale-100k: all ## 100,000 WebSockets over six nodes of this machine; four minutes, 2 GiB
	@AGAIN='make $@ RESULTS=$(RESULTS)' tools/scale-local many-connections $(RESULTS) --nodes 6

soak: all ## five nodes under an hour of load, every subscriber's text compared, and no alert may fire (MINUTES=60, CPUS=cores for all of it)
	@AGAIN='make $@ MINUTES=$(MINUTES)' AGENT_CPUS=$(CPUS) SECONDS_MAX=$$(($(MINUTES) * 60 + 300)) \
	    SCALE_FLAGS="--duration $$(($(MINUTES) * 60)) --alertRules ops/prometheus/sockudo.rules.yml" \
	    tools/scale-local healthy-hour $(RESULTS) --nodes 5 --workers 1 $(if $(CPUS),--cpus $(CPUS))

ai-scale-results: all ## all of the above and the plans, into docs/specs/ai-transport-results; ten minutes on a quiet machine
	@tools/scale-results

ai-scale-headline-plan: ## what a million connections need
	@$(SCALE) --profile test/load/profiles/headline-1m.json --plan --command 'make $@ RESULTS=$(RESULTS)' --output $(RESULTS)/headline-1m-plan.json >/dev/null

ai-scale-soak-plan: ## what a fifth of that needs for a day
	@$(SCALE) --profile test/load/profiles/soak-20pct.json --plan --command 'make $@ RESULTS=$(RESULTS)' --output $(RESULTS)/soak-20pct-plan.json >/dev/null

ai-s14-release-evidence: all ## headline, storms and soak on prepared machines; asks for a confirmation
	@tools/release-evidence $(RESULTS)

calibrate: all ## measure this machine's coefficients for the plans
	@node test/load/calibrate.mjs

$(OUT)/chaos-shim.so: tools/chaos/shim.c
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -D_GNU_SOURCE -O2 -fPIC -shared $(WARN) -Wno-missing-prototypes -o $@ $< -ldl

.PHONY: chaos chaos-soak
chaos: all $(OUT)/chaos-shim.so ## break a fleet in every way we know (tools/chaos); ARGS="node-kill --seed 7"
	@tools/chaos/ai-chaos-runner.sh $(ARGS)

chaos-soak: all $(OUT)/chaos-shim.so ## the same for hours: ROUNDS=n, each with the next seed
	@tools/chaos/ai-chaos-runner.sh all --rounds $(or $(ROUNDS),50) $(ARGS)

format: ## lay out the C sources
	@clang-format -i $$(git ls-files 'src/*.c' 'src/*.h' 'test/*.c' 'test/*.h')

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 16

clean: ## remove everything built
	rm -rf build

$(LIB): $(LIB_OBJ)
	@rm -f $@ && ar rcs $@ $^

$(OUT)/sockudo: $(OUT)/src/main.o $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(OUT)/sockudo-load: $(LOAD_OBJ) $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# bench-parts: the programs that bench/run compares with, one per bench/*.c.
.PHONY: bench-parts
bench-parts: $(patsubst bench/%.c,$(OUT)/bench/%,$(wildcard bench/*.c))

$(OUT)/bench/%: $(OUT)/bench/%.o $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(OUT)/sockudo-sim: $(SIM_OBJ) $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# The load program's own tests link what it is made of.
$(OUT)/unit/load/%: $(OUT)/test/unit/load/%.o $(filter-out %/main.o,$(LOAD_OBJ)) $(UNIT_LIB) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)

$(OUT)/test/unit/%.o: CFLAGS += -Itest/unit/support
$(OUT)/unit/%: $(OUT)/test/unit/%.o $(UNIT_LIB) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)

$(OUT)/fuzz/%: $(OUT)/test/fuzz/%.o $(LIB)
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)

$(OUT)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<

$(OUT)/%.o: %.cc
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -c -o $@ $<

# The demo page travels inside the program.
$(OUT)/gen/%.c: src/api/%.html tools/embed
	@mkdir -p $(@D)
	@tools/embed $* $< api/$*.h > $@

# So does what is said to PostgreSQL.
$(OUT)/gen/%.c: src/store/%.sql tools/embed
	@mkdir -p $(@D)
	@tools/embed $* $< store/postgres_schema.h > $@

$(OUT)/test/unit/store/postgres_schema_test.o $(OUT)/src/store/postgres.o $(OUT)/src/store/postgres%.o $(OUT)/gen/postgres%.o: CFLAGS += -I/usr/include/postgresql

$(OUT)/gen/%.o: $(OUT)/gen/%.c
	$(CC) $(CFLAGS) -c -o $@ $<

# The Protobuf envelope of the wire.
$(OUT)/gen/%.pb-c.c $(OUT)/gen/%.pb-c.h &: src/wire/%.proto
	@mkdir -p $(@D)
	protoc-c --c_out=$(OUT)/gen -Isrc/wire $<

$(OUT)/gen/%.pb-c.o: $(OUT)/gen/%.pb-c.c
	$(CC) $(CFLAGS) -Wno-missing-braces -c -o $@ $<

$(OUT)/src/wire/binary_protobuf.o $(OUT)/src/wire/binary_protobuf_read.o: $(OUT)/gen/envelope.pb-c.h
$(OUT)/src/wire/binary_protobuf.o $(OUT)/src/wire/binary_protobuf_read.o: CFLAGS += -I$(OUT)/gen

# Node's own HTTP parser: Debian ships its C source.
$(OUT)/llhttp/%.o: /usr/share/llhttp/%.c
	@mkdir -p $(@D)
	$(CC) -O2 -g -I/usr/share/include/llhttp $($(VARIANT)_FLAGS) -c -o $@ $<

.SECONDARY:
-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
