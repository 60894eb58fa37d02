//! A folder of databases: which names there are, what they hold, where SQLite opens them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use plumbline::Digest;
use rusqlite::{Connection, OpenFlags};

use crate::guard;

/// Databases of one folder; far above any published collection.
const DATABASES_MAX: usize = 10_000;
/// Bytes of one script. A larger database belongs into a `.sqlite` file.
const SCRIPT_BYTES_MAX: u64 = 64 << 20;

/// The databases of a folder, by name: the only ones that a call can reach.
///
/// `NAME.sqlite` (also `.sqlite3` and `.db`) is opened as it lies there. `NAME.sql` is a
/// script, so that a database can stand in a repository as text: it is executed once into a
/// file in the cache, named after the script's digest. `NAME/NAME.sqlite` is found too, as
/// Spider and BIRD are laid out.
#[derive(Debug)]
pub struct Databases {
    by_name: BTreeMap<String, Database>,
    digest: Digest,
}

/// One database.
#[derive(Debug)]
pub(crate) struct Database {
    /// The file that SQLite opens.
    pub(crate) path: PathBuf,
    /// Of the file's bytes, or of the script's.
    pub(crate) digest: Digest,
}

/// Why a folder cannot serve as databases.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabasesError {
    /// A file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no database in the folder.
    #[error(
        "{}: no database in this folder; put .sqlite, .sqlite3, .db or .sql files there",
        path.display()
    )]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// More databases than there may be.
    #[error("{}: more than {DATABASES_MAX} databases; split the folder", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// Two files would be one database.
    #[error("{} and {}: two databases of one name; rename one", one.display(), two.display())]
    Twice {
        /// The first file.
        one: PathBuf,
        /// The second.
        two: PathBuf,
    },
    /// A file is no database, or a script is no script.
    #[error("{}: {message}", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
}

impl Databases {
    /// Finds the databases of a folder, reads each once to digest it, and executes scripts
    /// that the cache does not hold yet. Blocks.
    pub fn open(dir: &Path, cache: &Path) -> Result<Self, DatabasesError> {
        let mut by_name = BTreeMap::new();
        for (name, source) in sources(dir)? {
            let is_script = source.extension().is_some_and(|e| e == "sql");
            let database = if is_script {
                script(&source, cache)?
            } else {
                let digest = File::open(&source).and_then(Digest::of_reader);
                let digest = digest.map_err(reading(&source))?;
                Database { path: source.clone(), digest }
            };
            guard::probe(&database.path).map_err(|error| DatabasesError::Broken {
                path: source,
                message: error.to_string(),
            })?;
            by_name.insert(name, database);
        }
        if by_name.is_empty() {
            return Err(DatabasesError::Empty { path: dir.to_owned() });
        }
        let digests: Vec<(&str, Digest)> = by_name
            .iter()
            .map(|(name, database)| (name.as_str(), database.digest))
            .collect();
        let digest = Digest::of_json(&digests);
        Ok(Self { by_name, digest })
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// The digest of every name and what its database holds.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Database> {
        self.by_name.get(name)
    }
}

fn reading(path: &Path) -> impl Fn(io::Error) -> DatabasesError {
    move |source| DatabasesError::Read { path: path.to_owned(), source }
}

/// The files that are databases, by name.
fn sources(dir: &Path) -> Result<BTreeMap<String, PathBuf>, DatabasesError> {
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut add = |name: String, path: PathBuf| match found.insert(name, path.clone()) {
        Some(one) => Err(DatabasesError::Twice { one, two: path }),
        None if found.len() > DATABASES_MAX => {
            Err(DatabasesError::TooMany { path: dir.to_owned() })
        }
        None => Ok(()),
    };
    for path in entries(dir)? {
        if path.is_dir() {
            for inner in entries(&path)? {
                if inner.file_stem() == path.file_name()
                    && inner.is_file()
                    && let Some(name) = database_name(&inner)
                {
                    add(name, inner)?;
                }
            }
        } else if let Some(name) = database_name(&path) {
            add(name, path)?;
        }
    }
    Ok(found)
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, DatabasesError> {
    let read = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
    };
    let mut paths = read().map_err(reading(dir))?;
    paths.sort();
    Ok(paths)
}

/// What a file's database is called, if it is one. Hidden files are not.
fn database_name(path: &Path) -> Option<String> {
    let extension = path.extension()?.to_str()?;
    let name = path.file_stem()?.to_str()?;
    let known = ["sqlite", "sqlite3", "db", "sql"].contains(&extension);
    (known && !name.starts_with('.')).then(|| name.to_owned())
}

/// The database that a script makes, from the cache where it is there.
fn script(source: &Path, cache: &Path) -> Result<Database, DatabasesError> {
    let broken =
        |message: String| DatabasesError::Broken { path: source.to_owned(), message };
    let bytes = fs::metadata(source).map_err(reading(source))?.len();
    if bytes > SCRIPT_BYTES_MAX {
        let message = format!("{bytes} bytes; a script has at most {SCRIPT_BYTES_MAX}");
        return Err(broken(message));
    }
    let text = fs::read(source).map_err(reading(source))?;
    let text = String::from_utf8(text).map_err(|error| {
        broken(format!("byte {} is not UTF-8", error.utf8_error().valid_up_to()))
    })?;
    let digest = Digest::of(text.as_bytes());
    // Another SQLite may lay the same content out differently.
    let made = Digest::of_json(&(digest, rusqlite::version()));
    let path = cache.join(format!("{made}.sqlite"));
    if !path.is_file() {
        fs::create_dir_all(cache).map_err(reading(cache))?;
        let partial = cache.join(format!(".{made}.partial-{}", std::process::id()));
        let built = build(&text, &partial).map_err(|error| broken(error.to_string()));
        let moved =
            built.and_then(|()| fs::rename(&partial, &path).map_err(reading(&path)));
        if moved.is_err() {
            // What is left of a failure is worth nothing, and another run makes it anew.
            let _ = fs::remove_file(&partial);
        }
        moved?;
    }
    Ok(Database { path, digest })
}

/// Executes a script into a new file. The script may do to its own database what it wants,
/// and reaches nothing else.
fn build(text: &str, path: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    if path.exists() {
        // Left by a process of our number that was killed.
        let _ = fs::remove_file(path);
    }
    let mut connection = Connection::open_with_flags(path, flags)?;
    // Nobody reads the file before it is renamed: no journal is needed.
    connection.execute_batch("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;")?;
    guard::confine_script(&mut connection)?;
    connection.execute_batch(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        dir
    }

    #[test]
    fn scripts_are_built_once_and_the_digest_tells_contents_apart() {
        let dir =
            folder(&[("a.sql", "CREATE TABLE t(x);"), ("b/b.sql", "CREATE TABLE u(y);")]);
        let cache = folder(&[]);
        let one = Databases::open(dir.path(), cache.path()).expect("they are built");
        assert_eq!(one.names().collect::<Vec<_>>(), ["a", "b"]);
        let path = one.get("a").expect("it is there").path.clone();
        let made = fs::metadata(&path).and_then(|m| m.modified()).expect("a time");
        let two = Databases::open(dir.path(), cache.path()).expect("they are found");
        assert_eq!(one.digest(), two.digest());
        assert_eq!(fs::metadata(&path).and_then(|m| m.modified()).expect("a time"), made);
        fs::write(dir.path().join("a.sql"), "CREATE TABLE t(z);").expect("a file");
        let three = Databases::open(dir.path(), cache.path()).expect("it is built");
        assert_ne!(one.digest(), three.digest());
        assert_eq!(fs::read_dir(cache.path()).expect("a folder").count(), 3);
    }

    #[test]
    fn what_cannot_serve_is_named() {
        let cache = folder(&[]);
        let check = |files: &[(&str, &str)], words: &[&str]| {
            let dir = folder(files);
            let error =
                Databases::open(dir.path(), cache.path()).expect_err("it is refused");
            for word in words {
                assert!(error.to_string().contains(word), "{error} lacks {word}");
            }
        };
        check(&[("readme.md", "x")], &["no database"]);
        check(
            &[("a.sql", "CREATE TABLE t(x);"), ("a.db", "")],
            &["a.sql", "a.db", "rename"],
        );
        check(&[("a.sql", "CREATE TABEL t(x);")], &["a.sql", "syntax error"]);
        check(&[("a.sqlite", "not a database at all, but text")], &["a.sqlite"]);
        check(
            &[("a.sql", "ATTACH 'b.db' AS b; CREATE TABLE b.t(x);")],
            &["not authorized"],
        );
        assert_eq!(fs::read_dir(cache.path()).expect("a folder").count(), 0);
    }
}
