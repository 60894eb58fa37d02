//! WASI preview 1, as far as the guest imports it, over a [`World`].
//!
//! Written here rather than taken from `wasmtime-wasi`, whose table of open files belongs to
//! the process and cannot be cloned: a fork of a guest that holds a file open would share
//! it. This one is a value, sees no host file, and leaves the async runtime and the host's
//! file system out of the build.

use wasmtime::{Caller, Linker, Result as Wasm, Trap};

use crate::files::{Access, Errno, Opening, ROOT_HANDLE, Result, Status};
use crate::guest::{Session, Stop};
use crate::world::World;

const MODULE: &str = "wasi_snapshot_preview1";
/// The guest's command line and environment.
const ARGUMENTS: [&str; 1] = ["/usr/local/bin/python.wasm"];
const ENVIRONMENT: [&str; 4] =
    ["HOME=/scratch", "PYTHONHASHSEED=0", "PYTHONTZPATH=", "TMPDIR=/tmp"];

/// Pieces of one read or write, and waits of one poll, that are looked at.
const PIECES_MAX: u32 = 1024;
/// Fuel that one host call costs, and how many bytes it moves for one more unit. The guest
/// would need more for less; what matters is that no loop around a host call is free.
const CALL_FUEL: u64 = 500;
const FUEL_BYTES: u64 = 8;

const FILE_FOLDER: u8 = 3;
const FILE_REGULAR: u8 = 4;
const STREAMS: u32 = 3;
const RIGHT_READ: u64 = 1 << 1;
const RIGHT_WRITE: u64 = 1 << 6;
const FLAG_APPEND: u16 = 1;

/// The guest's memory, every access checked.
struct Bytes<'a>(&'a mut [u8]);

impl Bytes<'_> {
    fn at(&mut self, start: u32, count: u32) -> Result<&mut [u8]> {
        let start = start as usize;
        let end = start.checked_add(count as usize).ok_or(Errno::Fault)?;
        self.0.get_mut(start..end).ok_or(Errno::Fault)
    }

    fn text(&mut self, start: u32, count: u32) -> Result<&str> {
        std::str::from_utf8(self.at(start, count)?).map_err(|_| Errno::BadSequence)
    }

    fn u32(&mut self, at: u32) -> Result<u32> {
        let bytes = self.at(at, 4)?.try_into().expect("four bytes");
        Ok(u32::from_le_bytes(bytes))
    }

    fn put(&mut self, at: u32, bytes: &[u8]) -> Result<()> {
        let count = u32::try_from(bytes.len()).map_err(|_| Errno::Fault)?;
        self.at(at, count)?.copy_from_slice(bytes);
        Ok(())
    }

    fn put_u32(&mut self, at: u32, value: u32) -> Result<()> {
        self.put(at, &value.to_le_bytes())
    }

    fn put_u64(&mut self, at: u32, value: u64) -> Result<()> {
        self.put(at, &value.to_le_bytes())
    }

    /// The pieces of memory that a read or write is scattered over.
    fn pieces(&mut self, at: u32, count: u32) -> Result<Vec<(u32, u32)>> {
        if count > PIECES_MAX {
            return Err(Errno::Invalid);
        }
        let piece = |i: u32| {
            let at = at.checked_add(8 * i).ok_or(Errno::Fault)?;
            Ok((self.u32(at)?, self.u32(at.checked_add(4).ok_or(Errno::Fault)?)?))
        };
        (0..count).map(piece).collect()
    }
}

/// Takes fuel for `bytes` that the host moves.
pub(crate) fn charge(caller: &mut Caller<'_, Session>, bytes: u64) -> Wasm<()> {
    let fuel = caller.get_fuel()?;
    let cost = CALL_FUEL + bytes / FUEL_BYTES;
    let left = fuel.checked_sub(cost).ok_or(Trap::OutOfFuel)?;
    caller.set_fuel(left)
}

/// Runs one host function: its bytes paid for, memory and session at hand.
fn serve(
    mut caller: Caller<'_, Session>,
    bytes: u64,
    body: impl FnOnce(&mut Bytes<'_>, &mut Session) -> Result<()>,
) -> Wasm<u32> {
    charge(&mut caller, bytes)?;
    let memory = caller.data().memory();
    let (bytes, session) = memory.data_and_store_mut(&mut caller);
    Ok(match body(&mut Bytes(bytes), session) {
        Ok(()) => 0,
        Err(errno) => errno as u32,
    })
}

/// The guest's memory as a call begins, for calls whose cost stands in it.
fn scattered(caller: &mut Caller<'_, Session>, at: u32, count: u32) -> u64 {
    let memory = caller.data().memory();
    let pieces = Bytes(memory.data_mut(caller)).pieces(at, count);
    pieces.map_or(0, |pieces| pieces.iter().map(|piece| u64::from(piece.1)).sum())
}

/// Gives the guest everything it imports from WASI.
pub(crate) fn link(linker: &mut Linker<Session>) -> Wasm<()> {
    link_process(linker)?;
    link_streams(linker)?;
    link_handles(linker)?;
    link_paths(linker)?;
    link_sockets(linker)
}

fn link_process(linker: &mut Linker<Session>) -> Wasm<()> {
    type C<'a> = Caller<'a, Session>;
    linker.func_wrap(MODULE, "args_get", |c: C<'_>, list: u32, text: u32| {
        serve(c, 0, |bytes, _| put_strings(bytes, &ARGUMENTS, list, text))
    })?;
    linker.func_wrap(MODULE, "args_sizes_get", |c: C<'_>, count: u32, size: u32| {
        serve(c, 0, |bytes, _| put_sizes(bytes, &ARGUMENTS, count, size))
    })?;
    linker.func_wrap(MODULE, "environ_get", |c: C<'_>, list: u32, text: u32| {
        serve(c, 0, |bytes, _| put_strings(bytes, &ENVIRONMENT, list, text))
    })?;
    linker.func_wrap(
        MODULE,
        "environ_sizes_get",
        |c: C<'_>, count: u32, size: u32| {
            serve(c, 0, |bytes, _| put_sizes(bytes, &ENVIRONMENT, count, size))
        },
    )?;
    linker.func_wrap(MODULE, "clock_res_get", |c: C<'_>, id: u32, out: u32| {
        serve(c, 0, |bytes, _| {
            if id > 3 {
                return Err(Errno::Invalid);
            }
            bytes.put_u64(out, 1_000)
        })
    })?;
    linker.func_wrap(
        MODULE,
        "clock_time_get",
        |c: C<'_>, id: u32, _: u64, out: u32| {
            serve(c, 0, |bytes, session| {
                session.world.tick();
                let now = match id {
                    0 => session.world.now_ns(),
                    1..=3 => session.world.elapsed_ns(),
                    _ => return Err(Errno::Invalid),
                };
                bytes.put_u64(out, now)
            })
        },
    )?;
    linker.func_wrap(MODULE, "random_get", |c: C<'_>, at: u32, count: u32| {
        // A draw costs more than a copy.
        serve(c, 8 * u64::from(count), |bytes, session| {
            session.world.draw(bytes.at(at, count)?);
            Ok(())
        })
    })?;
    linker.func_wrap(
        MODULE,
        "poll_oneoff",
        |c: C<'_>, waits: u32, events: u32, count: u32, out: u32| {
            serve(c, 64 * u64::from(count), |bytes, session| {
                poll(bytes, &mut session.world, waits, events, count, out)
            })
        },
    )?;
    linker.func_wrap(MODULE, "sched_yield", |c: C<'_>| serve(c, 0, |_, _| Ok(())))?;
    linker.func_wrap(MODULE, "proc_exit", |_: C<'_>, code: u32| -> Wasm<()> {
        Err(Stop::Exit(code).into())
    })?;
    Ok(())
}

fn link_streams(linker: &mut Linker<Session>) -> Wasm<()> {
    type C<'a> = Caller<'a, Session>;
    linker.func_wrap(
        MODULE,
        "fd_read",
        |mut c: C<'_>, fd: u32, at: u32, count: u32, out: u32| {
            let total = scattered(&mut c, at, count);
            serve(c, total, |bytes, session| {
                let mut done = 0;
                for (start, length) in bytes.pieces(at, count)? {
                    let piece = bytes.at(start, length)?;
                    // Standard input is at its end.
                    let read = match fd {
                        0 => 0,
                        1 | 2 => return Err(Errno::BadHandle),
                        _ => session.world.files.read(fd, piece)?,
                    };
                    done += read as u32;
                    if read < length as usize {
                        break;
                    }
                }
                bytes.put_u32(out, done)
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "fd_write",
        |mut c: C<'_>, fd: u32, at: u32, count: u32, out: u32| {
            let total = scattered(&mut c, at, count);
            let mut printed = Ok(());
            let errno = {
                let printed = &mut printed;
                serve(c, total, |bytes, session| {
                    let mut done = 0;
                    for (start, length) in bytes.pieces(at, count)? {
                        let piece = bytes.at(start, length)?;
                        match fd {
                            0 => return Err(Errno::BadHandle),
                            1 | 2 => *printed = session.printed.put(fd == 2, piece),
                            _ => {
                                let now = session.world.now_ns();
                                session.world.files.write(fd, piece, now)?;
                            }
                        }
                        done += length;
                    }
                    bytes.put_u32(out, done)
                })?
            };
            printed.map(|()| errno).map_err(wasmtime::Error::from)
        },
    )?;
    linker.func_wrap(
        MODULE,
        "fd_pread",
        |mut c: C<'_>, fd: u32, at: u32, count: u32, offset: u64, out: u32| {
            let total = scattered(&mut c, at, count);
            serve(c, total, |bytes, session| {
                let mut done: u32 = 0;
                for (start, length) in bytes.pieces(at, count)? {
                    let piece = bytes.at(start, length)?;
                    let from =
                        offset.checked_add(u64::from(done)).ok_or(Errno::Invalid)?;
                    let read = session.world.files.read_at(file(fd)?, piece, from)?;
                    done += read as u32;
                    if read < length as usize {
                        break;
                    }
                }
                bytes.put_u32(out, done)
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "fd_pwrite",
        |mut c: C<'_>, fd: u32, at: u32, count: u32, offset: u64, out: u32| {
            let total = scattered(&mut c, at, count);
            serve(c, total, |bytes, session| {
                let now = session.world.now_ns();
                let mut done: u32 = 0;
                for (start, length) in bytes.pieces(at, count)? {
                    let piece = bytes.at(start, length)?;
                    let to = offset.checked_add(u64::from(done)).ok_or(Errno::Invalid)?;
                    session.world.files.write_at(file(fd)?, piece, to, now)?;
                    done += length;
                }
                bytes.put_u32(out, done)
            })
        },
    )?;
    Ok(())
}

fn link_handles(linker: &mut Linker<Session>) -> Wasm<()> {
    type C<'a> = Caller<'a, Session>;
    for name in ["fd_datasync", "fd_sync"] {
        linker.func_wrap(MODULE, name, |c: C<'_>, fd: u32| {
            serve(c, 0, |_, session| session.world.files.access(file(fd)?).map(|_| ()))
        })?;
    }
    linker.func_wrap(
        MODULE,
        "fd_advise",
        |c: C<'_>, fd: u32, _: u64, _: u64, _: u32| {
            serve(c, 0, |_, session| session.world.files.access(file(fd)?).map(|_| ()))
        },
    )?;
    linker.func_wrap(MODULE, "fd_close", |c: C<'_>, fd: u32| {
        serve(c, 0, |_, session| match fd {
            // The streams stay open: the next step prints again.
            0..STREAMS => Ok(()),
            _ => session.world.files.close(fd),
        })
    })?;
    linker.func_wrap(MODULE, "fd_fdstat_get", |c: C<'_>, fd: u32, out: u32| {
        serve(c, 0, |bytes, session| {
            let mut stat = [0; 24];
            if fd >= STREAMS {
                let files = &session.world.files;
                stat[0] = kind(files.status(fd)?);
                stat[2] = u8::from(files.access(fd)?.append);
            }
            // What may be done with a handle is found out by doing it.
            stat[8..].fill(0xff);
            bytes.put(out, &stat)
        })
    })?;
    linker.func_wrap(
        MODULE,
        "fd_fdstat_set_flags",
        |c: C<'_>, fd: u32, flags: u32| {
            serve(c, 0, |_, session| {
                session
                    .world
                    .files
                    .set_append(file(fd)?, flags & u32::from(FLAG_APPEND) != 0)
            })
        },
    )?;
    linker.func_wrap(MODULE, "fd_filestat_get", |c: C<'_>, fd: u32, out: u32| {
        serve(c, 0, |bytes, session| {
            let stat = if fd < STREAMS {
                [0; 64]
            } else {
                file_stat(session.world.files.status(fd)?)
            };
            bytes.put(out, &stat)
        })
    })?;
    linker.func_wrap(
        MODULE,
        "fd_filestat_set_size",
        |c: C<'_>, fd: u32, size: u64| {
            serve(c, 0, |_, session| {
                let now = session.world.now_ns();
                session.world.files.set_size(file(fd)?, size, now)
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "fd_filestat_set_times",
        |c: C<'_>, fd: u32, _: u64, modified: u64, flags: u32| {
            serve(c, 0, |_, session| match stamp(&session.world, modified, flags) {
                Some(at) => session.world.files.set_modified(file(fd)?, at),
                None => Ok(()),
            })
        },
    )?;
    linker.func_wrap(MODULE, "fd_prestat_get", |c: C<'_>, fd: u32, out: u32| {
        serve(c, 0, |bytes, _| {
            // The root is the one folder the guest is given: kind 0, a name of one byte.
            if fd == ROOT_HANDLE {
                bytes.put_u64(out, 1 << 32)
            } else {
                Err(Errno::BadHandle)
            }
        })
    })?;
    linker.func_wrap(
        MODULE,
        "fd_prestat_dir_name",
        |c: C<'_>, fd: u32, at: u32, length: u32| {
            serve(c, 0, |bytes, _| match (fd, length) {
                (ROOT_HANDLE, 1..) => bytes.put(at, b"/"),
                (ROOT_HANDLE, 0) => Err(Errno::NameTooLong),
                _ => Err(Errno::BadHandle),
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "fd_readdir",
        |mut c: C<'_>, fd: u32, at: u32, length: u32, cookie: u64, out: u32| {
            let entries = c.data().world.files.list(fd).unwrap_or_default().len() as u64;
            charge(&mut c, 64 * entries)?;
            serve(c, u64::from(length), |bytes, session| {
                let entries = session.world.files.list(file(fd)?)?;
                let used = put_entries(bytes.at(at, length)?, &entries, cookie);
                bytes.put_u32(out, used as u32)
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "fd_seek",
        |c: C<'_>, fd: u32, delta: i64, whence: u32, out: u32| {
            serve(c, 0, |bytes, session| {
                let whence = u8::try_from(whence).map_err(|_| Errno::Invalid)?;
                let offset = session.world.files.seek(file(fd)?, delta, whence)?;
                bytes.put_u64(out, offset)
            })
        },
    )?;
    linker.func_wrap(MODULE, "fd_tell", |c: C<'_>, fd: u32, out: u32| {
        serve(c, 0, |bytes, session| {
            let offset = session.world.files.seek(file(fd)?, 0, 1)?;
            bytes.put_u64(out, offset)
        })
    })?;
    Ok(())
}

fn link_paths(linker: &mut Linker<Session>) -> Wasm<()> {
    type C<'a> = Caller<'a, Session>;
    linker.func_wrap(
        MODULE,
        "path_open",
        |c: C<'_>,
         fd: u32,
         _: u32,
         at: u32,
         length: u32,
         how: u32,
         rights: u64,
         _: u64,
         flags: u32,
         out: u32| {
            serve(c, u64::from(length), |bytes, session| {
                let opening = Opening {
                    create: how & 1 != 0,
                    folder: how & 2 != 0,
                    exclusive: how & 4 != 0,
                    truncate: how & 8 != 0,
                };
                let access = Access {
                    read: rights & RIGHT_READ != 0,
                    write: rights & RIGHT_WRITE != 0,
                    append: flags & u32::from(FLAG_APPEND) != 0,
                };
                let path = bytes.text(at, length)?.to_owned();
                // The number is written first: a handle nobody knows could not be closed.
                bytes.put_u32(out, 0)?;
                let now = session.world.now_ns();
                let opened = session.world.files.open(fd, &path, opening, access, now)?;
                bytes.put_u32(out, opened)
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "path_filestat_get",
        |c: C<'_>, fd: u32, _: u32, at: u32, length: u32, out: u32| {
            serve(c, u64::from(length), |bytes, session| {
                let path = bytes.text(at, length)?;
                let status = session.world.files.path_status(fd, path)?;
                bytes.put(out, &file_stat(status))
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "path_filestat_set_times",
        |c: C<'_>,
         fd: u32,
         _: u32,
         at: u32,
         length: u32,
         _: u64,
         modified: u64,
         flags: u32| {
            serve(c, u64::from(length), |bytes, session| {
                let path = bytes.text(at, length)?;
                match stamp(&session.world, modified, flags) {
                    Some(to) => session.world.files.set_path_modified(fd, path, to),
                    None => session.world.files.path_status(fd, path).map(|_| ()),
                }
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "path_create_directory",
        |c: C<'_>, fd: u32, at: u32, length: u32| {
            serve(c, u64::from(length), |bytes, session| {
                let now = session.world.now_ns();
                session.world.files.make_folder(fd, bytes.text(at, length)?, now)
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "path_remove_directory",
        |c: C<'_>, fd: u32, at: u32, length: u32| {
            serve(c, u64::from(length), |bytes, session| {
                session.world.files.remove_folder(fd, bytes.text(at, length)?)
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "path_unlink_file",
        |c: C<'_>, fd: u32, at: u32, length: u32| {
            serve(c, u64::from(length), |bytes, session| {
                session.world.files.remove_file(fd, bytes.text(at, length)?)
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "path_rename",
        |c: C<'_>,
         fd: u32,
         at: u32,
         length: u32,
         to_fd: u32,
         to_at: u32,
         to_length: u32| {
            serve(c, u64::from(length) + u64::from(to_length), |bytes, session| {
                let from = bytes.text(at, length)?.to_owned();
                let to = bytes.text(to_at, to_length)?;
                session.world.files.rename(fd, &from, to_fd, to)
            })
        },
    )?;
    // There are no links, hard or symbolic.
    linker.func_wrap(
        MODULE,
        "path_link",
        |c: C<'_>, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32| {
            serve(c, 0, |_, _| Err(Errno::NotSupported))
        },
    )?;
    linker.func_wrap(
        MODULE,
        "path_symlink",
        |c: C<'_>, _: u32, _: u32, _: u32, _: u32, _: u32| {
            serve(c, 0, |_, _| Err(Errno::NotSupported))
        },
    )?;
    linker.func_wrap(
        MODULE,
        "path_readlink",
        |c: C<'_>, fd: u32, at: u32, length: u32, _: u32, _: u32, _: u32| {
            serve(c, u64::from(length), |bytes, session| {
                session.world.files.path_status(fd, bytes.text(at, length)?)?;
                Err(Errno::Invalid)
            })
        },
    )?;
    Ok(())
}

/// There are no sockets: what the guest holds is a file, or nothing.
fn link_sockets(linker: &mut Linker<Session>) -> Wasm<()> {
    type C<'a> = Caller<'a, Session>;
    fn refuse(caller: Caller<'_, Session>) -> Wasm<u32> {
        serve(caller, 0, |_, _| Err(Errno::NotSocket))
    }
    linker
        .func_wrap(MODULE, "sock_accept", |c: C<'_>, _: u32, _: u32, _: u32| refuse(c))?;
    linker.func_wrap(
        MODULE,
        "sock_recv",
        |c: C<'_>, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32| refuse(c),
    )?;
    linker.func_wrap(
        MODULE,
        "sock_send",
        |c: C<'_>, _: u32, _: u32, _: u32, _: u32, _: u32| refuse(c),
    )?;
    linker.func_wrap(MODULE, "sock_shutdown", |c: C<'_>, _: u32, _: u32| refuse(c))?;
    Ok(())
}

/// A handle that is no stream.
fn file(fd: u32) -> Result<u32> {
    if fd < STREAMS { Err(Errno::NotSeekable) } else { Ok(fd) }
}

fn kind(status: Status) -> u8 {
    if status.is_folder { FILE_FOLDER } else { FILE_REGULAR }
}

fn file_stat(status: Status) -> [u8; 64] {
    let mut stat = [0; 64];
    stat[8..16].copy_from_slice(&status.node.to_le_bytes());
    stat[16] = kind(status);
    stat[24] = 1;
    stat[32..40].copy_from_slice(&status.size.to_le_bytes());
    for at in [40, 48, 56] {
        stat[at..at + 8].copy_from_slice(&status.modified_ns.to_le_bytes());
    }
    stat
}

/// The time a file is to be stamped with; `None` if it is to be left alone.
fn stamp(world: &World, modified_ns: u64, flags: u32) -> Option<u64> {
    match (flags & 4 != 0, flags & 8 != 0) {
        (true, _) => Some(modified_ns),
        (_, true) => Some(world.now_ns()),
        _ => None,
    }
}

fn put_sizes(
    bytes: &mut Bytes<'_>,
    strings: &[&str],
    count: u32,
    size: u32,
) -> Result<()> {
    bytes.put_u32(count, strings.len() as u32)?;
    bytes.put_u32(size, strings.iter().map(|string| string.len() as u32 + 1).sum())
}

fn put_strings(
    bytes: &mut Bytes<'_>,
    strings: &[&str],
    list: u32,
    text: u32,
) -> Result<()> {
    let mut at = text;
    for (i, string) in (0..).zip(strings) {
        bytes.put_u32(list.checked_add(4 * i).ok_or(Errno::Fault)?, at)?;
        bytes.put(at, string.as_bytes())?;
        at = at.checked_add(string.len() as u32).ok_or(Errno::Fault)?;
        bytes.put(at, &[0])?;
        at = at.checked_add(1).ok_or(Errno::Fault)?;
    }
    Ok(())
}

/// Writes folder entries from the cookie on. As WASI has it, the last one may be cut.
fn put_entries(
    mut buffer: &mut [u8],
    entries: &[(String, Status)],
    cookie: u64,
) -> usize {
    let size = buffer.len();
    let skipped = usize::try_from(cookie).unwrap_or(usize::MAX);
    for (index, (name, status)) in entries.iter().enumerate().skip(skipped) {
        let mut entry = Vec::with_capacity(24 + name.len());
        entry.extend((index as u64 + 1).to_le_bytes());
        entry.extend(status.node.to_le_bytes());
        entry.extend((name.len() as u32).to_le_bytes());
        entry.extend([kind(*status), 0, 0, 0]);
        entry.extend(name.as_bytes());
        let count = entry.len().min(buffer.len());
        buffer[..count].copy_from_slice(&entry[..count]);
        buffer = &mut buffer[count..];
        if buffer.is_empty() {
            break;
        }
    }
    size - buffer.len()
}

/// Waits for the first of several things: handles are always ready, clocks are moved.
fn poll(
    bytes: &mut Bytes<'_>,
    world: &mut World,
    waits: u32,
    events: u32,
    count: u32,
    out: u32,
) -> Result<()> {
    if count == 0 || count > PIECES_MAX {
        return Err(Errno::Invalid);
    }
    let mut polled = Vec::with_capacity(count as usize);
    for i in 0..count {
        let at = waits.checked_add(48 * i).ok_or(Errno::Fault)?;
        let wait: [u8; 48] = bytes.at(at, 48)?.try_into().expect("48 bytes");
        let user: [u8; 8] = wait[..8].try_into().expect("eight bytes");
        let due_ns = match wait[8] {
            0 => {
                let id = wait[16];
                let timeout = u64::from_le_bytes(wait[24..32].try_into().expect("eight"));
                let is_absolute = wait[40] & 1 != 0;
                match (is_absolute, id) {
                    (true, 0) => World::since_start(timeout),
                    (true, _) => timeout,
                    (false, _) => world.elapsed_ns().saturating_add(timeout),
                }
            }
            1 | 2 => 0,
            _ => return Err(Errno::Invalid),
        };
        polled.push((user, wait[8], due_ns));
    }
    let first = polled.iter().map(|(_, _, due_ns)| *due_ns).min().expect("at least one");
    world.sleep_until(first);
    let mut at = events;
    let mut ready = 0;
    for (user, tag, due_ns) in polled {
        if due_ns > world.elapsed_ns() {
            continue;
        }
        let mut event = [0; 32];
        event[..8].copy_from_slice(&user);
        event[10] = tag;
        bytes.put(at, &event)?;
        at = at.checked_add(32).ok_or(Errno::Fault)?;
        ready += 1;
    }
    bytes.put_u32(out, ready)
}
