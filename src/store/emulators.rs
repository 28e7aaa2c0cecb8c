//! Emulators that the user had bake install: static programs by QEMU's name for their processor. They are nobody's cache:
//! they stay until they are removed by name.

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Store, StoreError};

impl Store {
    /// Returns the directory of the installed emulators; it is not there before the first one is.
    pub fn emulators_path(&self) -> PathBuf {
        Store::emulators_in(&self.path)
    }

    /// Returns the same of a store that is not open, and need not be there.
    pub fn emulators_in(store: &Path) -> PathBuf {
        store.join("emulators")
    }

    /// Keeps a copy of `program` as `name`, in place of one that was there; it is complete or not there at all.
    ///
    /// # Errors
    /// The program cannot be read, or the store cannot be written.
    pub fn install_emulator(&self, name: &str, program: &Path) -> Result<PathBuf, StoreError> {
        let (directory, temporary) = (self.emulators_path(), self.temporary());
        let path = directory.join(name);
        let put = || -> io::Result<()> {
            std::fs::create_dir_all(&directory)?;
            let mut copy = File::create_new(&temporary)?;
            io::copy(&mut File::open(program)?, &mut copy)?;
            copy.set_permissions(std::fs::Permissions::from_mode(0o755))?;
            copy.sync_all()?;
            // Whoever runs a file that is still open for writing is refused.
            drop(copy);
            std::fs::rename(&temporary, &path)
        };
        put().map_err(|error| StoreError::io("write", &path, error))?;
        Ok(path)
    }

    /// Removes an installed emulator; says whether it was there.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn remove_emulator(&self, name: &str) -> Result<bool, StoreError> {
        let path = self.emulators_path().join(name);
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("remove", &path, error)),
        }
    }
}
