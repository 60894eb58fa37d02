"""The tool `notes`, a component made from Python: keeps notes, and shows all so far.

    componentize-py -d tool.wit -w tool componentize --stub-wasi app -o notes.wasm
"""

import json

from componentize_py_types import Err
from wit_world import WitWorld as Base
from wit_world.imports import scratch
from wit_world.imports.types import Fault_Refused, Output, Spec

NOTES_MAX = 100
PARAMETERS = {
    "type": "object",
    "properties": {"note": {"type": "string", "minLength": 1, "maxLength": 1000}},
    "required": ["note"],
    "additionalProperties": False,
}


class WitWorld(Base):
    def describe(self) -> Spec:
        description = "Keeps a note, and shows all notes so far."
        return Spec("notes", description, json.dumps(PARAMETERS))

    def call(self, args: str) -> Output:
        kept = scratch.get()
        notes = json.loads(kept) if kept is not None else []
        if len(notes) == NOTES_MAX:
            raise Err(Fault_Refused(f"there are {NOTES_MAX} notes already"))
        notes.append(json.loads(args)["note"])
        scratch.set(json.dumps(notes))
        return Output("\n".join(notes), json.dumps({"notes": len(notes)}))
