//! What the system can do to keep a program to itself: namespaces and resource limits, by the
//! programs `unshare`, `setpriv` and `prlimit` of util-linux. They are asked for once and used as they
//! are, so that no code of ours stands between `fork` and `exec`.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
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

/// Puts the folder there.
const ENTER: &str = r#"mount --bind "$PWD" /srv && cd /srv"#;

/// Gives every privilege back that this took, and runs the program.
const BECOME: &str =
    r#"setpriv --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@""#;

/// Processes that a program has at once, threads included.
const PROCESSES_MAX: u32 = 1024;
/// Since this version of Linux a namespace has a largest process id of its own. Before, whoever
/// is root would set that of the whole machine.
const OWN_PID_MAX_SINCE: (u32, u32) = (6, 14);
/// Since this one, RLIMIT_NPROC counts the processes of a user within a namespace. Before, those
/// of the user's whole session.
const OWN_NPROC_SINCE: (u32, u32) = (5, 14);

/// What this system can keep a program from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confinement {
    /// Whether a program can be put into namespaces of its own.
    namespaces: bool,
    /// Whether its memory and the files it writes can be bounded.
    resources: bool,
    /// What bounds the number of its processes, if anything.
    processes: Option<Census>,
}

/// What bounds the number of processes in namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Census {
    /// Their ids have a largest one.
    PidMax,
    /// Their user has a limit, unless that is root, whom Linux lets start any number.
    Nproc,
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
        let (alone, bounded) = (
            Self { namespaces: true, ..Self::none() },
            Self { resources: true, ..Self::none() },
        );
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
        let mut found = Self {
            namespaces: works(alone).await,
            resources: works(bounded).await,
            processes: None,
        };
        for census in Census::known_here() {
            let counted = Self { processes: Some(census), ..found };
            if found.processes.is_none() && found.namespaces && works(counted).await {
                found = counted;
            }
        }
        found
    }

    /// What a system can do that can do nothing.
    pub fn none() -> Self {
        Self { namespaces: false, resources: false, processes: None }
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
            argv.extend(["--", "sh", "-c", &self.entrance(), "sh"].map(str::to_owned));
        }
        argv.extend_from_slice(command);
        argv
    }

    /// What a shell does in fresh namespaces. It stays as their first process: Linux keeps every
    /// signal from that one which it has not asked for, and a program may rely on its alarm.
    fn entrance(&self) -> String {
        let max = PROCESSES_MAX;
        let become_bounded = match self.processes {
            None => BECOME.to_owned(),
            Some(Census::PidMax) => {
                format!("echo {max} > /proc/sys/kernel/pid_max && {BECOME}")
            }
            Some(Census::Nproc) => format!("prlimit --nproc={max} -- {BECOME}"),
        };
        format!("{ENTER} && {become_bounded}; exit $?")
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
            true => {
                "; the private memory of each of its processes and the files it writes are \
                 bounded"
            }
            false => "; memory is NOT bounded: there is no `prlimit`",
        })?;
        match self.processes {
            Some(_) => write!(f, "; it has at most {PROCESSES_MAX} processes")?,
            None => f.write_str(
                "; the number of its processes is NOT bounded: that takes namespaces and \
                 Linux 6.14, or 5.14 where you are not root",
            )?,
        }
        f.write_str("; it can read and write what you can")
    }
}

impl Census {
    /// What this system's kernel has, the better one first.
    fn known_here() -> Vec<Self> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease");
        let Some(version) = version(&release.unwrap_or_default()) else {
            return Vec::new();
        };
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        let pid_max = (version >= OWN_PID_MAX_SINCE).then_some(Self::PidMax);
        let nproc = (version >= OWN_NPROC_SINCE && !is_root).then_some(Self::Nproc);
        pid_max.into_iter().chain(nproc).collect()
    }
}

/// The two numbers that a kernel's release begins with.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
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
        assert!(none.to_string().contains("processes is NOT bounded"), "{none}");
        let all = Confinement {
            namespaces: true,
            resources: true,
            processes: Some(Census::PidMax),
        };
        let argv = all.wrap(&command, &BOUNDS).join(" ");
        let first = "setpriv --pdeathsig KILL -- prlimit --data=4096 ";
        assert!(argv.starts_with(first), "{argv}");
        assert!(
            argv.contains(" --net ") && argv.ends_with(" -- \"$@\"; exit $? sh sh"),
            "{argv}"
        );
        assert!(argv.contains(" echo 1024 > /proc/sys/kernel/pid_max && "), "{argv}");
        let counted = Confinement { processes: Some(Census::Nproc), ..all };
        let argv = counted.wrap(&command, &BOUNDS).join(" ");
        assert!(argv.contains("&& prlimit --nproc=1024 -- setpriv "), "{argv}");
        let outside = Bounds { network: true, ..BOUNDS };
        assert!(!all.wrap(&command, &outside).join(" ").contains("--net"));
    }

    #[test]
    fn a_kernel_tells_its_version() {
        for (release, expected) in [
            ("6.18.44-generic\n", Some((6, 18))),
            ("5.14.0-427.el9.x86_64", Some((5, 14))),
            ("7.1-rc2", Some((7, 1))),
            ("", None),
            ("Darwin", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
    }
}
