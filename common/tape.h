/* tape: automatic differentiation in reverse.
 *
 * Every operation (ops.h) computes its value at once and is written down: which op it was, and on what. The record is the
 * tape. A value can only be used after it was computed, so the order of writing is an order in which every op comes after
 * its operands, and the chain rule is one loop over the tape from its newest entry to its oldest:
 *
 *     Var *h = v_tanh(v_matmul(x, W));          two entries
 *     Var *loss = v_mean(v_mul(h, h));          two more
 *     tape_backward(loss);                      now W->grad holds ∂loss/∂W
 *     tape_reset();                             the entries are gone, W and W->grad are not
 *
 * Two lifetimes, and only two. Parameters (params.h) live for the whole run. Everything an op makes lives on the tape, in an
 * arena, and ends at tape_reset, all at once. What must outlive a step, such as a recurrent state, is copied out before.
 *
 * A gradient has no memory until something flows into it. So an op whose result never reached the loss is skipped on the
 * way back, and a value that nobody differentiates (an input, a mask) costs nothing.
 *
 * Each thread has a tape of its own, made when it is first used.                                                          */
#ifndef WORKBOOK_TAPE_H
#define WORKBOOK_TAPE_H

#include "matrix.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct Var Var;

typedef void Backward(Var *y);             /* reads y->grad, adds to the gradients of y->in[] (var_grad) */

struct Var {
    Matrix value;                          /* (rows, cols)                                              */
    Matrix grad;                           /* (rows, cols); grad.at is NULL while nothing flowed in      */
    bool tracked;                          /* does a gradient lead anywhere from here?                   */
    const char *op, *where;                /* "matmul", "chapters/…/name.c:123"                          */
    Var **in;                              /* (operands)                                                 */
    int operands;
    Backward *backward;                    /* NULL for leaves and views                                  */

    Var *parent;                           /* of a view: the Var whose value and gradient it shares …    */
    int row, col, step;                    /* … and where in it the view begins; every step-th row        */

    real scalar;                           /* what an op keeps for its way back, if anything             */
    const int *index;
    Matrix kept;
    void *own;

    Var *older;                            /* the entry before this one on the tape                      */
};

/* ---- leaves: where values enter ------------------------------------------------------------------------------------ */

Var *v_const(Matrix m);                    /* a copy of m, without a gradient: an input, a mask, a state carried over */
Var *v_zeros(int rows, int cols);          /* a constant of zeros: a state before the first step                     */
Var *v_leaf(Matrix m);                     /* m itself, with a gradient (read grad after tape_backward). m must live until
                                              tape_reset, and not change before the way back has read it               */

/* ---- the way back -------------------------------------------------------------------------------------------------- */

void tape_backward(Var *loss);             /* loss (1,1). Adds ∂loss/∂p to the gradient of every parameter p it came from */
void tape_reset(void);                     /* ends the life of every Var made since the last reset                        */
void tape_free(void);                      /* gives this thread's tape back to the system                                 */
bool tape_is_recording(void);
bool tape_record(bool on);                 /* false: compute values only, as evaluation does. Returns what it was before  */

size_t tape_bytes(void);                   /* the most that the tape has held at once, in bytes                           */
void   tape_print(FILE *out);              /* the entries, oldest first: op, shape, operands, value and gradient if small */

/* ---- for those who write ops --------------------------------------------------------------------------------------- */

/* tape_push: a new entry of shape (rows, cols), its value not cleared, tracked if any operand is. `in` is copied.         */
Var   *tape_push(const char *op, const char *where, Var *const *in, int operands, int rows, int cols, Backward *backward);
Matrix tape_matrix(int rows, int cols);    /* scratch that lives until tape_reset, not cleared */
void  *tape_room(size_t bytes);            /* the same, for anything                           */
int   *tape_ints(const int *ints, int n);  /* a copy that lives until tape_reset               */
Matrix var_grad(Var *v);                   /* v's gradient, made of zeros when it is first asked for */
Matrix var_grad_into(Var *v, Into *into);  /* the same, but when it is first asked for its numbers are not cleared, and *into is
                                              SET: to be written, all of them; later it is ADD */

#endif
