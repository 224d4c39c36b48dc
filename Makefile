# The workbook. `make help` lists the targets; ARGS='…' passes options to a chapter.
#
# Results are the same bytes for any compiler, optimization level, vector width and number of threads (docs/design.md,
# section 5). That is why the flags in ALWAYS may not be taken away, and why -ffast-math is nowhere.

CC ?= cc
ifeq ($(origin CC),default)
CC := cc
endif
MODE ?= release
ARGS ?=

ALWAYS := -std=c11 -D_POSIX_C_SOURCE=200809L -Icommon -ffp-contract=off -fno-math-errno -fno-trapping-math -pthread
WARN   := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wconversion $(WERROR)
Q      := $(if $(V),,@)#                         make V=1 shows the commands

# A flag is used where the compiler knows it. Those beyond -march=native are for speed alone: whole AVX-512 registers; no loop
# turned into memcpy, which would send a product's sums through memory; loops of 16 left for the vectorizer.
probe  = $(shell printf 'int main(void){return 0;}' | $(CC) -Werror $(1) -x c - -o /dev/null 2>/dev/null && echo '$(1)')
ifndef OPT
OPT   := -O3 $(foreach flag,-march=native -mprefer-vector-width=512 -fno-tree-loop-distribute-patterns \
                 --param=max-completely-peel-times=8,$(call probe,$(flag)))
endif

flags.release := $(OPT)
flags.debug   := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
flags.double  := $(OPT) -DREAL_DOUBLE

chapters := $(sort $(notdir $(wildcard chapters/*)))
common   := $(sort $(wildcard common/*.c))
tests    := $(sort $(basename $(notdir $(wildcard tests/test_*.c))))
doubles  := $(filter test_gradients test_cells test_attention test_chapter%,$(tests))
programs := $(if $(filter release,$(MODE)),build,build/$(MODE))

ifeq ($(filter release debug double,$(MODE)),)
$(error MODE=$(MODE): expected release, debug or double)
endif

.PHONY: help all built chapters quijote league plots bench test clean distclean FORCE $(chapters:%=run-%)
.DELETE_ON_ERROR:
.SECONDARY:

help:                ## this list
	@printf 'make TARGET [ARGS="--options of the chapter"] [CC=…] [OPT=…] [MODE=release|debug|double]\n\n'
	@sed -n 's/^\([a-zA-Z-]*\):[^#]*## *\(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'
	@printf '\nchapters:\n'; for c in $(chapters); do printf '  make chapter-%s    %s\n' "$${c%%_*}" "$$c"; done

all: $(chapters:%=$(programs)/%) ## build every chapter, run nothing

chapter-NN:          ## build chapter NN, run it, draw its plots
	@echo "make chapter-NN: write the chapter's number for NN, as in make chapter-01"; exit 2

chapters: $(chapters:%=run-%) ## build and run every chapter, one after another

quijote:             ## download Don Quijote to data/quijote.txt
	@sh common/corpus/download.sh data/quijote.txt

league: $(patsubst %,$(programs)/%,$(filter 05_% 06_% 07_% 08_%,$(chapters))) ## chapters 05 to 08 beside each other
	@BIN=$(programs) sh plots/league.sh

plots:               ## draw every CSV under out/ as PNG and SVG
	@sh plots/run.sh out

bench: build/bench   ## measure the kernels beside the core's peak
	@build/bench

built: all $(filter-out $(programs)/test_gradients,$(tests:%=$(programs)/%)) $(doubles:%=build/double/%)

test: built          ## run all tests; the last line counts them
	@MODE=$(MODE) CC='$(CC)' sh tests/run.sh

clean:               ## remove what was built; keep downloads and results
	rm -rf build

distclean:           ## remove everything that is not in git
	rm -rf build out data work

# ---- chapters ----------------------------------------------------------------------------------------------------------

define chapter
.PHONY: chapter-$(firstword $(subst _, ,$(1)))
chapter-$(firstword $(subst _, ,$(1))): run-$(1)
run-$(1): $(programs)/$(1)
	$(programs)/$(1) $$(ARGS)
	@out=out/$(1); set -- $$(ARGS); while [ $$$$# -gt 0 ]; do case $$$$1 in --out) out=$$$$2 ;; --out=*) out=$$$${1#--out=} ;; esac; shift; done; \
	    sh plots/run.sh --optional "$$$$out"
endef
$(foreach c,$(chapters),$(eval $(call chapter,$(c))))

# `make chapters` runs them one at a time, in order, even under make -j: each uses all the processors itself.
$(foreach i,$(shell seq 2 $(words $(chapters))),$(eval run-$(word $(i),$(chapters)): | \
    $(if $(filter chapters,$(MAKECMDGOALS)),run-$(word $(shell expr $(i) - 1),$(chapters)))))

# ---- building ----------------------------------------------------------------------------------------------------------

build/pastiche.c: common/corpus/pastiche.txt
	@mkdir -p build
	@{ printf '#include <stddef.h>\nconst unsigned char pastiche[] = {\n'; od -An -v -tu1 $< | sed 's/  */,/g; s/^,//; s/$$/,/'; \
	   printf '};\nconst size_t pastiche_size = sizeof pastiche;\n'; } > $@

# One folder of objects a mode. `flags` changes when compiler or flags do, and then everything is built anew.
define mode
build/$(1)/flags: FORCE
	@mkdir -p build/$(1)
	@echo '$(CC) $(ALWAYS) $(flags.$(1))' | cmp -s - $$@ || echo '$(CC) $(ALWAYS) $(flags.$(1))' > $$@
build/$(1)/%.o: %.c build/$(1)/flags
	@mkdir -p $$(@D)
	@echo '  $(CC) $(1) $$<'
	$(Q)$(CC) $(flags.$(1)) $(ALWAYS) $(WARN) -MMD -MP -c -o $$@ $$<
build/$(1)/pastiche.o: build/pastiche.c build/$(1)/flags
	@mkdir -p $$(@D)
	$(Q)$(CC) $(ALWAYS) -c -o $$@ $$<
build/$(1)/core.a: $(common:%.c=build/$(1)/%.o) build/$(1)/pastiche.o
	@rm -f $$@
	@ar rcs $$@ $$^
$(2)/test_%: build/$(1)/tests/test_%.o build/$(1)/core.a
	$(Q)$(CC) $(ALWAYS) $(flags.$(1)) -o $$@ $$^ -lm
$(2)/bench: build/$(1)/tests/bench.o build/$(1)/core.a
	$(Q)$(CC) $(ALWAYS) $(flags.$(1)) -o $$@ $$^ -lm
endef
$(eval $(call mode,release,build))
$(eval $(call mode,debug,build/debug))
$(eval $(call mode,double,build/double))

define program
$(3)/$(1): $(patsubst %.c,build/$(2)/%.o,$(wildcard chapters/$(1)/*.c)) build/$(2)/core.a
	@echo '  $(CC) $(2) $$@'
	$(Q)$(CC) $(ALWAYS) $(flags.$(2)) -o $$@ $$^ -lm
endef
$(foreach c,$(chapters),$(eval $(call program,$(c),release,build)))
$(foreach c,$(chapters),$(eval $(call program,$(c),debug,build/debug)))
$(foreach c,$(chapters),$(eval $(call program,$(c),double,build/double)))

-include $(shell find build -name '*.d' 2>/dev/null)
