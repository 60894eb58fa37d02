//! An interpreter: at rest, frozen; or live, running one turn at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use plumbline::{Limits, ToolError};
use wasmtime::{
    Instance, InstancePre, Linker, Memory, MemoryType, Module, ResourceLimiter, Store,
    Trap, UpdateDeadline, Val,
};

use crate::door::Door;
use crate::files::Files;
use crate::memory::{self, Image, Room, Spent};
use crate::module::{GLOBAL_PREFIX, PAGE_BYTES};
use crate::world::World;
use crate::{door, wasi};

/// What the module's memory is called.
const MEMORY: &str = "memory";

/// An interpreter at rest: all of it. Cloning shares the memory.
#[derive(Debug, Clone)]
pub(crate) struct Frozen {
    pub(crate) image: Image,
    /// The mutable globals, by index in the module.
    pub(crate) globals: Vec<i32>,
    pub(crate) world: World,
}

/// A module made ready to be instantiated.
#[derive(Clone)]
pub(crate) struct Machine {
    engine: wasmtime::Engine,
    ready: InstancePre<Session>,
    memory: MemoryType,
    globals: Arc<[String]>,
}

/// A running interpreter.
pub(crate) struct Live {
    store: Store<Session>,
    instance: Instance,
    memory: Memory,
    room: Room,
    image: Image,
    globals: Arc<[String]>,
}

/// What the host functions of one guest work on.
pub(crate) struct Session {
    memory: Option<Memory>,
    memory_bytes_max: usize,
    /// Whether memory was refused.
    is_refused: bool,
    is_cancelled: Arc<AtomicBool>,
    pub(crate) world: World,
    pub(crate) printed: Printed,
    pub(crate) door: Door,
}

/// Why the guest was stopped by us, other than for want of fuel.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error("the guest ended itself with code {0}")]
    Exit(u32),
    #[error("the guest printed too much")]
    Printed,
    #[error("nobody waits for the answer any more")]
    Cancelled,
    #[error(transparent)]
    Tool(ToolError),
}

/// How a turn ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It came to its end.
    Returned,
    /// The fuel was used up.
    Fuel,
    /// It printed many times what may be printed.
    Printed,
    /// It failed in a way that leaves no state to go on from.
    Trapped(String),
    /// Nobody waits for the answer any more.
    Cancelled,
    /// A tool it called failed.
    Tool(ToolError),
}

impl Session {
    pub(crate) fn memory(&self) -> Memory {
        self.memory.expect("host functions are called by a running guest")
    }
}

impl ResourceLimiter for Session {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let is_within = desired <= self.memory_bytes_max;
        self.is_refused |= !is_within;
        Ok(is_within)
    }

    fn table_growing(
        &mut self,
        current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // The table is made once; the guest has no way to make it longer.
        Ok(current == 0)
    }
}

/// What a guest printed, up to a bound.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// Bytes that were printed to each and not kept.
    pub(crate) stdout_missing: usize,
    pub(crate) stderr_missing: usize,
    bytes_max: usize,
}

/// How much of what is not kept is taken before the guest is stopped.
const PRINTED_EXCESS: usize = 16;

impl Printed {
    /// Keeps `bytes_max` bytes of both streams together.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            stdout: Vec::new(),
            stderr: Vec::new(),
            stdout_missing: 0,
            stderr_missing: 0,
            bytes_max,
        }
    }

    /// Bytes that may still be kept.
    pub(crate) fn left(&self) -> usize {
        self.bytes_max - self.stdout.len() - self.stderr.len()
    }

    pub(crate) fn put(&mut self, is_error: bool, bytes: &[u8]) -> Result<(), Stop> {
        let kept = &bytes[..bytes.len().min(self.left())];
        let (stream, missing) = if is_error {
            (&mut self.stderr, &mut self.stderr_missing)
        } else {
            (&mut self.stdout, &mut self.stdout_missing)
        };
        stream.extend_from_slice(kept);
        *missing = missing.saturating_add(bytes.len() - kept.len());
        let missing = self.stdout_missing.saturating_add(self.stderr_missing);
        if missing > self.bytes_max.saturating_mul(PRINTED_EXCESS) {
            return Err(Stop::Printed);
        }
        Ok(())
    }
}

impl Machine {
    /// Links a module with everything it imports.
    pub(crate) fn new(module: &Module) -> wasmtime::Result<Self> {
        let engine = module.engine().clone();
        let mut linker = Linker::new(&engine);
        wasi::link(&mut linker)?;
        door::link(&mut linker)?;
        let ready = linker.instantiate_pre(module)?;
        let globals = module
            .exports()
            .map(|export| export.name().to_owned())
            .filter(|name| name.starts_with(GLOBAL_PREFIX))
            .collect();
        let memory =
            module.get_export(MEMORY).and_then(|export| export.memory().cloned());
        let memory = memory.ok_or_else(no_memory)?;
        Ok(Self { engine, ready, memory, globals })
    }

    /// Makes guests that run look whether anybody still waits for them.
    pub(crate) fn nudge(&self) {
        self.engine.increment_epoch();
    }

    /// An interpreter that never ran, from its module's first memory.
    pub(crate) fn unstarted(
        &self,
        memory: Image,
        files: Files,
    ) -> wasmtime::Result<Frozen> {
        let session = Session {
            memory: None,
            memory_bytes_max: usize::MAX,
            is_refused: false,
            is_cancelled: Arc::default(),
            world: World::new(files, 0, 0),
            printed: Printed::new(0),
            door: Door::closed(),
        };
        let mut store = Store::new(&self.engine, session);
        store.set_fuel(u64::MAX)?;
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = self.ready.instantiate(&mut store)?;
        let globals = globals(&self.globals, &instance, &mut store);
        Ok(Frozen { image: memory, globals, world: store.into_data().world })
    }

    /// Makes an interpreter live.
    pub(crate) fn wake(
        &self,
        frozen: &Frozen,
        limits: &Limits,
        door: Door,
        is_cancelled: Arc<AtomicBool>,
    ) -> wasmtime::Result<Live> {
        let mut world = frozen.world.clone();
        world.files.bound(limits.files_bytes_max);
        let memory_bytes_max = limits.memory_bytes_max / PAGE_BYTES * PAGE_BYTES;
        if memory_bytes_max < frozen.image.bytes() {
            return Err(wasmtime::Error::msg(format!(
                "memory_bytes_max = {} is less than the {} bytes that the interpreter holds \
                 already: raise it",
                limits.memory_bytes_max,
                frozen.image.bytes()
            )));
        }
        let session = Session {
            memory: None,
            memory_bytes_max,
            is_refused: false,
            is_cancelled,
            world,
            printed: Printed::new(limits.output_bytes_max),
            door,
        };
        let mut store = Store::new(&self.engine, session);
        store.limiter(|session| session);
        store.set_fuel(limits.fuel_max)?;
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| {
            if store.data().is_cancelled.load(Ordering::Relaxed) {
                return Err(Stop::Cancelled.into());
            }
            Ok(UpdateDeadline::Continue(1))
        });
        memory::prepare(&frozen.image, &self.memory);
        let instance = self.ready.instantiate(&mut store)?;
        let memory = instance.get_memory(&mut store, MEMORY).ok_or_else(no_memory)?;
        let missing = frozen.image.bytes().saturating_sub(memory.data_size(&store));
        memory.grow(&mut store, (missing / PAGE_BYTES) as u64)?;
        let image = frozen.image.clone();
        let live = memory.data_mut(&mut store);
        let room = memory::restore(&image, live, memory_bytes_max)?;
        for (name, value) in self.globals.iter().zip(&frozen.globals) {
            let global = instance.get_global(&mut store, name);
            let global = global.expect("the names are those of the module's exports");
            global.set(&mut store, Val::I32(*value))?;
        }
        store.data_mut().memory = Some(memory);
        let globals = Arc::clone(&self.globals);
        Ok(Live { store, instance, memory, room, image, globals })
    }
}

fn no_memory() -> wasmtime::Error {
    wasmtime::Error::msg("the module exports no memory")
}

fn globals(
    names: &[String],
    instance: &Instance,
    store: &mut Store<Session>,
) -> Vec<i32> {
    let value = |name: &String| {
        let global = instance.get_global(&mut *store, name);
        let global = global.expect("the names are those of the module's exports");
        global.get(&mut *store).i32().expect("a pointer into a 32-bit memory")
    };
    names.iter().map(value).collect()
}

impl Live {
    /// Runs some source in the interpreter's main module.
    pub(crate) fn turn(&mut self, source: &str) -> Ended {
        match self.try_turn(source) {
            Ok(()) => Ended::Returned,
            Err(error) => ended(error),
        }
    }

    fn try_turn(&mut self, source: &str) -> wasmtime::Result<()> {
        let store = &mut self.store;
        let allocate =
            self.instance.get_typed_func::<u32, u32>(&mut *store, "host_alloc")?;
        let turn =
            self.instance.get_typed_func::<(u32, u32), i32>(&mut *store, "turn")?;
        let length = u32::try_from(source.len()).map_err(wasmtime::Error::new)?;
        let at = allocate.call(&mut *store, length)?;
        if at == 0 {
            // The guest is out of memory, which its limiter knows; there is no report.
            return Ok(());
        }
        self.memory.write(&mut *store, at as usize, source.as_bytes())?;
        // The status only repeats what is reported through the door.
        turn.call(&mut *store, (at, length))?;
        Ok(())
    }

    /// What the host functions worked on.
    pub(crate) fn session(&mut self) -> &mut Session {
        self.store.data_mut()
    }

    /// Whether memory was refused in the last turn.
    pub(crate) fn is_memory_refused(&self) -> bool {
        self.store.data().is_refused
    }

    /// Puts the interpreter to rest. No turn is under way, or was cut short. What it ran in
    /// may be used again.
    pub(crate) fn freeze(mut self) -> std::io::Result<(Frozen, Spent)> {
        let globals = globals(&self.globals, &self.instance, &mut self.store);
        let live = self.memory.data(&self.store);
        let (image, spent) = memory::freeze(&self.image, live, self.room)?;
        let mut world = self.store.into_data().world;
        world.files.settle();
        Ok((Frozen { image, globals, world }, spent))
    }
}

fn ended(error: wasmtime::Error) -> Ended {
    if let Some(Trap::OutOfFuel) = error.downcast_ref::<Trap>() {
        return Ended::Fuel;
    }
    if error.is::<Stop>() {
        return match error.downcast::<Stop>().expect("it was just seen to be one") {
            Stop::Exit(code) => Ended::Trapped(format!(
                "the code ended the interpreter, with code {code}"
            )),
            Stop::Printed => Ended::Printed,
            Stop::Cancelled => Ended::Cancelled,
            Stop::Tool(error) => Ended::Tool(error),
        };
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => Ended::Trapped("the stack is used up".to_owned()),
        Some(trap) => Ended::Trapped(format!("the interpreter failed: {trap}")),
        None => Ended::Trapped(format!("the interpreter failed: {}", error.root_cause())),
    }
}
