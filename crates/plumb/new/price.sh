# The tool `price`. One line in, one line out; what it is, it says first and unasked.
cat <<'SPEC' | tr -d '\n'
{"name": "price", "description": "Tells what one of an item costs.",
 "parameters": {"type": "object", "required": ["item"], "additionalProperties": false,
                "properties": {"item": {"type": "string", "pattern": "^[a-z]{1,100}$"}}}}
SPEC
echo

# The arguments fit the schema: an item is lower-case letters and nothing else.
while IFS= read -r line; do
  item=$(printf '%s\n' "$line" | sed 's/.*"item": *"\([a-z]*\)".*/\1/')
  price=$(sed -n "s/^$item,//p" prices.csv)
  if [ -n "$price" ]; then
    echo "{\"text\": \"$item: $price\", \"data\": {\"price\": \"$price\"}}"
  else
    echo "{\"fault\": \"bad_args\", \"message\": \"there is no $item in the price list\"}"
  fi
done
