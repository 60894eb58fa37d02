//! Components as text, by what their `call` does.

/// A component that says it is `count`, and whose `call` is this body: it returns where its
/// result lies. `$ok` answers with so many letters; `$set` and `$get` are the scratch.
pub(crate) fn tool(body: &str) -> String {
    FRAME.replace(";; BODY", &format!("(call $fill)\n{body}"))
}

/// Answers how often it was called, as one digit.
pub(crate) fn counter() -> String {
    FRAME.replace(
        ";; BODY",
        "(call $get (i32.const 400))
         (local.set $n (i32.const 49))
         (if (i32.load8_u (i32.const 400)) (then
           (local.set $n (i32.add (i32.const 1)
             (i32.load8_u (i32.load (i32.const 404)))))))
         (i32.store8 (i32.const 8192) (local.get $n))
         (call $set (i32.const 8192) (i32.const 1))
         (call $ok (i32.const 1))",
    )
}

/// Answers with a letter that it has from a function of WASI's which gives a number: one that
/// must be granted.
pub(crate) fn drawing(interface: &str, function: &str) -> String {
    let imported = format!(
        "(import \"{interface}@0.2.0\" (instance $world
           (export \"{function}\" (func (result u64)))))"
    );
    let body =
        "(i32.store8 (i32.const 8192) (i32.add (i32.const 97) (i32.and (i32.const 15)
           (i32.wrap_i64 (i64.div_u (call $world) (i64.const 1000))))))
         (call $ok (i32.const 1))";
    importing(&imported, function, "(result i64)", body)
        .replace(OBJECT, &schema(r#"{"type":"object","additionalProperties":false}"#))
}

/// Answers with what stands in the file that `path` names, or refuses.
pub(crate) fn reader() -> String {
    let imported = r#"(import "plumbline:tool/files@1.0.0" (instance $world
           (export "read" (func (param "path" string) (result (option (list u8)))))))"#;
    // The path begins after `{"path":"` and ends before `"}`.
    let body = "(call $world (i32.add (local.get 0) (i32.const 9))
           (i32.sub (local.get 1) (i32.const 11)) (i32.const 400))
         (if (i32.eqz (i32.load8_u (i32.const 400))) (then (return (call $refuse))))
         (drop (call $ok (i32.load (i32.const 408))))
         (i32.store (i32.const 204) (i32.load (i32.const 404)))
         (i32.const 200)";
    importing(imported, "read", "(param i32 i32 i32)", body).replace(
        OBJECT,
        &schema(
            r#"{"type":"object","properties":{"path":{"type":"string"}},"required":["path"],"additionalProperties":false}"#,
        ),
    )
}

/// A tool that imports a function `$world`, as it stands and as its code calls it.
fn importing(imported: &str, function: &str, ty: &str, body: &str) -> String {
    let memory = "(memory (core memory $memory \"memory\")) (realloc (core func $memory \"realloc\"))";
    let lowered =
        format!("(core func $world (canon lower (func $world \"{function}\") {memory}))");
    let with = "(with \"w\" (instance (export \"world\" (func $world))))";
    tool(body)
        .replace(";; IMPORT", imported)
        .replace(";; LOWERED", &lowered)
        .replace(";; CALLED", &format!("(import \"w\" \"world\" (func $world {ty}))"))
        .replace(";; WITH", with)
}

/// How many bytes the schema of an object has that may be any, and what stands in it.
const OBJECT: &str =
    r#"\11\00\00\00") (data (i32.const 64) "{\22type\22:\22object\22}")"#;

fn schema(text: &str) -> String {
    let escaped = text.replace('"', "\\22");
    format!("\\{:02x}\\00\\00\\00\") (data (i32.const 64) \"{escaped}\")", text.len())
}

/// The layout is that of the canonical ABI: a record of strings is pointers and lengths; a
/// result or variant a byte that tells which, and its payload at the next multiple of four.
const FRAME: &str = r#"
(component
  (import "plumbline:tool/scratch@1.0.0" (instance $scratch
    (export "get" (func (result (option string))))
    (export "set" (func (param "value" string)))))
  ;; IMPORT
  (core module $memory
    (memory (export "memory") 8)
    (global $next (mut i32) (i32.const 100000))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (global.get $next))
      (global.set $next (i32.add (local.get $at)
        (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -16))))
      (local.get $at)))
  (core instance $memory (instantiate $memory))
  (core func $get (canon lower (func $scratch "get")
    (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
  (core func $set (canon lower (func $scratch "set") (memory (core memory $memory "memory"))))
  ;; LOWERED
  (core module $code
    (import "m" "memory" (memory 8))
    ;; CALLED
    (import "s" "get" (func $get (param i32)))
    (import "s" "set" (func $set (param i32 i32)))
    (data (i32.const 40) "count   Counts.")
    (data (i32.const 16) "\28\00\00\00\05\00\00\00\30\00\00\00\07\00\00\00\40\00\00\00\11\00\00\00") (data (i32.const 64) "{\22type\22:\22object\22}")
    (func $fill
      (i32.store (i32.const 8192) (i32.const 0x61616161))
      (memory.fill (i32.const 8196) (i32.const 97) (i32.const 80000)))
    (func $ok (param $bytes i32) (result i32)
      (i32.store8 (i32.const 200) (i32.const 0))
      (i32.store (i32.const 204) (i32.const 8192))
      (i32.store (i32.const 208) (local.get $bytes))
      (i32.store8 (i32.const 212) (i32.const 0))
      (i32.const 200))
    (func $data (result i32)
      (i32.store8 (i32.const 8192) (i32.const 97))
      (drop (call $ok (i32.const 1)))
      (i32.store8 (i32.const 212) (i32.const 1))
      (i32.store (i32.const 216) (i32.const 8192))
      (i32.store (i32.const 220) (i32.const 1))
      (i32.const 200))
    (func $refuse (result i32)
      (i32.store8 (i32.const 200) (i32.const 1))
      (i32.store8 (i32.const 204) (i32.const 1))
      (i32.store (i32.const 208) (i32.const 8196))
      (i32.store (i32.const 212) (i32.const 4))
      (i32.const 200))
    (func $recurse (result i32)
      (i32.add (call $recurse) (i32.const 1)))
    (func (export "describe") (result i32) (i32.const 16))
    (func (export "call") (param i32 i32) (result i32)
      (local $n i32)
      ;; BODY
    ))
  (core instance $code (instantiate $code
    (with "m" (instance $memory))
    ;; WITH
    (with "s" (instance (export "get" (func $get)) (export "set" (func $set))))))
  (type $spec' (record (field "name" string) (field "description" string)
    (field "parameters" string)))
  (export $spec "spec" (type $spec'))
  (type $output' (record (field "text" string) (field "data" (option string))))
  (export $output "output" (type $output'))
  (type $fault' (variant (case "bad-args" string) (case "refused" string)
    (case "limit" string) (case "trap" string)))
  (export $fault "fault" (type $fault'))
  (func (export "describe") (result $spec)
    (canon lift (core func $code "describe") (memory (core memory $memory "memory"))))
  (func (export "call") (param "args" string) (result (result $output (error $fault)))
    (canon lift (core func $code "call") (memory (core memory $memory "memory"))
      (realloc (core func $memory "realloc")))))
"#;

/// A verifier that sees later steps, introduces itself as `fixed` and whose `judge` is this
/// body: it returns where its answer lies. `$say` answers with the one below, a verdict on step
/// 0; `$huge` with so many letters.
pub(crate) fn verifier(body: &str) -> String {
    VERIFIER.replace(";; BODY", body)
}

const VERIFIER: &str = r#"
(component
  (import "wasi:random/random@0.2.0" (instance $random
    (export "get-random-u64" (func (result u64)))))
  (core func $draw (canon lower (func $random "get-random-u64")))
  (core module $code
    (import "r" "draw" (func $draw (result i64)))
    (memory (export "memory") 8)
    (global $next (mut i32) (i32.const 100000))
    (data (i32.const 1024) "{\22name\22:\22fixed\22,\22version\22:1,\22description\22:\22d\22,\22sees\22:[\22later\22]}")
    (data (i32.const 2048) "{\22verdicts\22:[{\22node\22:0,\22label\22:\22bad\22,\22reason\22:\22r\22,\22evidence\22:[{\22type\22:\22step\22,\22node\22:0}]}]}")
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (global.get $next))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at))
    (func $at (param $start i32) (param $bytes i32) (result i32)
      (i32.store (i32.const 16) (local.get $start))
      (i32.store (i32.const 20) (local.get $bytes))
      (i32.const 16))
    (func $say (result i32) (call $at (i32.const 2048) (i32.const 90)))
    (func $huge (param $bytes i32) (result i32)
      (memory.fill (i32.const 4096) (i32.const 97) (local.get $bytes))
      (call $at (i32.const 4096) (local.get $bytes)))
    (func $recurse (result i32) (i32.add (call $recurse) (i32.const 1)))
    (func (export "describe") (result i32) (call $at (i32.const 1024) (i32.const 63)))
    (func (export "judge") (param i32 i32) (result i32)
      ;; BODY
    ))
  (core instance $code (instantiate $code
    (with "r" (instance (export "draw" (func $draw))))))
  (func (export "describe") (result string)
    (canon lift (core func $code "describe") (memory (core memory $code "memory"))))
  (func (export "judge") (param "question" string) (result string)
    (canon lift (core func $code "judge") (memory (core memory $code "memory"))
      (realloc (core func $code "realloc")))))
"#;
