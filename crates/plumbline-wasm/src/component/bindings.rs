#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "written by a macro; the files in `wit` document it"
)]

wasmtime::component::bindgen!({
    path: "wit/tool.wit",
    world: "tool",
    imports: { default: trappable },
});

/// The world of verifiers.
pub(crate) mod judging {
    wasmtime::component::bindgen!({
        path: "wit/verifier.wit",
        world: "verifier",
    });
}
