/* attention: the two scores of chapter 07 and the weighted sum, for a whole batch at once; and the heads of chapter 08.
 *
 * Each of B sequences asks one question, its query, of S places of its own. K and X have the places of all sequences with
 * time in rows, as the cells give them: place s of sequence b is row s·B + b.
 *
 *     scores     E[b,s] = q[b] · K[s,b]                or   va · tanh(q[b] + K[s,b])
 *     weights    A = softmax of E's rows, where the mask is not 0                     (v_softmax)
 *     context    C[b] = Σₛ A[b,s] X[s,b]
 *
 * Chapter 07 builds all three from visible ops, a sequence at a time; tests/test_attention.c holds the two equal. q and K must
 * not be the same Var, nor views that share numbers: their gradients are added to side by side. Results live until tape_reset.
 * `where` is supplied as in ops.h.                                                                                         */
#ifndef WORKBOOK_ATTENTION_H
#define WORKBOOK_ATTENTION_H

#include "rng.h"
#include "tape.h"

/* q (B,D), K (S·B,D) → E (B,S)                       dq[b] += Σₛ dE[b,s] K[s,b]      dK[s,b] += dE[b,s] q[b]
 * Source: Luong, Pham and Manning 2015, "dot".                                                                            */
Var *v_score_dot(const char *where, Var *q, Var *K);

/* q (B,D), K (S·B,D), va (1,D) → E (B,S)             with y = tanh(q[b] + K[s,b]) and d = dE[b,s] va ⊙ (1 - y²):
 *                                                    dq[b] += d,  dK[s,b] += d,  dva += dE[b,s] y
 * Source: Bahdanau, Cho and Bengio 2015, A.1.2.                                                                           */
Var *v_score_additive(const char *where, Var *q, Var *K, Var *va);

/* A (B,S), X (S·B,D) → C (B,D)                       dA[b,s] += dC[b] · X[s,b]       dX[s,b] += A[b,s] dC[b]              */
Var *v_context(const char *where, Var *A, Var *X);

/* ---- heads ------------------------------------------------------------------------------------------------------------
 *
 * v_attention: what chapter 08 calls attention, all of it, for B sequences and all heads. Here a sequence's rows lie together:
 * step t of sequence b is row b·T + t of Q, and place s of it row b·S + s of K and V.
 *
 *     Q (B·T,D), K and V (B·S,D)  →  Y (B·T,D)           head h owns the columns h·D/heads …, of width d = D/heads
 *     P = softmax(Q/√d Kᵀ) over the s that may be seen,  Y = dropout(P) V                      for each b and h
 *
 * Place s of sequence b may be seen from step t if s < seen.lengths[b] (NULL: any s), and, where seen.causal, if s ≤ t + S - T:
 * the steps are the last T of the S places. What may not be seen has the weight 0 exactly, and is mostly not even computed; from a
 * step that may see nothing comes a row of zeros. The sums have the order of chapter 08's visible way, so the two agree to the
 * last bit. lengths (B) is copied; rng may be NULL where dropout is 0. Source: Vaswani et al. 2017, section 3.2.          */
typedef struct { int B; bool causal; const int *lengths; } Seen;

Var *v_attention(const char *where, Var *Q, Var *K, Var *V, int heads, Seen seen, double dropout, Rng *rng);

/* The weights P of step t in head h, over the S places, of a Y that v_attention made; before dropout; until tape_reset.   */
const real *attention_weights(const Var *Y, int b, int h, int t);

#define v_attention(...)      v_attention(HERE, __VA_ARGS__)
#define v_score_dot(...)      v_score_dot(HERE, __VA_ARGS__)
#define v_score_additive(...) v_score_additive(HERE, __VA_ARGS__)
#define v_context(...)        v_context(HERE, __VA_ARGS__)

#endif
