//! `plumb env new`, `plumb tool new` and `plumb verifier new`: something that works, to start from.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::failure::{Failure, Kind, Result, at};

#[derive(Debug, Args)]
pub(crate) struct NewEnvArgs {
    /// The folder to make; its last part is the environment's name.
    folder: PathBuf,
    /// What its tool is written in.
    #[arg(long, value_enum, default_value_t = Language::Python)]
    language: Language,
}

#[derive(Debug, Args)]
pub(crate) struct NewToolArgs {
    /// What the model calls it: lower-case letters, digits and underscores.
    name: String,
    /// What it is written in.
    #[arg(long, value_enum, default_value_t = Language::Python)]
    language: Language,
    /// Write one that is made into a component, and the world it lives in.
    #[arg(long, conflicts_with = "language")]
    component: bool,
    /// The folder it is put into: an environment's, or where a component is made.
    #[arg(long, default_value = ".", value_name = "DIR")]
    into: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct NewVerifierArgs {
    /// What users call it: lower-case letters, digits, hyphens and underscores.
    name: String,
    /// Write one that is made into a component, and the world it lives in.
    #[arg(long)]
    component: bool,
    /// The folder it is put into: an environment's, or where a component is made.
    #[arg(long, default_value = ".", value_name = "DIR")]
    into: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Language {
    Python,
    Shell,
}

impl Language {
    /// What runs it, and what its files end in.
    fn program(self) -> (&'static str, &'static str) {
        match self {
            Language::Python => ("python3", "py"),
            Language::Shell => ("sh", "sh"),
        }
    }
}

/// Writes an environment with one tool, three tasks, their gold, and a policy that answers.
pub(crate) fn environment(args: &NewEnvArgs, json: bool) -> Result<()> {
    let folder = &args.folder;
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(is_plain) {
        let message = format!(
            "{}: an environment's name is letters, digits, '-', '_' and '.'",
            folder.display()
        );
        return Err(Failure::say(Kind::Usage, message));
    }
    let (program, extension) = args.language.program();
    let tool = format!("price.{extension}");
    let manifest = include_str!("new/environment.toml")
        .replace("@NAME@", name)
        .replace("@PROGRAM@", program)
        .replace("@TOOL@", &tool);
    let source = match args.language {
        Language::Python => include_str!("new/price.py"),
        Language::Shell => include_str!("new/price.sh"),
    };
    let files = [
        ("environment.toml", manifest.as_str()),
        ("prompt.md", include_str!("new/prompt.md")),
        ("tasks.jsonl", include_str!("new/tasks.jsonl")),
        ("gold.jsonl", include_str!("new/gold.jsonl")),
        (&tool, source),
        ("prices.csv", include_str!("new/prices.csv")),
        ("policy.jsonl", include_str!("new/policy.jsonl")),
    ];
    if folder.exists() && !folder.is_dir() {
        let message = format!("{}: is there already, and is no folder", folder.display());
        return Err(Failure::say(Kind::Usage, message));
    }
    fs::create_dir_all(folder).map_err(at(folder))?;
    for (file, text) in files {
        write(&folder.join(file), text)?;
    }
    let shown = folder.display();
    let next = [
        format!(
            "plumb run {shown} --policy scripted:{shown}/policy.jsonl --out runs/{name}"
        ),
        format!("plumb label runs/{name}"),
        format!("plumb show runs/{name} pear"),
    ];
    if json {
        println!("{}", json!({ "environment": folder, "next": next }));
        return Ok(());
    }
    println!("{shown}: a tool, three tasks, their gold, and a policy that answers them");
    println!("one of its answers is wrong, for the verifiers to find. Try:");
    for command in next {
        println!("  {command}");
    }
    Ok(())
}

/// Writes a tool, and says what names it in a manifest.
pub(crate) fn tool(args: &NewToolArgs, json: bool) -> Result<()> {
    let name = &args.name;
    check_name("tool", "_", name)?;
    if !args.into.is_dir() {
        let message = format!("--into {}: there is no such folder", args.into.display());
        return Err(Failure::say(Kind::Usage, message));
    }
    if args.component {
        return tool_component(name, &args.into, json);
    }
    let (program, extension) = args.language.program();
    let (source, effect) = match args.language {
        Language::Python => (include_str!("new/tool.py"), "stateful"),
        Language::Shell => (include_str!("new/tool.sh"), "pure"),
    };
    let file = format!("{name}.{extension}");
    let path = args.into.join(&file);
    write(&path, &source.replace("@NAME@", name))?;
    let manifest = format!(
        "[[tools]]\ntype = \"process\"\ncommand = [\"{program}\", \"{file}\"]\n\
         effect = \"{effect}\"\n"
    );
    if json {
        println!("{}", json!({ "tool": path, "manifest": manifest }));
        return Ok(());
    }
    println!("{}: written. An environment has it by these lines:\n", path.display());
    println!("{manifest}");
    Ok(())
}

/// Writes a tool that is made into a component.
fn tool_component(name: &str, into: &Path, json: bool) -> Result<()> {
    let source = include_str!("../../examples/components/notes-py/app.py");
    let source = source.replace("Spec(\"notes\"", &format!("Spec(\"{name}\""));
    let parts = Component {
        world: "tool",
        wit: include_str!("../plumbline-wasm/wit/tool.wit"),
        source: &source
            .replace("`notes`", &format!("`{name}`"))
            .replace("notes.wasm", &format!("{name}.wasm")),
        manifest: "[[tools]]\ntype = \"wasm\"\ncomponent = \"@NAME@.wasm\"\neffect = \"stateful\"\n",
    };
    parts.write(name, into, json)
}

/// Writes a verifier in Python, and says what names it in a manifest.
pub(crate) fn verifier(args: &NewVerifierArgs, json: bool) -> Result<()> {
    let name = &args.name;
    check_name("verifier", "-_", name)?;
    if args.component {
        let source = include_str!("../../examples/components/asked-before-py/app.py");
        let parts = Component {
            world: "verifier",
            wit: include_str!("../plumbline-wasm/wit/verifier.wit"),
            source: &source.replace("asked-before", name),
            manifest: "{ type = \"wasm\", component = \"@NAME@.wasm\" }",
        };
        return parts.write(name, &args.into, json);
    }
    let file = format!("{name}.py");
    let path = args.into.join(&file);
    write(&path, &include_str!("new/verifier.py").replace("@NAME@", name))?;
    let manifest =
        format!("{{ type = \"process\", command = [\"python3\", \"{file}\"] }}");
    if json {
        println!("{}", json!({ "verifier": path, "manifest": manifest }));
        return Ok(());
    }
    println!("{}: written. An environment has it by this", path.display());
    println!("in its list of verifiers:\n\n{manifest}\n");
    Ok(())
}

/// A component to be made from Python, and what it takes.
struct Component<'c> {
    world: &'static str,
    wit: &'static str,
    source: &'c str,
    manifest: &'static str,
}

impl Component<'_> {
    fn write(&self, name: &str, into: &Path, json: bool) -> Result<()> {
        let Self { world, wit, source, manifest } = self;
        let (app, world_file) = (into.join("app.py"), into.join(format!("{world}.wit")));
        write(&app, source)?;
        write(&world_file, wit)?;
        let manifest = manifest.replace("@NAME@", name);
        let make = format!(
            "componentize-py -d {world}.wit -w {world} componentize --stub-wasi app -o {name}.wasm"
        );
        if json {
            println!(
                "{}",
                json!({ "source": app, "wit": world_file, "make": make,
                    "manifest": manifest })
            );
            return Ok(());
        }
        println!("{} and {}: written. Made by\n", app.display(), world_file.display());
        println!(
            "  {make}\n\nan environment has it by these words in its environment.toml:\n"
        );
        println!("{manifest}\n");
        Ok(())
    }
}

/// A name of letters, digits and these signs.
fn check_name(what: &str, signs: &str, name: &str) -> Result<()> {
    let is_plain =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || signs.contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
        let message = format!(
            "{name:?}: a {what}'s name is 1 to 64 lower-case letters, digits and any of {signs}"
        );
        return Err(Failure::say(Kind::Usage, message));
    }
    Ok(())
}

/// Writes a file where there is none.
fn write(path: &Path, text: &str) -> Result<()> {
    if path.exists() {
        let message = format!("{}: is there already", path.display());
        return Err(Failure::say(Kind::Usage, message));
    }
    fs::write(path, text).map_err(at(path))
}
