//! What the system can do to keep a program to itself: namespaces and resource limits, by the
//! programs `unshare`, `setpriv` and `prlimit` of util-linux. They are asked for once and used as they
//! are, so that no code of ours stands between `fork` and `exec`.

use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// How long a probe may take.
const PROBE_WAIT: Duration = Duration::from_secs(5);

/// A program in namespaces of its own: what it started ends with it.
const NAMESPACES: [&str; 7] =
    ["--user", "--map-root-user", "--mount", "--ipc", "--pid", "--fork", "--kill-child"];

/// Where a program in namespaces finds its folder: at the same place every time, for what it
/// says may name it.
const FOLDER: &str = "/srv";

/// Puts the folder there, gives every privilege back that this took, and becomes the program.
const ENTER: &str = r#"mount --bind "$PWD" /srv && cd /srv &&
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@""#;

/// What this system can keep a program from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confinement {
    /// Whether a program can be put into namespaces of its own.
    namespaces: bool,
    /// Whether its memory and the files it writes can be bounded.
    resources: bool,
}

/// What one program is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Whether it may reach the network.
    pub network: bool,
    /// Bytes of memory of each of its processes that only it can see.
    pub memory_bytes_max: usize,
    /// Bytes of each file it writes.
    pub file_bytes_max: usize,
}

impl Confinement {
    /// Tries out what works here.
    pub async fn probe() -> Self {
        let alone = Self { namespaces: true, resources: false };
        let bounded = Self { namespaces: false, resources: true };
        let bounds =
            Bounds { network: false, memory_bytes_max: 1 << 30, file_bytes_max: 1 << 20 };
        let works = async |confinement: Self| {
            let argv = confinement.wrap(&["true".to_owned()], &bounds);
            let mut command = Command::new(&argv[0]);
            command.args(&argv[1..]).kill_on_drop(true);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let ended = tokio::time::timeout(PROBE_WAIT, command.status()).await;
            matches!(ended, Ok(Ok(status)) if status.success())
        };
        Self { namespaces: works(alone).await, resources: works(bounded).await }
    }

    /// What a system can do that can do nothing.
    pub fn none() -> Self {
        Self { namespaces: false, resources: false }
    }

    /// Whether a program can be kept from the network.
    pub fn keeps_from_network(&self) -> bool {
        self.namespaces
    }

    /// The folder that a program finds itself in when it is started in this one.
    pub fn folder_within<'f>(&self, folder: &'f Path) -> &'f Path {
        if self.namespaces { Path::new(FOLDER) } else { folder }
    }

    /// The command line that runs a program within these bounds, as far as the system can.
    pub fn wrap(&self, command: &[String], bounds: &Bounds) -> Vec<String> {
        let mut argv = Vec::new();
        if self.resources || self.namespaces {
            // It ends with the thread that starts it, however that ends.
            argv.extend(["setpriv", "--pdeathsig", "KILL", "--"].map(str::to_owned));
        }
        if self.resources {
            argv.extend([
                "prlimit".to_owned(),
                format!("--data={}", bounds.memory_bytes_max),
                format!("--fsize={}", bounds.file_bytes_max),
                "--core=0".to_owned(),
                "--".to_owned(),
            ]);
        }
        if self.namespaces {
            argv.push("unshare".to_owned());
            argv.extend(NAMESPACES.map(str::to_owned));
            if !bounds.network {
                argv.push("--net".to_owned());
            }
            argv.extend(["--", "sh", "-c", ENTER, "sh"].map(str::to_owned));
        }
        argv.extend_from_slice(command);
        argv
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.namespaces {
            true => "no network, its folder is /srv, and what it starts ends with it",
            false => {
                "NOT kept from the network, its folder has another name each time, and what \
                 it starts may outlive it: `unshare` cannot make namespaces here"
            }
        })?;
        f.write_str(match self.resources {
            true => "; memory and files it writes are bounded",
            false => "; memory is NOT bounded: there is no `prlimit`",
        })?;
        f.write_str("; it can read and write what you can")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds =
        Bounds { network: false, memory_bytes_max: 4096, file_bytes_max: 1 };

    #[test]
    fn what_the_system_cannot_do_is_left_out_and_said() {
        let command = ["sh".to_owned()];
        let none = Confinement::none();
        assert_eq!(none.wrap(&command, &BOUNDS), command);
        assert!(none.to_string().contains("NOT kept from the network"), "{none}");
        let all = Confinement { namespaces: true, resources: true };
        let argv = all.wrap(&command, &BOUNDS).join(" ");
        let first = "setpriv --pdeathsig KILL -- prlimit --data=4096 ";
        assert!(argv.starts_with(first), "{argv}");
        assert!(argv.contains(" --net ") && argv.ends_with(" -- \"$@\" sh sh"), "{argv}");
        let outside = Bounds { network: true, ..BOUNDS };
        assert!(!all.wrap(&command, &outside).join(" ").contains("--net"));
    }
}
