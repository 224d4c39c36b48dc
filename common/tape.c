#include "tape.h"

#include <math.h>
#include <string.h>

static _Thread_local struct {
    Arena arena;
    Var *newest;
    bool silent;                           /* tape_record(false) */
} tape;

static Var *new_var(const char *op, const char *where)
{
    Var *v = arena_take(&tape.arena, sizeof *v);
    *v = (Var){ .op = op, .where = where, .older = tape.newest };
    tape.newest = v;
    return v;
}

Var *v_const(Matrix m)
{
    Var *v = new_var("const", "");
    v->value = mat_take(&tape.arena, m.rows, m.cols);
    mat_copy(v->value, m);
    return v;
}

Var *v_zeros(int rows, int cols)
{
    Var *v = new_var("zeros", "");
    v->value = mat_take(&tape.arena, rows, cols);
    mat_fill(v->value, 0);
    return v;
}

Var *v_leaf(Matrix m)
{
    Var *v = new_var("leaf", "");
    v->value = m;
    v->tracked = !tape.silent;
    return v;
}

Var *tape_push(const char *op, const char *where, Var *const *in, int operands, int rows, int cols, Backward *backward)
{
    Var *v = new_var(op, where);
    v->in = arena_take(&tape.arena, (size_t)operands * sizeof *in);
    v->operands = operands;
    for (int i = 0; i < operands; i++) {
        v->in[i] = in[i];
        v->tracked = v->tracked || (in[i]->tracked && !tape.silent);
    }
    v->value = mat_take(&tape.arena, rows, cols);
    v->backward = backward;
    return v;
}

Matrix tape_matrix(int rows, int cols)
{
    return mat_take(&tape.arena, rows, cols);
}

void *tape_room(size_t bytes)
{
    return arena_take(&tape.arena, bytes);
}

int *tape_ints(const int *ints, int n)
{
    int *copy = arena_take(&tape.arena, (size_t)n * sizeof *copy);
    memcpy(copy, ints, (size_t)n * sizeof *copy);
    return copy;
}

Matrix var_grad(Var *v)
{
    if (!v->grad.at && v->parent) {
        Matrix whole = var_grad(v->parent);
        v->grad = mat_cols(mat_every(whole, v->row, v->step, v->value.rows), v->col, v->value.cols);
    } else if (!v->grad.at) {
        v->grad = mat_take(&tape.arena, v->value.rows, v->value.cols);
        mat_fill(v->grad, 0);
    }
    return v->grad;
}

Matrix var_grad_into(Var *v, Into *into)
{
    *into = v->grad.at || v->parent ? ADD : SET;
    if (*into == ADD) return var_grad(v);
    return v->grad = mat_take(&tape.arena, v->value.rows, v->value.cols);
}

void tape_backward(Var *loss)
{
    CHECK(loss->value.rows == 1 && loss->value.cols == 1, "%s at %s is (%d,%d); a loss is (1,1)",
          loss->op, loss->where, loss->value.rows, loss->value.cols);
    CHECK(loss->tracked, "%s at %s depends on no parameter", loss->op, loss->where);
    for (Var *v = tape.newest; v; v = v->older)          /* an earlier loss may have left gradients between here and the leaves */
        if (v->operands) v->grad.at = NULL;
    mat_fill(var_grad(loss), 1);
    for (Var *v = tape.newest; v; v = v->older)
        if (v->backward && v->tracked && v->grad.at) v->backward(v);
}

void tape_reset(void)
{
    arena_reset(&tape.arena);
    tape.newest = NULL;
}

void tape_free(void)
{
    tape_reset();
    arena_free(&tape.arena);
}

bool tape_is_recording(void)
{
    return !tape.silent;
}

bool tape_record(bool on)
{
    bool before = !tape.silent;
    tape.silent = !on;
    return before;
}

size_t tape_bytes(void) { return tape.arena.peak; }

/* ---- printing ------------------------------------------------------------------------------------------------------ */

static Var *oldest_first(Var *v, Var *printed)
{
    while (v->older != printed) v = v->older;
    return v;
}

static int number_of(const Var *v)
{
    int number = 0;
    for (const Var *u = tape.newest; u; u = u->older) number += u == v || number > 0;
    return number;                         /* 0: not on the tape, so a parameter */
}

static void print_matrix(FILE *out, const char *name, Matrix m)
{
    enum { SMALL = 12 };
    if (!m.at || mat_size(m) > SMALL) return;
    fprintf(out, "  %s", name);
    for (int r = 0; r < m.rows; r++)
        for (int c = 0; c < m.cols; c++) fprintf(out, "%s%.4g", c ? " " : r ? " ; " : " ", (double)mat_row(m, r)[c]);
}

void tape_print(FILE *out)
{
    Var *printed = NULL;
    while (printed != tape.newest) {
        Var *v = oldest_first(tape.newest, printed);
        fprintf(out, "%4d  %-14s (%d,%d)", number_of(v), v->op, v->value.rows, v->value.cols);
        for (int i = 0; i < v->operands; i++) {
            int number = number_of(v->in[i]);
            if (number) fprintf(out, " #%d", number);
            else fprintf(out, " %s", v->in[i]->op);
        }
        print_matrix(out, "value", v->value);
        print_matrix(out, "grad", v->grad);
        fputc('\n', out);
        printed = v;
    }
}
