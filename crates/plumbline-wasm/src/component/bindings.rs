#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "written by a macro; `wit/tool.wit` documents it"
)]

wasmtime::component::bindgen!({
    path: "wit",
    world: "tool",
    imports: { default: trappable },
});
