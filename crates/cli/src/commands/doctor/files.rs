//! The files of a node or of a client: whether they can be used, how long they last, and who can read the secret ones. Blocking file access.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use farwire_auth::inspect;
use farwire_client::Context;
use farwire_node::config::{Config, Faults};
use farwire_transport::certs::{self, CertificateRole};

use super::finding::Finding;

/// What a node's config and its files are like.
pub(super) fn of_node(path: &Path, config: &Result<Config, Faults>) -> Vec<Finding> {
    let sound = config.as_ref().map_err(Clone::clone).and_then(Config::check_files);
    let mut findings = match &sound {
        Ok(()) => vec![Finding::ok("config", format!("{} and every file that it names", path.display()))],
        Err(faults) => faults.as_slice().iter().map(|fault| Finding::fail("config", fault.to_string(), MEND)).collect(),
    };
    let Ok(config) = config else { return findings };
    let tls = &config.tls;
    findings.extend(expiry(&tls.client_cert, CertificateRole::Client));
    findings.extend(expiry(&tls.peer_cert, CertificateRole::Peer));
    findings.extend(expiry(&tls.peer_ca, CertificateRole::PeerAuthority));
    findings.extend([&config.mesh, &tls.client_key, &tls.peer_key].into_iter().filter_map(|path| exposed(path)));
    findings
}

/// What a client's authority and token are like.
pub(super) fn of_client(context: &Context) -> Vec<Finding> {
    let token = std::fs::read_to_string(&context.token).map_err(|err| err.to_string());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let token = match token.and_then(|text| inspect(text.trim()).map_err(|err| err.to_string())) {
        Ok(token) => token_of(now, token.claims.expires_at_seconds),
        Err(err) => Finding::fail("token", format!("{}: {err}", context.token.display()), MINT),
    };
    expiry(&context.ca, CertificateRole::ClientAuthority).into_iter().chain([token]).collect()
}

fn token_of(now_seconds: u64, expires_at_seconds: u64) -> Finding {
    match expires_at_seconds.checked_sub(now_seconds) {
        None => Finding::fail("token", "has expired", MINT),
        Some(left @ ..3_600) => Finding::warn("token", format!("holds for {} more minutes", left / 60), MINT),
        Some(left) => Finding::ok("token", format!("holds for {} more hours", left / 3_600)),
    }
}

/// How long a certificate lasts; none when it cannot be read, which the config's own check tells.
fn expiry(path: &Path, role: CertificateRole) -> Option<Finding> {
    let summary = certs::summary(path, role).ok()?;
    Some(days_left(&format!("{} ({role})", path.display()), role, summary.days_left))
}

fn days_left(name: &str, role: CertificateRole, days: i64) -> Finding {
    let remedy = match role {
        CertificateRole::Peer | CertificateRole::Client => "`farwire certs issue NODE`, and copy the files to the node",
        CertificateRole::PeerAuthority | CertificateRole::ClientAuthority => {
            "make a new mesh with `farwire certs init`"
        }
    };
    match days {
        ..0 => Finding::fail("certificates", format!("{name} has expired"), remedy),
        0..=30 => Finding::warn("certificates", format!("{name}: {days} days left"), remedy),
        _ => Finding::ok("certificates", format!("{name}: {days} days left")),
    }
}

/// A secret that others can read, by its own mode and its folder's.
fn exposed(path: &Path) -> Option<Finding> {
    let mode = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.mode()).ok();
    let others = mode(path)? & 0o044;
    let enter = path.parent().and_then(mode).map_or(0o011, |mode| mode & 0o011);
    let by_others = others & 0o004 != 0 && enter & 0o001 != 0;
    let by_group = others & 0o040 != 0 && enter & 0o010 != 0;
    let message = format!("{} can be read by other users of this machine", path.display());
    (by_others || by_group).then(|| Finding::warn("secrets", message, format!("chmod 600 {}", path.display())))
}

const MEND: &str = "mend it as it says; `farwire node check` looks again";
const MINT: &str = "`farwire token mint`, where the mesh's issuer.key is";

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_ends_soon_is_a_warning_and_what_has_ended_a_failure() {
        let days = |days| days_left("a", CertificateRole::Peer, days).level;
        assert_eq!([-1, 0, 30, 31].map(days), [Level::Fail, Level::Warn, Level::Warn, Level::Ok]);
        let token = |expires_at| token_of(10_000, expires_at).level;
        assert_eq!([9_999, 10_060, 100_000].map(token), [Level::Fail, Level::Warn, Level::Ok]);
    }

    #[test]
    fn a_secret_is_exposed_when_its_folder_lets_others_in_too() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = dir.path().join("peer.key");
        std::fs::write(&key, "").expect("written");
        let modes = |folder, file| {
            std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(folder)).expect("ours");
            std::fs::set_permissions(&key, PermissionsExt::from_mode(file)).expect("ours");
            exposed(&key).is_some()
        };
        assert!(modes(0o755, 0o644) && modes(0o750, 0o640));
        assert!(!modes(0o755, 0o600) && !modes(0o700, 0o644) && !modes(0o750, 0o604));
        assert_eq!(exposed(&dir.path().join("none")), None);
    }
}
