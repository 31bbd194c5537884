//! What the checks look at: the workspace's packages, as cargo tells them, and its files, as git lists them.
//!
//! Judges nothing. Files that git does not track yet count too, unless they are ignored, so that a rule speaks before the commit.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The packages and files of the checkout.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The folder of the workspace's manifest.
    pub(crate) root: PathBuf,
    /// The members of the workspace.
    pub(crate) packages: Vec<Package>,
    /// Paths from the root, with `/` between folders, sorted.
    pub(crate) files: Vec<String>,
}

/// One member of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a member's manifest.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The package's own name, whatever the manifest renames it to.
    pub(crate) name: String,
    /// `None` for a normal dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

impl Workspace {
    /// Asks cargo and git.
    pub(crate) fn load() -> Result<Self> {
        let text = stdout_of(cargo().args(["metadata", "--no-deps", "--format-version", "1", "--locked"]))?;
        let Metadata { packages, workspace_root: root } =
            serde_json::from_str(&text).context("the output of `cargo metadata` has another form than expected")?;
        let files = list_files(&root)?;
        Ok(Self { root, packages, files })
    }

    /// The bytes of one of `files`.
    pub(crate) fn read(&self, file: &str) -> Result<Vec<u8>> {
        std::fs::read(self.root.join(file)).with_context(|| format!("cannot read {file}"))
    }
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn list_files(root: &Path) -> Result<Vec<String>> {
    let text = stdout_of(Command::new("git").current_dir(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--deduplicate",
    ]))?;
    // A file that was deleted and not committed yet is still in git's list; a link is not ours to follow.
    let is_plain = |file: &str| root.join(file).symlink_metadata().is_ok_and(|found| found.is_file());
    let mut files: Vec<String> = text.split('\0').filter(|file| is_plain(file)).map(str::to_owned).collect();
    files.sort_unstable();
    Ok(files)
}

fn stdout_of(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr).trim_end());
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} printed text that is not UTF-8"))
}
