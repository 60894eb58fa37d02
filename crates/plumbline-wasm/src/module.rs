//! Makes a WebAssembly module whose whole state between calls can be seen and put back.
//!
//! A started interpreter at rest is its linear memory and its mutable globals. The memory
//! is exported already. Here its first contents are taken out of the module, so that making
//! an instance fills nothing in, and every mutable global gets an export.

use wasm_encoder::{ExportKind, ExportSection, Module, RawSection};
use wasmparser::{DataKind, ExternalKind, Operator, Parser, Payload, TypeRef};

/// What the exports of mutable globals are called: this and the global's index.
pub(crate) const GLOBAL_PREFIX: &str = "plumbline.global.";

/// Bytes of a page of linear memory.
pub(crate) const PAGE_BYTES: usize = 64 * 1024;

/// A module taken apart.
pub(crate) struct Split {
    /// The module without its data and without names, its mutable globals exported.
    pub(crate) code: Vec<u8>,
    /// What its linear memory holds before the first call.
    pub(crate) memory: Vec<u8>,
}

/// Takes a module apart. The error says what about the module is not as expected: the
/// module is pinned, so that is the wrong file.
pub(crate) fn split(wasm: &[u8]) -> Result<Split, String> {
    let failed = |error: wasmparser::BinaryReaderError| error.to_string();
    let mut module = Module::new();
    let mut memory = Vec::new();
    let mut mutable: Vec<u32> = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(failed)?;
        match &payload {
            Payload::ImportSection(imports) => {
                for import in imports.clone().into_imports() {
                    if !matches!(import.map_err(failed)?.ty, TypeRef::Func(_)) {
                        return Err("it imports more than functions".to_owned());
                    }
                }
            }
            Payload::MemorySection(memories) => {
                let [ty] = &memories
                    .clone()
                    .into_iter()
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(failed)?[..]
                else {
                    return Err("it has other than one memory".to_owned());
                };
                let pages = usize::try_from(ty.initial).map_err(|e| e.to_string())?;
                memory = vec![0; pages * PAGE_BYTES];
            }
            Payload::GlobalSection(globals) => {
                for (index, global) in (0..).zip(globals.clone()) {
                    if global.map_err(failed)?.ty.mutable {
                        mutable.push(index);
                    }
                }
            }
            Payload::ExportSection(exports) => {
                let mut section = ExportSection::new();
                for export in exports.clone() {
                    let export = export.map_err(failed)?;
                    let kind = match export.kind {
                        ExternalKind::Func => ExportKind::Func,
                        ExternalKind::Memory => ExportKind::Memory,
                        kind => return Err(format!("it exports a {kind:?}")),
                    };
                    section.export(export.name, kind, export.index);
                }
                for index in &mutable {
                    let name = format!("{GLOBAL_PREFIX}{index}");
                    section.export(&name, ExportKind::Global, *index);
                }
                module.section(&section);
                continue;
            }
            Payload::DataSection(segments) => {
                for segment in segments.clone() {
                    let segment = segment.map_err(failed)?;
                    fill(&mut memory, segment.kind, segment.data)?;
                }
                continue;
            }
            Payload::CustomSection(_) => continue,
            _ => {}
        }
        if let Some((id, range)) = payload.as_section() {
            module.section(&RawSection { id, data: &wasm[range] });
        }
    }
    if memory.is_empty() {
        return Err("it has no memory".to_owned());
    }
    Ok(Split { code: module.finish(), memory })
}

/// Puts one data segment where it belongs.
fn fill(memory: &mut [u8], kind: DataKind<'_>, data: &[u8]) -> Result<(), String> {
    let DataKind::Active { memory_index: 0, offset_expr } = kind else {
        if data.is_empty() {
            return Ok(());
        }
        return Err("a data segment is not put in place at the start".to_owned());
    };
    let mut operators = offset_expr.get_operators_reader();
    let Ok(Operator::I32Const { value }) = operators.read() else {
        return Err("a data segment's place is not a constant".to_owned());
    };
    let start = value.cast_unsigned() as usize;
    let place = start.checked_add(data.len()).and_then(|end| memory.get_mut(start..end));
    place.ok_or("a data segment lies outside the memory")?.copy_from_slice(data);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module with one page, a mutable and a constant global, and data at 8.
    fn module(mutable: bool, passive: bool) -> Vec<u8> {
        use wasm_encoder::{
            ConstExpr, DataSection, GlobalSection, GlobalType, MemorySection, MemoryType,
            ValType,
        };
        let mut module = Module::new();
        let mut memories = MemorySection::new();
        memories.memory(MemoryType {
            minimum: 1,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        module.section(&memories);
        let mut globals = GlobalSection::new();
        for mutable in [false, mutable] {
            let ty = GlobalType { val_type: ValType::I32, mutable, shared: false };
            globals.global(ty, &ConstExpr::i32_const(7));
        }
        module.section(&globals);
        let mut exports = ExportSection::new();
        exports.export("memory", ExportKind::Memory, 0);
        module.section(&exports);
        let mut data = DataSection::new();
        if passive {
            data.passive(*b"xyz");
        } else {
            data.active(0, &ConstExpr::i32_const(8), *b"xyz");
        }
        module.section(&data);
        module.finish()
    }

    #[test]
    fn data_moves_out_and_mutable_globals_get_a_name() {
        let split = split(&module(true, false)).expect("a sound module");
        assert_eq!(split.memory.len(), PAGE_BYTES);
        assert_eq!(&split.memory[7..12], b"\0xyz\0");
        let text = String::from_utf8_lossy(&split.code);
        assert!(text.contains("plumbline.global.1") && !text.contains("xyz"));
        assert!(!text.contains("plumbline.global.0"), "a constant is no state");
    }

    #[test]
    fn state_that_cannot_be_seen_is_refused() {
        let error = split(&module(true, true)).err().expect("passive data");
        assert!(error.contains("not put in place"), "{error}");
        assert!(split(b"\0asm\x01\0\0\0").is_err(), "no memory at all");
    }
}
