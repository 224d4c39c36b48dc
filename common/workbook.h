/* The core, for a chapter to include; docs/design.md says what each module is for. Chapters on pairs of sequences, from 06 on,
 * include trial.h as well.                                                                                                */
#ifndef WORKBOOK_H
#define WORKBOOK_H

#include "arena.h"
#include "attention.h"
#include "cells.h"
#include "check.h"
#include "checkpoint.h"
#include "cli.h"
#include "maths.h"
#include "matrix.h"
#include "ngrams.h"
#include "ops.h"
#include "output.h"
#include "params.h"
#include "progress.h"
#include "real.h"
#include "rng.h"
#include "tape.h"
#include "text.h"
#include "threads.h"

#endif
