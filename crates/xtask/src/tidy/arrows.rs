//! Which crate of the workspace may depend on which, and which crate alone may name a library that it fences.
//!
//! An arrow is a normal or a build dependency; a test may reach further. A fence holds for tests too.

use crate::workspace::{Dependency, Package};

/// Each package with all that it may depend on. Not transitive: what is not listed is not allowed.
const ARROWS: &[(&str, &[&str])] = &[
    ("farwire-wire", &[]),
    ("farwire-auth", &["farwire-wire"]),
    ("farwire-core", &["farwire-wire"]),
    ("farwire-transport", &["farwire-wire"]),
    ("farwire-client", &["farwire-transport", "farwire-wire"]),
    ("farwire-log", &["farwire-core", "farwire-wire"]),
    ("farwire-node", &["farwire-core", "farwire-auth", "farwire-transport", "farwire-wire"]),
    ("farwire-cli", &["farwire-node", "farwire-client", "farwire-transport", "farwire-auth", "farwire-wire"]),
    ("farwire-sim", &["farwire-core", "farwire-transport", "farwire-wire"]),
    (
        "farwire-tests",
        &[
            "farwire-auth",
            "farwire-cli",
            "farwire-client",
            "farwire-core",
            "farwire-log",
            "farwire-node",
            "farwire-sim",
            "farwire-transport",
            "farwire-wire",
        ],
    ),
    ("xtask", &[]),
];

/// A library, together with all whose name it begins (`quinn` is `quinn-proto` too), and the one package that names it.
const FENCES: &[(&str, &str)] = &[
    ("quinn", "farwire-transport"),
    ("rustls", "farwire-transport"),
    ("rcgen", "farwire-transport"),
    ("prost", "farwire-wire"),
    ("pasetors", "farwire-auth"),
    ("foca", "farwire-node"),
    ("openraft", "farwire-log"),
    ("fjall", "farwire-log"),
];

/// Every fault in the manifests of the members.
pub(super) fn check(packages: &[Package]) -> Vec<String> {
    packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<String> {
    let fences = package.dependencies.iter().filter_map(|dependency| broken_fence(&package.name, &dependency.name));
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
        let unknown = format!("{}: a new package; add it to ARROWS in crates/xtask/src/tidy/arrows.rs", package.name);
        return fences.chain([unknown]).collect();
    };
    let arrows = package.dependencies.iter().filter_map(|dependency| broken_arrow(&package.name, allowed, dependency));
    fences.chain(arrows).collect()
}

fn broken_arrow(package: &str, allowed: &[&str], dependency: &Dependency) -> Option<String> {
    let name = dependency.name.as_str();
    let is_ours = name == "xtask" || name.starts_with("farwire-");
    let is_for_tests = dependency.kind.as_deref() == Some("dev");
    if !is_ours || is_for_tests || allowed.contains(&name) {
        return None;
    }
    Some(format!(
        "{package}: depends on {name}, which is no arrow of ARCHITECTURE.md; move the code to where it may be used"
    ))
}

fn broken_fence(package: &str, name: &str) -> Option<String> {
    let begins =
        |library: &str| name.strip_prefix(library).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    let (_, home) = FENCES.iter().find(|(library, home)| begins(library) && *home != package)?;
    Some(format!("{package}: names {name}, which only {home} may; use what {home} offers, or extend it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(package: &str, name: &str, kind: Option<&str>) -> Vec<String> {
        let dependency = Dependency { name: name.to_owned(), kind: kind.map(str::to_owned) };
        check(&[Package { name: package.to_owned(), dependencies: vec![dependency] }])
    }

    #[test]
    fn listed_arrows_pass() {
        assert!(faults("farwire-node", "farwire-core", None).is_empty());
        assert!(faults("farwire-tests", "farwire-sim", None).is_empty());
        assert!(faults("farwire-core", "thiserror", None).is_empty());
    }

    #[test]
    fn other_arrows_fail() {
        for (package, name) in [
            ("farwire-core", "farwire-auth"),
            ("farwire-core", "farwire-transport"),
            ("farwire-client", "farwire-node"),
            ("farwire-wire", "farwire-core"),
            ("xtask", "farwire-wire"),
        ] {
            assert_eq!(faults(package, name, None).len(), 1, "{package} -> {name}");
        }
    }

    #[test]
    fn build_dependencies_are_arrows_and_dev_dependencies_are_not() {
        assert_eq!(faults("farwire-core", "farwire-auth", Some("build")).len(), 1);
        assert!(faults("farwire-core", "farwire-sim", Some("dev")).is_empty());
    }

    #[test]
    fn unknown_packages_fail() {
        assert!(faults("farwire-extra", "bytes", None)[0].contains("ARROWS"));
    }

    #[test]
    fn fenced_libraries_are_named_by_their_home_alone() {
        for (library, home) in [
            ("quinn", "farwire-transport"),
            ("quinn-proto", "farwire-transport"),
            ("rustls-pki-types", "farwire-transport"),
            ("rcgen", "farwire-transport"),
            ("prost-build", "farwire-wire"),
            ("pasetors", "farwire-auth"),
            ("foca", "farwire-node"),
            ("openraft", "farwire-log"),
            ("fjall", "farwire-log"),
        ] {
            assert!(faults(home, library, None).is_empty(), "{library} in {home}");
            assert_eq!(faults("farwire-cli", library, None).len(), 1, "{library} in farwire-cli");
            assert_eq!(faults("farwire-tests", library, Some("dev")).len(), 1, "{library} in tests");
        }
    }

    #[test]
    fn fence_does_not_catch_other_names_with_the_same_letters() {
        assert!(faults("farwire-cli", "focalize", None).is_empty());
    }
}
