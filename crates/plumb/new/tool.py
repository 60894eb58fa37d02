"""The tool `@NAME@`. One line in, one line out; what it is, it says first and unasked.

Standard output is for answers alone: print to sys.stderr to see something of your own
(PLUMB_LOG=warn shows it where the tool breaks). Between two calls the program may be ended
and started again, and several run at once: what has to last goes into the state.
"""

import json
import sys

SPEC = {
    "name": "@NAME@",
    "description": "Keeps a note, and shows all notes so far.",
    "parameters": {
        "type": "object",
        "properties": {"note": {"type": "string", "minLength": 1, "maxLength": 1000}},
        "required": ["note"],
        "additionalProperties": False,
    },
    # Each question has an id, and the answer says it again: a line too many is told from it.
    "ids": True,
}


def call(args, state):
    """One call. `args` fit the schema; `state` is what the last call returned, None at
    first. Returns the text for the model, the same as data, and the next state."""
    notes = (state or []) + [args["note"]]
    if len(notes) > 100:
        raise Refused("there are 100 notes already")
    return "\n".join(notes), {"notes": len(notes)}, notes


class Refused(Exception):
    """What the model is told instead of an answer."""


print(json.dumps(SPEC))
for line in sys.stdin:
    request = json.loads(line)
    try:
        text, data, state = call(request["args"], request.get("state"))
        answer = {"text": text, "data": data, "state": state}
    except Refused as refusal:
        answer = {"fault": "refused", "message": str(refusal)}
    print(json.dumps({"id": request["id"], **answer}))
