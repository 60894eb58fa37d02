"""The verifier `@NAME@`. One line in, one line out; what it is, it says first and unasked.

Standard output is for answers alone: print to sys.stderr to see something of your own. Between
two questions the program may be ended and started again, and several run at once: all it may go
by is in the question.
"""

import json
import sys

INTRODUCTION = {
    "name": "@NAME@",
    # Raise it whenever the same question would get another answer.
    "version": 1,
    "description": "Calls an answer bad that was given before anything was looked up.",
    # What it must be shown beyond the path up to the step, and every label made of its verdicts
    # says so: "gold", what gold.jsonl has for the task, in question.get("gold"); "later", the
    # steps after it as well; "outcome", how a trajectory ended, in the "ending" of a step. What
    # is not named here is not shown.
    "sees": [],
    # Each question has an id, and the answer says it again: a line too many is told from it.
    "ids": True,
}


def judge(steps, node):
    """One step. Returns a verdict, or None: to abstain costs nothing."""
    step = steps[node]
    looked_up = any(other["action"]["type"] == "calls" for other in steps.values())
    if step["action"]["type"] != "answer" or looked_up:
        return None
    return {
        "node": node,
        "label": "bad",
        "reason": "nothing was looked up before this answer",
        # What it rests on, which `plumb audit` looks up again. A quote must be there.
        "evidence": [{"type": "quote", "node": node, "text": step["action"]["text"]}],
    }


print(json.dumps(INTRODUCTION))
for line in sys.stdin:
    question = json.loads(line)
    steps = {step["node"]: step for step in question["steps"]}
    verdicts = [judge(steps, node) for node in question["judge"]]
    verdicts = [verdict for verdict in verdicts if verdict is not None]
    print(json.dumps({"id": question["id"], "verdicts": verdicts}))
