//! `plumb`: the command. Reads as a table of contents; one file a subcommand.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command prints")]

mod args;
mod audit;
mod catalog;
mod diff;
mod disagreement;
mod divergence;
mod doctor;
mod env;
mod explore;
mod export;
mod failure;
mod fit;
mod fork;
mod import;
mod label;
mod manifest;
mod mcp;
mod mutants;
mod new;
mod progress;
mod ratings;
mod recording;
mod regenerate;
mod replay;
mod run;
mod score;
mod settings;
mod show;
mod terminal;
mod tool;
mod tool_check;
mod verifier;
mod verifier_check;

use std::process::ExitCode;

use args::{Arguments, Command};
use clap::Parser;
use failure::{Blame, Failure, Kind, Result};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("PLUMB_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error,rmcp=off")),
        )
        .init();
    end_quietly_when_nobody_reads();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure, arguments.json);
            failure.exit_code()
        }
    }
}

/// `println!` panics when standard output is closed or full. `plumb show RUN | head` is no
/// failure, and a full disk is one of the world's, not a bug of ours.
fn end_quietly_when_nobody_reads() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload_as_str().unwrap_or_default();
        if !message.starts_with("failed printing to stdout") {
            return default(panic);
        }
        if message.contains("Broken pipe") {
            std::process::exit(0);
        }
        eprintln!("plumb: {message}");
        std::process::exit(Kind::External as i32);
    }));
}

fn dispatch(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .blame(Kind::External)?;
    let json = arguments.json;
    let done = runtime.block_on(async {
        match &arguments.command {
            Command::Run(args) => run::run(args, json).await,
            Command::Label(args) => label::label(args, json).await,
            Command::Replay(args) => replay::replay(args, json).await,
            Command::Explore(args) => explore::explore(args, json).await,
            Command::Fork(args) => fork::fork(args, json).await,
            Command::Diff(args) => diff::diff(args, json),
            Command::Show(args) => show::show(args, json),
            Command::Import(args) => import::import(args, json),
            Command::Audit(args) => audit::audit(args, json).await,
            Command::Score(command) => score::score(command, json).await,
            Command::Export(args) => export::export(args, json).await,
            Command::Env(command) => env::env(command, json).await,
            Command::Tool(command) => tool::tool(command, json).await,
            Command::Verifier(command) => verifier::verifier(command, json).await,
            Command::Mcp(args) => mcp::mcp(args, json).await,
            Command::Doctor => doctor::doctor(json).await,
        }
    });
    // A policy's engine may be in the middle of a batch: nobody waits for its result.
    runtime.shutdown_background();
    done
}

fn report(failure: &Failure, json: bool) {
    let message = failure.message();
    if json && !failure.is_reported() {
        let code = failure.kind() as u8;
        println!("{}", serde_json::json!({ "error": message, "exit_code": code }));
    }
    // It may quote what a model or a program said.
    let message = terminal::printable(&message);
    match failure.kind() {
        Kind::Finding => eprintln!("{message}"),
        _ => eprintln!("plumb: {message}"),
    }
}
