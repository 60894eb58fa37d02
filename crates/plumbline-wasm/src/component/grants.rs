//! What a component may import: the scratch, its files, and of WASI what the manifest grants, from a
//! world that is the same in every call. All other imports are there and trap.

use std::sync::Arc;

use plumbline::{Bundle, Bundled, Effect, Limits};
use serde::{Deserialize, Serialize};
use wasmtime::component::{Component, HasSelf, Linker, LinkerInstance};
use wasmtime::{ResourceLimiter, Result as Wasm, StoreContextMut, format_err};

use super::bindings::Tool as Guest;
use super::bindings::plumbline::tool::{files, scratch, types};
use crate::files::Files;
use crate::world::World;

/// Elements of one table.
const TABLE_ELEMENTS_MAX: usize = 1_000_000;
/// Bytes of chance that one call of the host gives.
const DRAW_BYTES_MAX: u64 = 1 << 20;

/// What a component may import besides the scratch and its files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// A clock that starts in 2026 and moves as it is read.
    pub clock: bool,
    /// Chance: the same bytes in every call.
    pub randomness: bool,
}

/// What one call sees.
pub(crate) struct Seen {
    pub(crate) state: Option<String>,
    pub(crate) inputs: String,
    pub(crate) files: Arc<Bundle>,
}

/// What the host functions of one call work on.
pub(crate) struct Host {
    seen: Seen,
    is_written: bool,
    state_bytes_max: usize,
    effect: Effect,
    world: World,
    memory_bytes: usize,
    memory_bytes_max: usize,
    is_refused: bool,
    excess: Option<usize>,
}

impl Host {
    pub(crate) fn new(seen: Seen, effect: Effect, limits: &Limits) -> Self {
        Self {
            seen,
            is_written: false,
            state_bytes_max: limits.files_bytes_max,
            effect,
            world: World::new(Files::new([], 0, 0), 0, 0),
            memory_bytes: 0,
            memory_bytes_max: limits.memory_bytes_max,
            is_refused: false,
            excess: None,
        }
    }

    /// What the call kept for the next one, if anything.
    pub(crate) fn written(self) -> Option<String> {
        self.seen.state.filter(|_| self.is_written)
    }

    pub(crate) fn was_refused_memory(&self) -> bool {
        self.is_refused
    }

    /// How large a state it set that is too large.
    pub(crate) fn excess(&self) -> Option<usize> {
        self.excess
    }
}

impl types::Host for Host {}

impl scratch::Host for Host {
    fn get(&mut self) -> Wasm<Option<String>> {
        Ok(self.seen.state.clone())
    }

    fn set(&mut self, value: String) -> Wasm<()> {
        if self.effect != Effect::Stateful {
            return Err(format_err!("it is declared pure and set a state"));
        }
        let (bytes, bytes_max) = (value.len(), self.state_bytes_max);
        if bytes > bytes_max {
            self.excess = Some(bytes);
            return Err(format_err!("its state is too large"));
        }
        (self.seen.state, self.is_written) = (Some(value), true);
        Ok(())
    }

    fn inputs(&mut self) -> Wasm<String> {
        Ok(self.seen.inputs.clone())
    }
}

impl files::Host for Host {
    fn names(&mut self) -> Wasm<Vec<String>> {
        Ok(self.seen.files.files().iter().map(name).collect())
    }

    fn read(&mut self, path: String) -> Wasm<Option<Vec<u8>>> {
        let found = self.seen.files.files().iter().find(|file| name(file) == path);
        Ok(found.map(|file| file.bytes.clone()))
    }
}

/// A file's path as a guest has it, on every system.
fn name(file: &Bundled) -> String {
    let parts: Vec<_> =
        file.path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

impl ResourceLimiter for Host {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Wasm<bool> {
        // A component may have several memories: together they have one bound.
        let bytes = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        let is_within = bytes <= self.memory_bytes_max;
        if is_within {
            self.memory_bytes = bytes;
        }
        self.is_refused |= !is_within;
        Ok(is_within)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Wasm<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

/// Links a component with everything it imports.
pub(crate) fn link(
    linker: &mut Linker<Host>,
    component: &Component,
    grants: Grants,
) -> Wasm<()> {
    Guest::add_to_linker::<_, HasSelf<_>>(linker, |host| host)?;
    let ty = component.component_type();
    let names: Vec<String> =
        ty.imports(component.engine()).map(|(name, _)| name.to_owned()).collect();
    for name in names {
        // Every version that has these functions has them in this form.
        let interface = name.split('@').next().unwrap_or_default();
        match interface {
            "wasi:clocks/wall-clock" if grants.clock => {
                wall_clock(&mut linker.instance(&name)?)?;
            }
            "wasi:clocks/monotonic-clock" if grants.clock => {
                monotonic_clock(&mut linker.instance(&name)?)?;
            }
            "wasi:random/random" if grants.randomness => {
                let mut random = linker.instance(&name)?;
                chance(&mut random, "get-random-bytes", "get-random-u64")?;
            }
            "wasi:random/insecure" if grants.randomness => {
                let mut random = linker.instance(&name)?;
                let bytes = "get-insecure-random-bytes";
                chance(&mut random, bytes, "get-insecure-random-u64")?;
            }
            "wasi:random/insecure-seed" if grants.randomness => {
                let mut random = linker.instance(&name)?;
                random.func_wrap("insecure-seed", |mut store, ()| {
                    Ok(((draw(&mut store), draw(&mut store)),))
                })?;
            }
            _ => {}
        }
    }
    linker.define_unknown_imports_as_traps(component)
}

type Instance<'l> = LinkerInstance<'l, Host>;

/// A moment, as `wasi:clocks` has it.
#[derive(wasmtime::component::ComponentType, wasmtime::component::Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

fn wall_clock(clock: &mut Instance<'_>) -> Wasm<()> {
    clock.func_wrap("now", |mut store: StoreContextMut<'_, Host>, ()| {
        let world = &mut store.data_mut().world;
        world.tick();
        let (seconds, rest) =
            (world.now_ns() / 1_000_000_000, world.now_ns() % 1_000_000_000);
        let nanoseconds = u32::try_from(rest).expect("less than a second");
        Ok((Datetime { seconds, nanoseconds },))
    })?;
    clock.func_wrap("resolution", |_: StoreContextMut<'_, Host>, ()| {
        Ok((Datetime { seconds: 0, nanoseconds: 1000 },))
    })
}

fn monotonic_clock(clock: &mut Instance<'_>) -> Wasm<()> {
    clock.func_wrap("now", |mut store: StoreContextMut<'_, Host>, ()| {
        let world = &mut store.data_mut().world;
        world.tick();
        Ok((world.elapsed_ns(),))
    })?;
    clock.func_wrap("resolution", |_: StoreContextMut<'_, Host>, ()| Ok((1000_u64,)))
}

fn chance(random: &mut Instance<'_>, bytes: &str, number: &str) -> Wasm<()> {
    random.func_wrap(
        bytes,
        |mut store: StoreContextMut<'_, Host>, (count,): (u64,)| {
            if count > DRAW_BYTES_MAX {
                return Err(format_err!("it wants {count} random bytes at once"));
            }
            let mut drawn = vec![0; usize::try_from(count)?];
            store.data_mut().world.draw(&mut drawn);
            Ok((drawn,))
        },
    )?;
    random.func_wrap(number, |mut store: StoreContextMut<'_, Host>, ()| {
        Ok((draw(&mut store),))
    })
}

fn draw(store: &mut StoreContextMut<'_, Host>) -> u64 {
    let mut bytes = [0; 8];
    store.data_mut().world.draw(&mut bytes);
    u64::from_le_bytes(bytes)
}
