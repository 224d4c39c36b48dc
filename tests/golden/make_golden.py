#!/usr/bin/env python3
"""Golden values: what PyTorch computes, in float64, for the ops, cells, optimizers and batches that tests/test_golden.c checks.

    python3 tests/golden/make_golden.py > tests/golden/golden.h

Nobody needs this to run the tests: the header holds the figures. Inputs are multiples of 1/4096, which a float holds exactly
and nine decimal digits bring back, so that both sides start from the same numbers. A loss is the mean of W * Y, W random.
"""
import math

import torch
import torch.nn.functional as F

torch.manual_seed(1)
torch.set_default_dtype(torch.float64)

B, D, H, V, T = 2, 3, 4, 5, 6
print(f"""/* Made by tests/golden/make_golden.py with PyTorch {torch.__version__}, in float64. Do not edit: run the script.
 *
 * name_W: weights of the loss mean(W * Y).  name_Y: the result.  name_dX: the derivative of the loss by X.                */
#ifndef WORKBOOK_GOLDEN_H
#define WORKBOOK_GOLDEN_H

typedef struct {{ int rows, cols; const double *at; }} Golden;
""")


def lines(texts):
    line = "   "
    for text in texts:
        if len(line) + len(text) + 2 > 120:
            print(line)
            line = "   "
        line += f" {text},"
    print(line)


def emit(name, x):
    x = x.detach()
    x = x.reshape(1, -1) if x.dim() < 2 else x.reshape(-1, x.shape[-1])
    print(f"static const Golden {name} = {{ {x.shape[0]}, {x.shape[1]}, (const double[]){{")
    lines(f"{v:.9g}" for v in x.flatten().tolist())
    print("} };")


def emit_ints(name, x):
    print(f"static const int {name}[] = {{ {', '.join(str(int(v)) for v in x)} }};")


def on_grid(x):
    return torch.round(x * 4096) / 4096


def normal(*shape, scale=1.0):
    return on_grid(scale * torch.randn(*shape))


def case(name, f, **inputs):
    """Emits the inputs, f's result, and the gradients of all inputs."""
    leaves = {key: x.clone().requires_grad_() for key, x in inputs.items()}
    Y = f(**leaves)
    W = normal(*Y.shape)
    (W * Y).mean().backward()
    for key, x in leaves.items():
        emit(f"{name}_{key}", x)
    emit(f"{name}_W", W)
    emit(f"{name}_Y", Y)
    for key, x in leaves.items():
        emit(f"{name}_d{key}", x.grad)


def ops():
    case("add", lambda A, B: A + B, A=normal(B, D), B=normal(B, D))
    case("sub", lambda A, B: A - B, A=normal(B, D), B=normal(B, D))
    case("mul", lambda A, B: A * B, A=normal(B, D), B=normal(B, D))
    case("scale", lambda A: -1.7 * A, A=normal(B, D))
    case("mean", lambda A: A.mean().reshape(1, 1), A=normal(D, H))
    case("slice", lambda A: A[1:3, 2:5], A=normal(H, T))
    case("hcat", lambda A, B: torch.cat([A, B], 1), A=normal(B, D), B=normal(B, H))
    case("vcat", lambda A, B: torch.cat([A, B], 0), A=normal(D, B), B=normal(H, B))
    case("tanh", torch.tanh, input=normal(H, V, scale=2))
    case("sigmoid", torch.sigmoid, input=normal(H, V, scale=2))
    case("relu", F.relu, input=normal(H, V))
    case("matmul", lambda A, B: A @ B, A=normal(H, T), B=normal(T, V))
    case("matmul_nt", lambda A, B: A @ B.T, A=normal(H, T), B=normal(V, T))
    case("bias", lambda A, b: A + b, A=normal(H, V), b=normal(1, V))

    index = torch.tensor([1, 4, 1, -1, 0, 1])
    emit_ints("lookup_index", index)
    case("lookup", lambda A: F.embedding(index.clamp(min=0), A) * (index >= 0)[:, None], A=normal(V, D))

    case("softmax", lambda A: F.softmax(A, 1), A=normal(H, T, scale=2))
    mask = torch.tensor([[1, 0, 1, 1, 0, 1], [0, 0, 0, 0, 1, 1], [0, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
    emit("masked_mask", mask)
    case("masked", lambda A: F.softmax(A.masked_fill(mask == 0, -math.inf), 1), A=normal(H, T, scale=2))

    target = torch.tensor([2, -1, 0, 4, -1, 2])
    emit_ints("entropy_target", target)
    case("entropy", lambda A: F.cross_entropy(A, target, ignore_index=-1).reshape(1, 1), A=normal(T, V, scale=2))


def cell(name, kind):
    """x, h and c go in; the outputs of all steps come out. The workbook multiplies from the right, so its weights are
    those of PyTorch transposed. Gates come in the order i f g o (LSTM) and r z n (GRU). PyTorch has two biases; only the
    GRU, where r gates the second one too, needs both."""
    net = kind(D, H)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(normal(*weight.shape, scale=0.6))
    x, h, c = (y.requires_grad_() for y in (normal(T, B, D), normal(1, B, H, scale=0.5), normal(1, B, H, scale=0.5)))
    lstm = kind is torch.nn.LSTM
    Y, _ = net(x, (h, c) if lstm else h)
    W = normal(*Y.shape)
    (W * Y).mean().backward()
    both = kind is torch.nn.GRU
    bias = {"bx": net.bias_ih_l0, "bh": net.bias_hh_l0} if both else {}
    for key, value in {"x": x, "h": h, **({"c": c} if lstm else {}), **bias}.items():
        emit(f"{name}_{key}", value)
        emit(f"{name}_d{key}", value.grad)
    for key, value in {"Wx": net.weight_ih_l0, "Wh": net.weight_hh_l0}.items():
        emit(f"{name}_{key}", value.T)
        emit(f"{name}_d{key}", value.grad.T)
    if not both:
        emit(f"{name}_b", net.bias_ih_l0 + net.bias_hh_l0)
        emit(f"{name}_db", net.bias_ih_l0.grad)
    emit(f"{name}_W", W)
    emit(f"{name}_Y", Y)


STEPS = 5


def optimizers():
    """Gradients of every size down to the epsilons, so that it shows where an epsilon is added. Weights start at 0, so that
    what is compared is the sum of the moves; those of AdamW do not, since decay needs something to work on."""
    sizes = torch.tensor([1, 1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8, 1e-10])
    gradients = (normal(STEPS, len(sizes)).abs() + 0.25) * sizes
    gradients[:, 0] *= torch.tensor([1, -1, -1, 1, -1])
    gradients = gradients.float().double()                               # what the tests' floats will hold
    zero, some = torch.zeros(len(sizes)), normal(len(sizes))
    emit("optim_gradients", gradients)
    emit("optim_some", some)
    for name, start, new in (
            ("sgd", zero, lambda w: torch.optim.SGD(w, lr=0.1)),
            ("momentum", zero, lambda w: torch.optim.SGD(w, lr=0.1, momentum=0.9)),
            ("adagrad", zero, lambda w: torch.optim.Adagrad(w, lr=0.1, eps=1e-10)),
            ("adadelta", zero, lambda w: torch.optim.Adadelta(w, lr=1.0, rho=0.9, eps=1e-6)),
            ("adam", zero, lambda w: torch.optim.Adam(w, lr=0.01, betas=(0.9, 0.999), eps=1e-8)),
            ("adamw", some, lambda w: torch.optim.AdamW(w, lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.5))):
        w = start.clone().requires_grad_()
        optimizer, path = new([w]), []
        for g in gradients:
            w.grad = g.clone()
            optimizer.step()
            path.append(w.detach().clone())
        emit(f"optim_{name}_path", torch.stack(path))


def clipping():
    parts = normal(D, H), normal(1, V)
    for name, part in zip("AB", parts):
        emit(f"clip_{name}", part)
    for name, limit in ("short", 1.25), ("long", 50.0):
        leaves = [torch.zeros_like(part, requires_grad=True) for part in parts]
        for leaf, part in zip(leaves, parts):
            leaf.grad = part.clone()
        norm = torch.nn.utils.clip_grad_norm_(leaves, limit)
        emit(f"clip_{name}_A", leaves[0].grad)
        emit(f"clip_{name}_B", leaves[1].grad)
    emit("clip_norm", norm)


def schedules():
    """PyTorch's cosine for the steps after a warm-up in a straight line, and the lowest value from `total` on."""
    warmup, total, low = 4, 20, 0.1
    w = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total - warmup, eta_min=low)
    rates = [(step + 1) / warmup for step in range(warmup)]
    for _ in range(total - warmup + 1):
        rates.append(cosine.get_last_lr()[0])
        optimizer.step()
        cosine.step()
    emit("schedule_rates", torch.tensor(rates + [low, low]))


LENGTHS, DX = [5, 2, 4], 3
PLACES = max(LENGTHS)


def in_front(parts):
    """One (n, columns) a sequence into (PLACES, sequences, columns), behind zeros; and all_parts goes the other way."""
    return torch.stack([F.pad(part, (0, 0, PLACES - len(part), 0)) for part in parts], 1)


def all_parts(x):
    return [x[PLACES - n:, b] for b, n in enumerate(LENGTHS)]


def attention():
    """Each sequence by itself. The result has the contexts, and behind them the weights, 0 in the places of padding."""
    def attend(score, q, K, X, *va):
        rows = []
        for q_b, K_b, X_b in zip(q, *(all_parts(m.reshape(PLACES, len(LENGTHS), -1)) for m in (K, X))):
            a = F.softmax(score(q_b, K_b, *va), 0)
            rows.append(torch.cat([a @ X_b, F.pad(a, (PLACES - len(a), 0))]))
        return torch.stack(rows)

    def inputs():
        n = len(LENGTHS)
        return {"q": normal(n, H), "K": normal(PLACES * n, H), "X": normal(PLACES * n, DX)}

    case("dot", lambda **kw: attend(lambda q, K: K @ q, *kw.values()), **inputs())
    case("additive", lambda **kw: attend(lambda q, K, va: torch.tanh(K + q) @ va[0], *kw.values()), **inputs(), va=normal(1, H))


def both_ways(name, kind):
    """A cell in both directions over packed sequences. Outputs and gradients are laid out with the padding in front. `last`: h of
    the way there and of the way back, and the same of c."""
    net = kind(D, H, bidirectional=True)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(normal(*weight.shape, scale=0.6))
    x = normal(PLACES, len(LENGTHS), D).requires_grad_()
    packed = torch.nn.utils.rnn.pack_sequence(all_parts(x), enforce_sorted=False)
    out, states = net(packed)
    out, _ = torch.nn.utils.rnn.pad_packed_sequence(out)
    Y = in_front([out[:n, b] for b, n in enumerate(LENGTHS)])
    last = torch.cat([state for pair in (states if kind is torch.nn.LSTM else [states]) for state in pair], 1)
    W, W_last = normal(*Y.shape), normal(*last.shape)
    ((W * Y).mean() + (W_last * last).mean()).backward()
    for key, value in {"x": x, "dx": x.grad, "W": W, "Y": Y, "W_last": W_last, "last": last}.items():
        emit(f"{name}_{key}", value)
    for way, suffix in ("f", ""), ("r", "_reverse"):
        ih, hh, b_ih, b_hh = (getattr(net, part + "_l0" + suffix) for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        emit(f"{name}_{way}_b", b_ih + b_hh)
        emit(f"{name}_{way}_db", b_ih.grad)
        for key, value in {"Wx": ih, "Wh": hh}.items():
            emit(f"{name}_{way}_{key}", value.T)
            emit(f"{name}_{way}_d{key}", value.grad.T)


def padded_entropy():
    """The symbols of three targets, each with the end (5) behind it; V symbols and the end make V + 1."""
    targets = [torch.tensor(y + [V]) for y in ([1, 4, 0], [2, 2, 3, 0, 1], [3])]
    emit_ints("padded_target", torch.nn.utils.rnn.pad_sequence(targets, padding_value=-1).flatten())

    def loss(A):
        A = A.reshape(-1, len(targets), V + 1)
        return F.cross_entropy(torch.cat([A[:len(y), b] for b, y in enumerate(targets)]), torch.cat(targets)).reshape(1, 1)
    case("padded", loss, A=normal(max(map(len, targets)) * len(targets), V + 1, scale=2))


def layer_norm():
    net = torch.nn.LayerNorm(7)
    leaves = {"A": normal(T, 7, scale=2), "g": normal(7), "b": normal(7)}

    def norm(A, g, b):
        return F.layer_norm(A, net.normalized_shape, g, b, net.eps)
    case("norm", norm, **leaves)
    case("small_norm", norm, **{**leaves, "A": normal(T, 7, scale=0.01)})          # its variance is not far from epsilon


HEADS, WIDTH, BATCH, STEPS_OF_HEADS, PLACES_OF_HEADS = 2, 6, 4, 5, 7


def heads(name, x, memory, **masks):
    """nn.MultiheadAttention, a sequence's rows side by side, as the workbook has them. Q comes from x, K and V from memory, or
    from x where that is None. A mask is True where nothing may be seen."""
    net = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(normal(*weight.shape, scale=0.6))
    inputs = {"x": x.requires_grad_(), **({} if memory is None else {"memory": memory.requires_grad_()})}
    places = x if memory is None else memory
    Y, P = net(x, places, places, average_attn_weights=False, **masks)
    W = normal(*Y.shape)
    (W * Y).mean().backward()
    for key, value in inputs.items():
        emit(f"{name}_{key}", value)
        emit(f"{name}_d{key}", value.grad)
    parts = {"W": net.in_proj_weight, "b": net.in_proj_bias, "dW": net.in_proj_weight.grad, "db": net.in_proj_bias.grad}
    for key, value in parts.items():
        for part, which in zip(value.chunk(3), "qkv"):
            emit(f"{name}_{key}{which}", part.T if part.dim() > 1 else part)
    for key, value in {"Wo": net.out_proj.weight, "dWo": net.out_proj.weight.grad}.items():
        emit(f"{name}_{key}", value.T)
    for key, value in {"bo": net.out_proj.bias, "dbo": net.out_proj.bias.grad, "W": W, "Y": Y, "P": P}.items():
        emit(f"{name}_{key}", value)


def both_heads():
    lengths = torch.tensor([7, 3, 1, 6])
    emit_ints("padded_heads_lengths", lengths)
    heads("padded_heads", normal(BATCH, STEPS_OF_HEADS, WIDTH), normal(BATCH, PLACES_OF_HEADS, WIDTH),
          key_padding_mask=torch.arange(PLACES_OF_HEADS)[None, :] >= lengths[:, None])
    heads("causal_heads", normal(BATCH, STEPS_OF_HEADS, WIDTH), None,
          attn_mask=torch.ones(STEPS_OF_HEADS, STEPS_OF_HEADS).triu(1).bool())


ops()
for name, kind in ("rnn", torch.nn.RNN), ("lstm", torch.nn.LSTM), ("gru", torch.nn.GRU):
    cell(name, kind)
optimizers()
clipping()
schedules()
attention()
both_ways("birnn", torch.nn.RNN)
both_ways("bilstm", torch.nn.LSTM)
padded_entropy()
layer_norm()
both_heads()
print("\n#endif")
