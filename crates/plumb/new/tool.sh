# The tool `@NAME@`. One line in, one line out; what it is, it says first and unasked.
#
# Standard output is for answers alone: write to standard error to see something of your own
# (PLUMB_LOG=warn shows it where the tool breaks). Between two calls the program may be ended
# and started again, and several run at once.
cat <<'SPEC' | tr -d '\n'
{"name": "@NAME@", "description": "Adds two whole numbers.",
 "parameters": {"type": "object", "required": ["a", "b"], "additionalProperties": false,
                "properties": {"a": {"type": "integer", "minimum": -1000000, "maximum": 1000000},
                               "b": {"type": "integer", "minimum": -1000000, "maximum": 1000000}}}}
SPEC
echo

# An integer argument may be written 3 or 3.0: JSON Schema takes both.
field() { printf '%s\n' "$line" | sed "s/.*\"$1\": *\(-\{0,1\}[0-9]*\).*/\1/"; }

while IFS= read -r line; do
  sum=$(($(field a) + $(field b)))
  echo "{\"text\": \"$sum\", \"data\": $sum}"
done
