//! Makes the interpreter ready: compiles its module, imports what every episode starts with,
//! and keeps both for the next time.
//!
//! ```text
//! <cache>/build.lock          held by whoever builds; the system frees it when they die
//! <cache>/<digest>/           the compiled module, or the started interpreter's memory, and
//!                             manifest.json, which says what belongs there
//! <cache>/<digest>.building/  a build in progress, or what is left of one
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use plumbline::{Digest, Limits};
use serde::{Deserialize, Serialize};
use wasmtime::{Collector, Config, Engine, Module};

use crate::artefact::Artefact;
use crate::door::Door;
use crate::files::{Files, SCRATCH};
use crate::guest::{Ended, Frozen, Machine};
use crate::memory::{self, Image};
use crate::module::split;
use crate::{Progress, PythonError};

/// Raised whenever what is built would come out differently.
const FORMAT_VERSION: u32 = 1;
/// What decides how much fuel an operation costs, and what the compiled code is.
pub(crate) const COMPILER: &str = "wasmtime 48";
/// Native stack that the guest may use. Python's own limit is reached long before.
pub(crate) const STACK_BYTES: usize = 24 << 20;

const MANIFEST: &str = "manifest.json";
const MODULE: &str = "module.cwasm";
const MEMORY: &str = "start.memory";
const LOCK: &str = "build.lock";
const LOCK_POLL: Duration = Duration::from_millis(100);
const LOCK_POLLS_MAX: u32 = 10 * 3600;
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// Memory that the interpreter may use while it starts.
const START_MEMORY_BYTES_MAX: usize = 1 << 30;

/// The source that makes the interpreter run cells, and the source that settles it.
const KERNEL: &str = include_str!("kernel.py");
const WARM: &str = include_str!("warm.py");

/// An interpreter that is ready for its first cell.
pub(crate) struct Prepared {
    pub(crate) machine: Machine,
    pub(crate) start: Start,
}

/// The state every episode starts from; its world is that of the episode.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) image: Image,
    pub(crate) globals: Vec<i32>,
}

/// What a finished build is made of.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format_version: u32,
    digest: Digest,
    bytes: usize,
    crc32: u32,
    /// Of a started interpreter.
    globals: Vec<i32>,
}

/// Digest of everything the start of an episode depends on.
pub(crate) fn start_digest(artefact: &Artefact, preload: &[String]) -> Digest {
    let (module, stdlib) = (artefact.module_digest(), artefact.stdlib_digest());
    let library: Vec<&str> =
        artefact.library().iter().map(|(path, _)| path.as_str()).collect();
    let code = (module, stdlib, library, KERNEL, WARM);
    Digest::of_json(&(FORMAT_VERSION, COMPILER, code, preload))
}

/// Gets the interpreter ready, from the cache where it holds what is needed.
pub(crate) fn prepare(
    artefact: &Artefact,
    preload: &[String],
    cache: &Path,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Prepared, PythonError> {
    let engine = engine().map_err(engine_error)?;
    // What is compiled here may not run elsewhere: wasmtime checks that when it loads it.
    let compiled = (FORMAT_VERSION, COMPILER, artefact.module_digest());
    let module_key = Digest::of_json(&("module", compiled, std::env::consts::ARCH));
    let start_key = Digest::of_json(&("start", start_digest(artefact, preload)));
    let place = |key: Digest| cache.join(key.to_string());
    let mut module = load_module(&engine, &place(module_key), module_key);
    let mut start = load_start(&place(start_key), start_key);
    // Held until everything is built.
    let mut held = None;
    if module.is_none() || start.is_none() {
        held = lock(cache, progress)
            .inspect_err(|error| {
                let (cache, error) = (cache.display(), error.to_string());
                tracing::warn!(%cache, error, "nothing is kept; building it for this once");
            })
            .ok();
        // Whoever held the lock may have built just this.
        module = module.or_else(|| load_module(&engine, &place(module_key), module_key));
        start = start.or_else(|| load_start(&place(start_key), start_key));
    }
    let mut first = None;
    if module.is_none() || start.is_none() {
        let wasm = artefact.read_module()?;
        let parts = split(&wasm).map_err(|message| artefact.not_a_module(message))?;
        first = Some(parts.memory);
        if module.is_none() {
            let built = compile(&engine, &parts.code, progress)?;
            keep(cache, held.as_ref(), module_key, MODULE, vec![], |file| {
                file.write_all(&built.serialize().map_err(io::Error::other)?)
            });
            // What was written is mapped from the file, and so shared with other processes.
            module = load_module(&engine, &place(module_key), module_key).or(Some(built));
        }
    }
    let module = module.expect("loaded or built");
    let machine = Machine::new(&module).map_err(engine_error)?;
    let start = match start {
        Some(start) => start,
        None => {
            progress(Progress::Starting);
            let first = first.expect("read when there was no start");
            let first = Image::of_bytes(&first).map_err(|error| host_error(&error))?;
            let built = begin(&machine, artefact, preload, first)?;
            keep(
                cache,
                held.as_ref(),
                start_key,
                MEMORY,
                built.globals.clone(),
                |file| built.image.write_to(file),
            );
            load_start(&place(start_key), start_key).unwrap_or(built)
        }
    };
    Ok(Prepared { machine, start })
}

/// How the module is compiled and run: whatever shows in what a guest computes is fixed.
fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_exceptions(true)
        .collector(Collector::Null)
        .async_stack_size(STACK_BYTES)
        .max_wasm_stack(STACK_BYTES)
        // A trap says what went wrong, not where in the interpreter.
        .generate_address_map(false)
        .native_unwind_info(false)
        .wasm_backtrace_max_frames(None);
    memory::configure(&mut config);
    Engine::new(&config)
}

/// Compiles, and says now and then for how long.
fn compile(
    engine: &Engine,
    code: &[u8],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Module, PythonError> {
    let began = Instant::now();
    std::thread::scope(|scope| {
        let (done, wait) = channel::<()>();
        let compiling = scope.spawn(move || {
            let _done = done;
            Module::new(engine, code)
        });
        while wait.recv_timeout(REPORT_EVERY) == Err(RecvTimeoutError::Timeout) {
            progress(Progress::Compiling { seconds: began.elapsed().as_secs() });
        }
        match compiling.join() {
            Ok(module) => module.map_err(engine_error),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Starts an interpreter: the kernel, then the modules every episode starts with.
pub(crate) fn begin(
    machine: &Machine,
    artefact: &Artefact,
    preload: &[String],
    first: Image,
) -> Result<Start, PythonError> {
    let limits = Limits {
        fuel_max: u64::MAX,
        memory_bytes_max: START_MEMORY_BYTES_MAX,
        output_bytes_max: 64 << 10,
        files_bytes_max: 1 << 20,
        ..Limits::default()
    };
    let files = Files::new(artefact.library().iter().cloned(), limits.files_bytes_max, 0);
    let unstarted = machine.unstarted(first, files).map_err(engine_error)?;
    let never = Arc::default();
    let mut live =
        machine.wake(&unstarted, &limits, Door::closed(), never).map_err(engine_error)?;
    let imports: String = preload.iter().map(|name| format!("import {name}\n")).collect();
    // Names go with the module they were imported into: the first cell finds none.
    for (what, source) in [("kernel", KERNEL), ("preload", &imports), ("end", WARM)] {
        let ended = live.turn(source);
        let printed = &live.session().printed;
        let errors = String::from_utf8_lossy(&printed.stderr);
        if !matches!(ended, Ended::Returned) || errors.contains("Error") {
            let message = format!("starting it ({what}): {ended:?} {errors}");
            return Err(PythonError::Engine { message });
        }
    }
    let (Frozen { image, globals, world }, _) =
        live.freeze().map_err(|error| host_error(&error))?;
    let written = world.files.written();
    if world.files.handles() != 1 || !written.is_empty() {
        let message = format!("its start leaves files open or written in {SCRATCH}");
        return Err(PythonError::Engine { message });
    }
    Ok(Start { image, globals })
}

/// Reads a manifest and checks the file it stands for. `None` if there is nothing whole.
pub(crate) fn check(
    place: &Path,
    key: Digest,
    name: &str,
) -> Option<(PathBuf, Manifest)> {
    let json = fs::read(place.join(MANIFEST)).ok()?;
    let path = place.join(name);
    let checked = || -> Result<Manifest, String> {
        let manifest: Manifest =
            serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        let mut file = File::open(&path).map_err(|error| error.to_string())?;
        let (bytes, crc32) = checksum(&mut file).map_err(|error| error.to_string())?;
        let found = (FORMAT_VERSION, key, bytes, crc32);
        let Manifest { format_version, digest, .. } = manifest;
        if found != (format_version, digest, manifest.bytes, manifest.crc32) {
            return Err("it is not what was written".to_owned());
        }
        Ok(manifest)
    };
    match checked() {
        Ok(manifest) => Some((path, manifest)),
        Err(message) => {
            let path = path.display();
            tracing::warn!(%path, message, "damaged; building it again");
            None
        }
    }
}

#[expect(unsafe_code, reason = "loading compiled code")]
fn load_module(engine: &Engine, place: &Path, key: Digest) -> Option<Module> {
    let (path, _) = check(place, key, MODULE)?;
    // SAFETY: the file is in the user's own cache, was written by this program, and has just
    // been seen to be whole; wasmtime checks its version, settings and processor.
    let module = unsafe { Module::deserialize_file(engine, &path) };
    module
        .inspect_err(|error| {
            let (path, error) = (path.display(), error.to_string());
            tracing::warn!(%path, error, "made for another machine; building it again");
        })
        .ok()
}

fn load_start(place: &Path, key: Digest) -> Option<Start> {
    let (path, manifest) = check(place, key, MEMORY)?;
    let image = Image::of_file(File::open(path).ok()?, manifest.bytes).ok()?;
    Some(Start { image, globals: manifest.globals })
}

/// Writes a build into the cache. That it cannot be kept is no failure.
pub(crate) fn keep(
    cache: &Path,
    lock: Option<&File>,
    key: Digest,
    name: &str,
    globals: Vec<i32>,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) {
    if lock.is_none() {
        return;
    }
    let place = cache.join(key.to_string());
    let building = cache.join(format!("{key}.building"));
    let kept = || -> io::Result<()> {
        if building.exists() {
            fs::remove_dir_all(&building)?;
        }
        fs::create_dir_all(&building)?;
        let path = building.join(name);
        let mut file = OpenOptions::new().create_new(true).write(true).open(&path)?;
        write(&mut file)?;
        file.sync_all()?;
        let (bytes, crc32) = checksum(&mut File::open(&path)?)?;
        let format_version = FORMAT_VERSION;
        let manifest = Manifest { format_version, digest: key, bytes, crc32, globals };
        fs::write(building.join(MANIFEST), serde_json::to_vec_pretty(&manifest)?)?;
        if place.exists() {
            fs::remove_dir_all(&place)?;
        }
        fs::rename(&building, &place)
    };
    if let Err(error) = kept() {
        let (cache, error) = (cache.display(), error.to_string());
        tracing::warn!(%cache, error, "what was built cannot be kept");
    }
}

/// A file's length and CRC-32: against damage, not against malice.
fn checksum(file: &mut File) -> io::Result<(usize, u32)> {
    let mut hasher = crc32fast::Hasher::new();
    let mut piece = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match file.read(&mut piece)? {
            0 => return Ok((bytes, hasher.finalize())),
            count => {
                hasher.update(&piece[..count]);
                bytes += count;
            }
        }
    }
}

/// Waits until nobody else builds in the cache.
pub(crate) fn lock(
    cache: &Path,
    progress: &(dyn Fn(Progress) + Sync),
) -> io::Result<File> {
    fs::create_dir_all(cache)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(cache.join(LOCK))?;
    for _ in 0..LOCK_POLLS_MAX {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                progress(Progress::Waiting);
                std::thread::sleep(LOCK_POLL);
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn engine_error(error: wasmtime::Error) -> PythonError {
    PythonError::Engine { message: format!("{error:#}") }
}

fn host_error(error: &io::Error) -> PythonError {
    PythonError::Engine { message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn what_is_kept_is_whole_or_not_there() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = folder.path();
        let key = Digest::of(b"key");
        let place = cache.join(key.to_string());
        let held = lock(cache, &|_| {}).expect("nobody holds it");
        let write = |file: &mut File| file.write_all(b"contents");
        assert!(check(&place, key, MEMORY).is_none());
        keep(cache, None, key, MEMORY, vec![], write);
        assert!(check(&place, key, MEMORY).is_none(), "without the lock nothing is kept");
        // What a dead build left is in nobody's way.
        fs::create_dir(cache.join(format!("{key}.building"))).expect("a new folder");
        keep(cache, Some(&held), key, MEMORY, vec![7], write);
        let (path, manifest) = check(&place, key, MEMORY).expect("it was just kept");
        assert_eq!((manifest.bytes, manifest.globals), (8, vec![7]));
        assert!(check(&place, Digest::of(b"other"), MEMORY).is_none());
        for damaged in [&b"contentt"[..], b"content", b""] {
            fs::write(&path, damaged).expect("it can be written");
            assert!(check(&place, key, MEMORY).is_none(), "{damaged:?}");
        }
        keep(cache, Some(&held), key, MEMORY, vec![7], write);
        assert!(check(&place, key, MEMORY).is_some(), "made again in its place");
        fs::write(place.join(MANIFEST), b"{").expect("it can be written");
        assert!(check(&place, key, MEMORY).is_none());
    }

    #[test]
    fn one_builds_while_the_others_wait() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let held = lock(folder.path(), &|_| {}).expect("nobody holds it");
        let has_waited = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let note = |progress| {
                    assert_eq!(progress, Progress::Waiting);
                    has_waited.store(true, Ordering::Relaxed);
                };
                lock(folder.path(), &note).expect("it is let go")
            });
            while !has_waited.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            drop(held);
            waiting.join().expect("it does not panic");
        });
    }
}
