// Makes a component of roman.js: node build.mjs TOOL.WIT OUT.wasm

import { readFile, writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const [witPath, out] = process.argv.slice(2);
const { component } = await componentize(await readFile("roman.js", "utf8"), {
  witPath,
  worldName: "tool",
  disableFeatures: ["random", "stdio", "clocks", "http", "fetch-event"],
});
await writeFile(out, component);
