"""The tool `price`. One line in, one line out; what it is, it says first and unasked."""

import csv
import json
import sys

print(json.dumps({
    "name": "price",
    "description": "Tells what one of an item costs.",
    "parameters": {
        "type": "object",
        "properties": {"item": {"type": "string", "maxLength": 100}},
        "required": ["item"],
        "additionalProperties": False,
    },
}))

with open("prices.csv", encoding="utf-8", newline="") as rows:
    PRICES = dict(csv.reader(rows))

for line in sys.stdin:
    item = json.loads(line)["args"]["item"].strip().lower()
    if item in PRICES:
        # What the model reads, and the same for verifiers.
        answer = {"text": f"{item}: {PRICES[item]}", "data": {"price": PRICES[item]}}
    else:
        # What the model got wrong, in words that help it on.
        answer = {"fault": "bad_args",
                  "message": f"there is no {item!r}; there are: {', '.join(PRICES)}"}
    print(json.dumps(answer))
