//! The engine that components run in, and their compiled code, which is kept for the next
//! time.

use std::io::{self, Write as _};
use std::path::Path;

use plumbline::Digest;
use wasmtime::component::Component;
use wasmtime::{
    Collector, Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
};

use crate::prepared::{COMPILER, check, keep, lock};

/// Raised whenever compiled code would come out differently.
const FORMAT_VERSION: u32 = 1;
const CODE: &str = "component.cwasm";
/// Native stack that a guest may use. Calls are answered on the runtime's blocking threads,
/// which have 2 MiB each: a guest that recurses must trap before the thread overflows.
const STACK_BYTES: usize = 1 << 20;
/// What one component may be made of: one that brings an interpreter has dozens of modules.
const MODULES_MAX: u32 = 64;
const MEMORIES_MAX: u32 = 2;
const TABLES_MAX: u32 = 32;
const TABLE_ELEMENTS_MAX: usize = 100_000;
const INSTANCE_BYTES_MAX: usize = 4 << 20;
/// Memory that a place in the pool has room for, whatever the limits say.
const MEMORY_BYTES_MAX: usize = 4 << 30;

/// Memory of a place that is wiped rather than given back: faulting it in again costs more.
const RESIDENT_BYTES: usize = 128 << 10;

/// An engine with room for so many components at once. Whatever shows in what a guest
/// computes is fixed.
pub(crate) fn engine(running_max: u32) -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(running_max)
        .total_core_instances(running_max * MODULES_MAX)
        .total_memories(running_max * MEMORIES_MAX)
        .total_tables(running_max * TABLES_MAX)
        .max_core_instances_per_component(MODULES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_component_instance_size(INSTANCE_BYTES_MAX)
        .max_core_instance_size(INSTANCE_BYTES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_tables_per_module(TABLES_MAX)
        .max_memory_size(MEMORY_BYTES_MAX)
        .linear_memory_keep_resident(RESIDENT_BYTES)
        .table_keep_resident(RESIDENT_BYTES);
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .collector(Collector::Null)
        .max_wasm_stack(STACK_BYTES)
        .generate_address_map(false)
        .wasm_backtrace_max_frames(None)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// A component compiled, from the cache where it holds it.
pub(crate) fn component(
    engine: &Engine,
    bytes: &[u8],
    digest: Digest,
    cache: &Path,
) -> wasmtime::Result<Component> {
    let parts = ("component", FORMAT_VERSION, COMPILER, std::env::consts::ARCH, digest);
    let key = Digest::of_json(&parts);
    let place = cache.join(key.to_string());
    if let Some(component) = load(engine, &place, key) {
        return Ok(component);
    }
    let held = lock(cache, &|_| {})
        .inspect_err(|error| {
            let (cache, error) = (cache.display(), error.to_string());
            tracing::warn!(%cache, error, "nothing is kept; compiling it for this once");
        })
        .ok();
    // Whoever held the lock may have compiled just this.
    if let Some(component) = load(engine, &place, key) {
        return Ok(component);
    }
    let component = Component::new(engine, bytes)?;
    keep(cache, held.as_ref(), key, CODE, vec![], |file| {
        file.write_all(&component.serialize().map_err(io::Error::other)?)
    });
    Ok(component)
}

#[expect(unsafe_code, reason = "loading compiled code")]
fn load(engine: &Engine, place: &Path, key: Digest) -> Option<Component> {
    let (path, _) = check(place, key, CODE)?;
    // SAFETY: the file is in the user's own cache, was written by this program, and has just
    // been seen to be whole; wasmtime checks its version, settings and processor.
    let component = unsafe { Component::deserialize_file(engine, &path) };
    component
        .inspect_err(|error| {
            let (path, error) = (path.display(), error.to_string());
            tracing::warn!(%path, error, "made for another machine; compiling it again");
        })
        .ok()
}
