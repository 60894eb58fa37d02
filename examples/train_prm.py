"""Trains a small process reward model on a CPU, from rows that `plumb export` wrote.

    plumb export runs/ID --format trl --out out
    python3 examples/train_prm.py out/trl.jsonl [MORE.jsonl...]

A row of `trl` is a question, the texts that lead up to the end of each step, and whether the step
is right. A row of `prm` is the token ids that the policy read and sampled, with -1, 0 or 1 at the
last sampled token of a step. Either way a step is a list of words (or ids) after those that came
before it, and has a label.

Nothing is learned about language: the features are frozen. They are words, hashed into a fixed
number of columns (the last words of the step, a longer end of it, and the beginning of what was
read before), and shares: how much of the end of the step was in the question, in what was just
read, in all that came before, and so on. A network with one hidden layer learns from those which
label people or verifiers gave. It is the smallest thing that shows the rows to be right, and a
place to put a real model: exchange `features` for the last hidden states of one.

Questions are kept whole: each is held out once, in one of five parts. What is printed is measured
on the parts held out, beside the commonest label of the four others. A step is judged by what the
policy had read when it wrote it. What a verifier saw later, executed, or looked up in the gold is
not in there, and no model can learn that from these rows.
"""

import argparse
import collections
import json
import random
import re
import zlib

import torch

PARTS, IGNORED = 5, -100
# Words that are hashed of a step's end, of a longer end, of what was read; columns of each.
TAIL, OWN, READ, COLUMNS = 8, 32, 40, 128


def words(text):
    return re.findall(r"\w+|[^\w\s]", text.lower())


def steps(row):
    """Each labelled step of a row: what was asked, all before it, itself, and its label."""
    if "input_ids" in row:
        ids, start, asked = row["input_ids"], 0, None
        for end, label in enumerate(row["labels"], 1):
            if label != IGNORED:
                asked = asked or ids[: end - OWN][-READ:]
                # What was observed since the last labelled step belongs to what is judged.
                yield asked, ids[:start], ids[max(start, end - 512):end], label
                start = end
    else:
        before = words(row["prompt"])
        asked = before[-READ:]
        for text, label in zip(row["completions"], row["labels"]):
            yield asked, before, words(text), 1 if label else -1
            before = before + words(text)


def bag(of):
    """Words hashed into columns, each with a sign, so that those that meet cancel out."""
    columns = torch.zeros(COLUMNS)
    for word in set(of):
        hashed = zlib.crc32(repr(word).encode())
        columns[hashed % COLUMNS] += 1 if hashed >> 31 else -1
    return columns / columns.norm().clamp(min=1)


def features(asked, before, step):
    """What is known of a step, given what was asked and what came before."""
    share = lambda some, known: sum(each in known for each in some) / max(1, len(some))
    triples = lambda of: list(zip(of, of[1:], of[2:]))
    own, seen = step[-OWN:], step[:-OWN]
    tail, known = own[-TAIL:], (set(asked), set(before), set(seen))
    shares = [share(some, of) for some in (own, tail) for of in known]
    shares += [share(some, set(triples(before))) for some in (triples(own), triples(tail))]
    shares += [share(asked, set(of)) for of in (own, seen, before[READ:])]
    shares += [share(seen, of) for of in known[:2]]
    shares += [len(set(seen)) / 200, len(step) / 256, len(before) / 2048]
    return torch.cat([bag(tail), bag(own), bag(seen[:READ]), torch.tensor(shares)])


def fit(x, y, classes, args):
    """A network with one hidden layer, and its loss from first to last."""
    model = torch.nn.Sequential(torch.nn.Linear(x.shape[1], 32), torch.nn.ReLU(),
                                torch.nn.Dropout(0.5), torch.nn.Linear(32, classes))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=args.decay)
    losses = []
    for _ in range(args.epochs):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return model.eval(), losses


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="+", help="trl.jsonl or prm.jsonl")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--decay", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    rows = [json.loads(line) for path in args.rows for line in open(path, encoding="utf-8")]
    found = [(row["task"], features(*known), label) for row in rows for *known, label in steps(row)]
    names = sorted({label for *_, label in found})
    questions = sorted({question for question, *_ in found})
    if len(questions) < PARTS:
        raise SystemExit(f"{args.rows}: too few questions with labels to hold any out")
    random.Random(args.seed).shuffle(questions)
    part = {question: number % PARTS for number, question in enumerate(questions)}
    of = torch.tensor([part[question] for question, *_ in found])
    x = torch.stack([vector for _, vector, _ in found])
    y = torch.tensor([names.index(label) for *_, label in found])

    said, always = torch.zeros_like(y), torch.zeros_like(y)
    for held_out in range(PARTS):
        train, test = of != held_out, of == held_out
        mean, spread = x[train].mean(0), x[train].std(0) + 0.05
        model, losses = fit((x[train] - mean) / spread, y[train], len(names), args)
        with torch.no_grad():
            said[test] = model((x[test] - mean) / spread).argmax(1)
        always[test] = torch.bincount(y[train]).argmax()
        print(f"part {held_out + 1}: {int(train.sum())} steps, loss {losses[0]:.3f} -> "
              f"{losses[-1]:.3f}; {int(test.sum())} held out")

    one, two = (said == y).float(), (always == y).float()
    print(f"held out, {len(y)} steps of {len(questions)} questions: accuracy {one.mean():.3f}, "
          f"always the commonest {two.mean():.3f}")
    # By question, so that one with many steps counts no more; resampled for an interval.
    gains = collections.defaultdict(list)
    for (question, *_), gain in zip(found, (one - two).tolist()):
        gains[question].append(gain)
    gains = [sum(each) / len(each) for each in gains.values()]
    draws = random.Random(args.seed)
    means = sorted(sum(draws.choices(gains, k=len(gains))) / len(gains) for _ in range(1000))
    print(f"gain by question {sum(gains) / len(gains):+.3f} [{means[24]:+.3f}, {means[974]:+.3f}]")
    for index, name in enumerate(names):
        recall = one[y == index]
        print(f"recall of {name:+d}: {recall.mean():.2f}, of {len(recall)} steps")


if __name__ == "__main__":
    main()
