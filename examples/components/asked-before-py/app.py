"""The verifier `asked-before`, a component made from Python: calls a step bad that asks what was
asked already.

    componentize-py -d verifier.wit -w verifier componentize --stub-wasi app -o asked-before.wasm
"""

import json

from wit_world import WitWorld as Base

INTRODUCTION = {
    "name": "asked-before",
    "version": 1,
    "description": "Calls a step bad that makes a call which the path to it has made.",
    "sees": [],
}


def calls(step):
    return [(call["tool"], call["args"]) for call in step["action"].get("calls", [])]


def judge(path):
    """The last step of a path. Returns a verdict, or None."""
    *earlier, step = path
    made = calls(step)
    for before in earlier:
        if made and made[0] in calls(before):
            return {
                "node": step["node"],
                "label": "bad",
                "reason": f"step {before['node']} asked {made[0][0]} the same",
                # The harness makes the call again, and looks the earlier step up.
                "evidence": [
                    {"type": "call", "node": step["node"], "call": 0},
                    {"type": "step", "node": before["node"]},
                ],
            }
    return None


class WitWorld(Base):
    def describe(self) -> str:
        return json.dumps(INTRODUCTION)

    def judge(self, question: str) -> str:
        # It sees no later steps, and so each step it is asked about is the end of the path.
        verdict = judge(json.loads(question)["steps"])
        return json.dumps({"verdicts": [verdict] if verdict else []})
