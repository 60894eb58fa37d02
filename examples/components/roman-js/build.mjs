// Makes a component of roman.js: node build.mjs FOLDER-WITH-NODE_MODULES OUT.wasm

import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";

const [modules, out] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { componentize } = await import(require.resolve("@bytecodealliance/componentize-js"));
const here = (path) => new URL(path, import.meta.url).pathname;
const { component } = await componentize(await readFile(here("roman.js"), "utf8"), {
  witPath: here("../../../crates/plumbline-wasm/wit"),
  worldName: "tool",
  disableFeatures: ["random", "stdio", "clocks", "http", "fetch-event"],
});
await writeFile(out, component);
