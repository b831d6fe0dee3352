//! The folder of compiled code. What lies there is executed, so it must be the server's alone.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Makes the folder where it is missing, and holds its owner and mode against what they must be;
/// answers its canonical path.
///
/// # Errors
/// What was found and what was expected.
pub(crate) fn private_folder(dir: &Path) -> Result<PathBuf, String> {
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|error| error.to_string())?;
    }
    match DirBuilder::new().mode(MODE).create(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error.to_string()),
    }
    // A link could be led elsewhere after this look.
    let canonical = dir.canonicalize().map_err(|error| error.to_string())?;
    let found = fs::symlink_metadata(&canonical).map_err(|error| error.to_string())?;
    if !found.is_dir() {
        return Err("it is no folder".to_owned());
    }
    let others = found.mode() & 0o077;
    if others != 0 {
        let mode = found.mode() & 0o777;
        return Err(format!(
            "its mode is {mode:o}, expected {MODE:o}: what lies there is executed, so nobody else \
             may write or read it"
        ));
    }
    let (owner, me) = (found.uid(), own_id(&canonical)?);
    if owner != me {
        return Err(format!("it belongs to user {owner}, expected {me}, who runs the server"));
    }
    Ok(canonical)
}

/// Who makes files here; also tells whether files can be made.
fn own_id(dir: &Path) -> Result<u32, String> {
    let file = tempfile_name(dir);
    let made = fs::OpenOptions::new().write(true).create_new(true).open(&file);
    let made = made.map_err(|error| format!("no file can be made in it: {error}"))?;
    let id = made.metadata().map(|found| found.uid());
    drop(fs::remove_file(&file));
    id.map_err(|error| error.to_string())
}

fn tempfile_name(dir: &Path) -> PathBuf {
    dir.join(format!(".owner-{}", uuid::Uuid::now_v7()))
}

const MODE: u32 = 0o700;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::private_folder;

    #[test]
    fn a_folder_for_compiled_code_is_private_or_refused() {
        let folder = std::env::temp_dir().join(format!("cache-{}", uuid::Uuid::now_v7()));
        let cache = folder.join("code");
        let made = private_folder(&cache).unwrap();
        assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&made).unwrap().count(), 0, "nothing is left in it");
        private_folder(&cache).unwrap();
        for mode in [0o755, 0o770, 0o701] {
            fs::set_permissions(&cache, fs::Permissions::from_mode(mode)).unwrap();
            let refused = private_folder(&cache).unwrap_err();
            assert!(refused.contains(&format!("its mode is {mode:o}")), "{refused}");
        }
        let file = folder.join("file");
        fs::write(&file, "").unwrap();
        assert!(private_folder(&file).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
