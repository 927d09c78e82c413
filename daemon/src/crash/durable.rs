//! How a file comes to be on disk as a whole or not at all: written beside, synced, renamed, folder synced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Makes a folder that only its owner and group may enter, and those above it. One that is there stays as it is.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o750);
    builder.create(path)
}

/// Writes `contents` to `path` by way of `temporary`, a name in the same folder. When this returns, the file is there
/// after a power cut too. On an error the temporary file is gone as far as possible.
pub(crate) fn write(path: &Path, temporary: &Path, contents: &[u8]) -> io::Result<()> {
    let written = write_new(temporary, contents).and_then(|()| fs::rename(temporary, path));
    if let Err(error) = written {
        let _ = fs::remove_file(temporary);
        return Err(error);
    }
    match path.parent() {
        Some(folder) => sync_dir(folder),
        None => Ok(()),
    }
}

fn write_new(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    // A report holds output and a command line: not for everybody.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    let mut file = options.open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

/// Makes renames in a folder last. Windows has no such call: there NTFS' journal keeps the order.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    match File::open(path)?.sync_all() {
        // Some file systems (FUSE, network ones) know no sync of a folder; what they promise is all there is.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        result => result,
    }
}
