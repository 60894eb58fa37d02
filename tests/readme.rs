//! What the README shows, run: every line of a console fence that starts with `$ plumb`.

use std::process::Command;

use crate::world::World;

#[test]
fn every_command_of_the_readme_runs() {
    let root = env!("CARGO_MANIFEST_DIR");
    let readme =
        std::fs::read_to_string(format!("{root}/README.md")).expect("the README");
    let commands: Vec<&str> =
        readme.lines().filter_map(|line| line.strip_prefix("$ plumb ")).collect();
    assert!(commands.len() >= 5, "the README shows what plumb does: {commands:?}");
    // In a folder of its own, with the shipped environments in sight.
    let world = World::new();
    for shipped in ["environments", "corpora"] {
        let copied = Command::new("cp")
            .args(["-r", &format!("{root}/{shipped}")])
            .arg(world.path(shipped))
            .status()
            .expect("cp is there");
        assert!(copied.success());
    }
    let python = world.lend_python("the README's commands for Python");
    for command in commands {
        if command.contains(" python ") && !python {
            continue;
        }
        // As a shell reads it, quotes and all.
        let plumb = env!("CARGO_BIN_EXE_plumb");
        let outcome = world
            .in_folder(Command::new("sh"))
            .args(["-c", &format!("{plumb} {command}")])
            .output();
        let outcome = outcome.expect("there is a shell");
        let said = String::from_utf8_lossy(&outcome.stderr);
        assert!(outcome.status.success(), "{command}\n{said}");
    }
}
