#!/usr/bin/env python3
"""Golden values of whole stacks: what PyTorch's nn.TransformerEncoder and nn.TransformerDecoder compute, in float64, for
tests/test_chapter08.c.

    python3 tests/golden/make_transformer.py > tests/golden/transformer.h

Nobody needs this to run the tests. As in make_golden.py, all that goes in are multiples of 1/4096, and a loss is the mean of
W * Y, W random. Two stacks with padding and a causal mask, post-norm and pre-norm; as in the chapter, only pre-norm ends
with a norm.
"""
import torch
from torch import nn

torch.manual_seed(8)
torch.set_default_dtype(torch.float64)
B, S, T, D, F, HEADS, BLOCKS = 3, 4, 5, 6, 5, 2, 2
LENGTHS = [4, 2, 1]
print(f"""/* Made by tests/golden/make_transformer.py with PyTorch {torch.__version__}, in float64. Do not edit. */
#ifndef WORKBOOK_GOLDEN_TRANSFORMER_H
#define WORKBOOK_GOLDEN_TRANSFORMER_H

typedef struct {{ const char *name; int rows, cols; const double *value, *grad; }} GoldenParam;

static const int golden_lengths[] = {{ {', '.join(map(str, LENGTHS))} }};
""")


def random(x, middle=0.0):
    return torch.round((middle + 0.6 * torch.randn_like(x)) * 4096) / 4096


def numbers(x):
    line, out = "       ", []
    for v in x.flatten().tolist():
        text = f" {v:.10g},"
        if len(line) + len(text) > 120:
            out.append(line)
            line = "       "
        line += text
    return "(const double[]){\n" + "\n".join(out + [line]) + "\n    }"


def row(name, value, grad):
    value, grad = (x.detach().reshape(-1, x.shape[-1]) for x in (value, grad))
    print(f'    {{ "{name}", {value.shape[0]}, {value.shape[1]}, {numbers(value)}, {numbers(grad)} }},')


def names(stack, layer, parts):
    """The chapter's parameters of a stack, and how to see them in PyTorch's, value or gradient."""
    for i, block in enumerate(layer):
        where = f"{stack}.{i + 1}."
        for name, attention in parts(block):
            for j, part in enumerate("qkv"):
                rows = slice(j * D, (j + 1) * D)
                yield f"{where}{name}.{part}.W", attention.in_proj_weight, lambda x, r=rows: x[r].T
                yield f"{where}{name}.{part}.b", attention.in_proj_bias, lambda x, r=rows: x[r]
            yield f"{where}{name}.out.W", attention.out_proj.weight, lambda x: x.T
            yield f"{where}{name}.out.b", attention.out_proj.bias, lambda x: x
        for name, linear in ("wide", block.linear1), ("narrow", block.linear2):
            yield f"{where}{name}.W", linear.weight, lambda x: x.T
            yield f"{where}{name}.b", linear.bias, lambda x: x
        norms = ("self", "cross", "feed") if stack == "decoder" else ("self", "feed")
        for j, name in enumerate(norms):
            norm = getattr(block, f"norm{j + 1}")
            yield f"{where}{name}.norm.g", norm.weight, lambda x: x
            yield f"{where}{name}.norm.b", norm.bias, lambda x: x


for pre in False, True:
    how = dict(d_model=D, nhead=HEADS, dim_feedforward=F, dropout=0.0, activation="relu", batch_first=True, norm_first=pre)
    last = [nn.LayerNorm(D) if pre else None for _ in range(2)]
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(**how), BLOCKS, last[0])
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(**how), BLOCKS, last[1])
    for name, p in [*encoder.named_parameters(), *decoder.named_parameters()]:
        with torch.no_grad():
            p.copy_(random(p, 1.0 if "norm" in name and "weight" in name else 0.0))
    x, y = (random(torch.zeros(B, n, D)).requires_grad_() for n in (S, T))
    padding = torch.tensor([[s >= n for s in range(S)] for n in LENGTHS])
    causal = torch.triu(torch.ones(T, T, dtype=torch.bool), 1)
    memory = encoder(x, src_key_padding_mask=padding)
    Y = decoder(y, memory, tgt_mask=causal, memory_key_padding_mask=padding)
    W = random(Y)
    (W * Y).mean().backward()
    print(f"static const GoldenParam golden_{'pre' if pre else 'post'}[] = {{")
    row("source", x, x.grad)
    row("target", y, y.grad)
    row("result", Y, W)
    for name, p, view in names("encoder", encoder.layers, lambda b: [("self", b.self_attn)]):
        row(name, view(p), view(p.grad))
    for name, p, view in names("decoder", decoder.layers, lambda b: [("self", b.self_attn), ("cross", b.multihead_attn)]):
        row(name, view(p), view(p.grad))
    for stack, norm in ("encoder", last[0]), ("decoder", last[1]):
        if pre:
            row(f"{stack}.norm.g", norm.weight, norm.weight.grad)
            row(f"{stack}.norm.b", norm.bias, norm.bias.grad)
    print("    { 0 },\n};\n")
print("#endif")
