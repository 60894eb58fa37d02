// The tool `roman`, a component made from JavaScript: numbers as the Romans wrote them.
//
//     npm install @bytecodealliance/componentize-js && node build.mjs tool.wit roman.wasm

const NUMERALS = [
  [1000, "M"], [900, "CM"], [500, "D"], [400, "CD"], [100, "C"], [90, "XC"], [50, "L"],
  [40, "XL"], [10, "X"], [9, "IX"], [5, "V"], [4, "IV"], [1, "I"],
];

export function describe() {
  const number = { type: "integer", minimum: 1, maximum: 3999 };
  const parameters = {
    type: "object", properties: { number }, required: ["number"], additionalProperties: false,
  };
  return {
    name: "roman",
    description: "Writes a number from 1 to 3999 in Roman numerals.",
    parameters: JSON.stringify(parameters),
  };
}

export function call(args) {
  let left = JSON.parse(args).number;
  let text = "";
  for (const [value, numeral] of NUMERALS) {
    for (; left >= value; left -= value) text += numeral;
  }
  return { text, data: JSON.stringify({ roman: text }) };
}
