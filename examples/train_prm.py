"""Trains a small process reward model on a CPU, from what `plumb export --format prm` wrote.

    plumb export runs/ID --format prm --view strict-local --out prm
    python3 examples/train_prm.py prm/prm.jsonl

A row holds the token ids that the policy read and sampled, `input_ids`, and `labels` as long:
-1, 0 or 1 at the last sampled token of a step, -100 elsewhere. Nothing is learned about words:
each token has a fixed random vector, and a step is what the average of its vectors is, beside
that of all before it, and how much of it was there before. A network with one hidden layer
learns from those which label people or verifiers gave. It is the smallest thing that shows the
rows to be right, and a place to put a real model: exchange `features` for the last hidden
states of one.

Tasks are kept whole: a fifth of them is held out. What is printed is measured on those, beside
the commonest label of the rest.
"""

import argparse
import json
import random

import torch

LABELS = (-1, 0, 1)
IGNORED = -100


def features(ids, start, end, vectors):
    """What is known of the step whose tokens are ids[start:end], given those before it."""
    step, before = ids[start:end], ids[:start]
    pairs = set(zip(before, before[1:]))
    mine = list(zip(step, step[1:]))
    known = set(before)
    seen = sum(token in known for token in step) / max(1, len(step))
    repeated = sum(pair in pairs for pair in mine) / max(1, len(mine))
    counts = torch.tensor([seen, repeated, len(step) / 256, len(before) / 2048])
    return torch.cat([vectors[step].mean(0), vectors[before].mean(0), counts])


def examples(rows, vectors):
    """Every labelled step, with the task it belongs to."""
    for row in rows:
        ids, labels = row["input_ids"], row["labels"]
        previous = 0
        for at, label in enumerate(labels):
            if label == IGNORED:
                continue
            # What was observed since the last labelled step belongs to what is judged.
            start = max(1, previous, at - 511)
            yield row["task"], features(ids, start, at + 1, vectors), LABELS.index(label)
            previous = at + 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", help="prm.jsonl")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    with open(args.rows, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    size = 1 + max(max(row["input_ids"]) for row in rows)
    vectors = torch.randn(size, args.width) / args.width**0.5

    tasks = sorted({row["task"] for row in rows})
    random.Random(args.seed).shuffle(tasks)
    held_out = set(tasks[: max(1, len(tasks) // 5)])
    found = list(examples(rows, vectors))
    train = [(x, y) for task, x, y in found if task not in held_out]
    test = [(x, y) for task, x, y in found if task in held_out]
    if not train or not test:
        raise SystemExit(f"{args.rows}: too few tasks with labels to hold any out")
    x, y = torch.stack([x for x, _ in train]), torch.tensor([y for _, y in train])
    held_x, held_y = torch.stack([x for x, _ in test]), torch.tensor([y for _, y in test])

    mean, spread = x.mean(0), x.std(0) + 1e-6
    x, held_x = (x - mean) / spread, (held_x - mean) / spread
    # Rare labels weigh more, by the root of how rare they are.
    counts = torch.bincount(y, minlength=3).float()
    weights = torch.where(counts > 0, (counts.sum() / (3 * counts.clamp(min=1))).sqrt(), 0.0)
    model = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], 32), torch.nn.ReLU(), torch.nn.Dropout(0.3),
        torch.nn.Linear(32, 3),
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    first = last = None
    for _ in range(args.epochs):
        loss = torch.nn.functional.cross_entropy(model(x), y, weight=weights)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        first, last = first or loss.item(), loss.item()

    model.eval()
    with torch.no_grad():
        said = model(held_x).argmax(1)
    commonest = counts.argmax()
    accuracy = (said == held_y).float().mean().item()
    baseline = (held_y == commonest).float().mean().item()
    recall = {
        LABELS[label]: (said[held_y == label] == label).float().mean().item()
        for label in held_y.unique().tolist()
    }
    print(f"{len(train)} steps of {len(tasks) - len(held_out)} tasks, loss {first:.3f} -> {last:.3f}")
    print(f"{len(test)} steps of {len(held_out)} tasks held out: accuracy {accuracy:.3f}")
    print(f"always {LABELS[commonest]}: {baseline:.3f}")
    print("recall: " + ", ".join(f"{label:+d} {share:.2f}" for label, share in recall.items()))


if __name__ == "__main__":
    main()
