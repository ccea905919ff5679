//! The manifest of a backup: every file with its size and digest. It is written last, so a backup with a manifest is complete.

use super::backup_error::BackupError;
use plusminus_core::id::{Digest, Digester};
use plusminus_proto::weights::if_there;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The name of the manifest in a backup.
pub(super) const MANIFEST: &str = "MANIFEST.json";
/// The largest manifest that is read, in bytes: that of half a million weights files.
const LONGEST: u64 = 64 << 20;

/// What a backup contains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The version of plusminus that wrote the backup.
    pub plusminus: String,
    /// The version of the store's schema.
    pub schema: u32,
    /// The identity of the store.
    pub store: u32,
    /// When the backup was made, in milliseconds since the Unix epoch.
    pub written: u64,
    /// The files by their path in the backup.
    pub files: BTreeMap<String, FileEntry>,
}

/// A file of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileEntry {
    pub size: u64,
    pub blake3: Digest,
}

impl Manifest {
    /// The manifest of a backup of these files.
    pub fn of(
        directory: &Path,
        store: u32,
        schema: u32,
        files: impl IntoIterator<Item = String>,
    ) -> Result<Self, BackupError> {
        let entry = |name: String| {
            let path = directory.join(&name);
            let entry = read_entry(&path).map_err(|error| BackupError::Disk { path, error })?;
            Ok((name, entry))
        };
        let written = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let files = files.into_iter().map(entry).collect::<Result<_, BackupError>>()?;
        Ok(Manifest { plusminus: env!("CARGO_PKG_VERSION").to_owned(), schema, store, written, files })
    }

    /// Writes the manifest. It is durable once the directory is synced.
    pub fn write(&self, directory: &Path) -> Result<(), BackupError> {
        let path = directory.join(MANIFEST);
        let write = || -> io::Result<()> {
            let mut text = serde_json::to_vec_pretty(self)?;
            text.push(b'\n');
            let mut file = plusminus_files::create(&path)?;
            file.write_all(&text)?;
            file.sync_all()
        };
        write().map_err(|error| BackupError::Disk { path: path.clone(), error })
    }

    /// The manifest of a backup; nothing if it has none.
    pub fn read(directory: &Path) -> Result<Option<Self>, BackupError> {
        let path = directory.join(MANIFEST);
        let failed = |error| BackupError::Disk { path: path.clone(), error };
        let Some(file) = if_there(File::open(&path)).map_err(failed)? else { return Ok(None) };
        let mut text = Vec::new();
        file.take(LONGEST).read_to_end(&mut text).map_err(failed)?;
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| BackupError::Changed {
            path: path.clone(),
            problem: format!("it cannot be read: {error}"),
        })?;
        if manifest.files.keys().any(|name| !is_inside(name)) {
            return Err(BackupError::Changed { path, problem: "it names a file outside the backup".to_owned() });
        }
        Ok(Some(manifest))
    }

    /// The files that differ from the manifest, each with the difference.
    pub fn differences<'m>(&'m self, directory: &'m Path) -> impl Iterator<Item = (PathBuf, String)> + 'm {
        self.files.iter().filter_map(|(name, expected)| {
            let path = directory.join(name);
            let problem = match read_entry(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => "it is missing".to_owned(),
                Err(error) => format!("it cannot be read: {error}"),
                Ok(found) if found.size != expected.size => {
                    format!("expected {} bytes, found {}", expected.size, found.size)
                }
                Ok(found) if found.blake3 != expected.blake3 => {
                    format!("expected the digest {}, found {}", expected.blake3, found.blake3)
                }
                Ok(_) => return None,
            };
            Some((path, problem))
        })
    }
}

/// Whether the path stays inside the directory that it is joined to.
fn is_inside(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|component| matches!(component, Component::Normal(_)))
}

fn read_entry(path: &Path) -> io::Result<FileEntry> {
    let blake3 = digest(path)?;
    Ok(FileEntry { size: fs::metadata(path)?.len(), blake3 })
}

/// The digest of a file.
pub(super) fn digest(path: &Path) -> io::Result<Digest> {
    let (mut file, mut digester, mut buffer) = (File::open(path)?, Digester::default(), vec![0; 1 << 18]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digester.finish()),
            read => digester.update(&buffer[..read]),
        }
    }
}
