"""Exports two runs in every format and has each format's real reader read it: `make interop`.

    python3 tests/interop/check.py --plumb PLUMB --installed FOLDER

One run is a local model's, for only those have tokens; the other is scripted, so that steps
taken from one state differ. A reader whose packages are not in FOLDER, or cannot be imported
here, is one line that says why. A row that a reader refuses is a failure, told by file and row.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

FORMATS = ("agentprocessbench", "openai-chat", "atif", "skyrl", "verl", "verifiers", "atropos",
           "trl", "openrlhf", "prm", "pairs", "verdict-chat", "parquet")
OURS = "plumb import"
# What reads the exports, and the folders its packages lie in.
READERS = {
    OURS: [],
    "trl": ["trainers"],
    "verl": ["trainers"],
    "skyrl": ["trainers"],
    "verifiers": ["verifiers"],
    "atropos": ["atropos"],
    "harbor": ["harbor", "verifiers"],
    "openrlhf": ["openrlhf", "trainers"],
    "datasets": ["trainers"],
    "pyarrow": ["trainers"],
}
HERE = pathlib.Path(__file__).parent
TASKS = 4


class Plumb:
    """The command."""

    def __init__(self, path):
        self.path = path

    def __call__(self, *args, may_find=False):
        done = subprocess.run([self.path, *map(str, args)], capture_output=True, text=True)
        if done.returncode != 0 and not (may_find and done.returncode == 1):
            sys.exit(f"plumb {' '.join(map(str, args))}\n{done.stdout}{done.stderr}")
        return done.returncode == 0


def script():
    """For each question a search and the right answer; a search for nothing and a wrong one."""
    environment = HERE.parent.parent / "environments/multihop-qa"
    lines = lambda name: (environment / name).read_text(encoding="utf-8").splitlines()
    read = lambda name: [json.loads(line) for line in lines(name)]
    gold = {each["id"]: each["answer"] for each in read("gold.jsonl")}
    for task in read("tasks.jsonl")[:TASKS]:
        for query, answer in ((task["prompt"], gold[task["id"]]), ("zzz", "nobody knows")):
            call = json.dumps({"name": "search", "arguments": {"query": query}})
            replies = [f"<tool_call>\n{call}\n</tool_call>", f"<answer>{answer}</answer>"]
            yield json.dumps({"question": task["prompt"], "replies": replies})


def export(plumb, folder):
    """Both runs in every format; a folder a run. A format without a row in either is an error."""
    (folder / "script.jsonl").write_text("\n".join(script()) + "\n", encoding="utf-8")
    policies = {"model": ("llama:default", 2),
                "scripted": (f"scripted:{folder / 'script.jsonl'}", 6)}
    without = set(FORMATS)
    for name, (policy, samples) in policies.items():
        run, out = folder / "runs" / name, folder / name
        plumb("run", "multihop-qa", "--policy", policy, "--limit", TASKS, "--samples", samples,
              "--concurrency", 8, "--seed", 7, "--steps-max", 5, "--out", run)
        plumb("label", run)
        without -= {each for each in FORMATS
                    if plumb("export", run, "--format", each, "--out", out, may_find=True)}
    if without:
        sys.exit(f"no run has a row in {', '.join(sorted(without))}")
    return [folder / name for name in policies]


def told(name, line):
    """What is the same when a line comes in again: all but numbers, and who recorded it."""
    row = json.loads(line)
    if name == "atif":
        row["agent"].pop("model_name")
        row.pop("trajectory_id")
        for step in row["steps"]:
            for key in ("label_by", "node"):
                step.get("extra", {}).pop(key, None)
    return row


def read_back(plumb, exports):
    """Our own importers: what goes out as trajectories comes in again, and goes out the same."""
    counts, refused = {}, []
    for name in ("agentprocessbench", "openai-chat", "atif"):
        first = exports / f"{name}.jsonl"
        run, out = exports / "again" / name, exports / "again" / f"{name}-out"
        plumb("import", name, first, "--out", run)
        plumb("export", run, "--format", name, "--out", out)
        ours, theirs = (path.read_text(encoding="utf-8").splitlines()
                        for path in (first, out / f"{name}.jsonl"))
        for number, (one, two) in enumerate(zip(ours, theirs, strict=True), 1):
            counts[first.name] = counts.get(first.name, 0) + 1
            if told(name, one) != told(name, two):
                refused.append(f"{first.name}:{number}: not the same again")
    return counts, refused


def why_missing(installed, folders):
    """What `make` was told where it could not install one of these folders; none if it could."""
    for folder in folders:
        if not (installed / folder / ".installed").exists():
            error = installed / folder / ".error"
            said = error.read_text(encoding="utf-8").split("\n") if error.exists() else []
            said = [line for line in said if line.startswith("ERROR")]
            return said[0] if said else f"{folder} is not installed"
    return None


def have_read(reader, plumb, installed, exports):
    """What a reader makes of a folder: counts, or None with the reason; and what it refuses."""
    if reader == OURS:
        return read_back(plumb, exports)
    folders = READERS[reader]
    if why := why_missing(installed, folders):
        return None, [why]
    paths = os.pathsep.join(str(installed / folder) for folder in folders)
    # In a process of its own, which fetches nothing and tells nobody.
    quiet = {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "CUDA_VISIBLE_DEVICES": "",
             "TOKENIZERS_PARALLELISM": "0", "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, HERE / "readers.py", reader, exports],
                          capture_output=True, text=True, env={**os.environ, **quiet})
    if done.returncode == 3:
        return None, [done.stdout.strip()]
    if done.returncode != 0:
        return {}, [f"failed\n{done.stderr[-2000:]}"]
    found = json.loads(done.stdout.splitlines()[-1])
    return found["read"], found["refused"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plumb", required=True)
    parser.add_argument("--installed", required=True, type=pathlib.Path)
    parser.add_argument("--reader", choices=READERS, action="append", help="only this one")
    args = parser.parse_args()
    plumb = Plumb(args.plumb)
    read, skipped, failures = 0, 0, []
    with tempfile.TemporaryDirectory() as folder:
        folders = export(plumb, pathlib.Path(folder))
        for reader in args.reader or READERS:
            counts, why = {}, None
            for exports in folders:
                found, refused = have_read(reader, plumb, args.installed, exports)
                if found is None:
                    why = refused[0]
                    break
                failures += [f"{reader}: {exports.name}/{each}" for each in refused]
                for name, count in found.items():
                    counts[name] = counts.get(name, 0) + count
            said = ", ".join(f"{count} of {name}" for name, count in counts.items())
            print(f"{reader:<12} {f'skipped: {why}' if why else f'read {said}'}", flush=True)
            read, skipped = read + (why is None), skipped + (why is not None)
    for failure in failures:
        print(f"refused by {failure}")
    print(f"{read} readers read, {skipped} skipped, {len(failures)} rows refused")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
