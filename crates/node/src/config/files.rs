//! Opens every file that a config names, and says all that is wrong with them: with each alone, and with what they say of each other and of
//! the config. `node check` and the start of a node both go through [`open`], so that a config which passes the one passes the other.
//!
//! Not here: the text of the config itself, and ports. Leaves nothing behind on the disk. Called by [`Config`] alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use farwire_auth::IssuerPublic;
use farwire_transport::certs::CertificateRole;
use farwire_transport::mesh_file::{MeshFileError, mesh_id};
use farwire_transport::tls::{self, Examined, KeyFiles, PeerIdentityError, ReloadingKey, RootCertStore, TlsError};
use farwire_transport::{MeshFile, TlsClock, certs};

use super::Config;
use super::faults::{Fault, Faults, quoted};

/// What the files say, all of it checked.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) mesh: MeshFile,
    /// The authority of other nodes.
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) client: ReloadingKey,
    pub(crate) peer: ReloadingKey,
    pub(crate) issuers: Vec<IssuerPublic>,
}

/// Opens the files; dates are judged by `clock`.
///
/// # Errors
/// All that is wrong.
pub(super) fn open(config: &Config, clock: &TlsClock) -> Result<Opened, Faults> {
    let mut opening = Opening { config, faults: Vec::new() };
    let mesh = opening.mesh();
    let roots = opening.roots(mesh.as_ref());
    let client = opening.client(clock);
    let peer = opening.peer(mesh.as_ref(), roots.clone(), clock);
    let issuers = config.auth.issuers.iter().filter_map(|path| opening.issuer(path)).collect();
    opening.data_dir();
    Faults::check(opening.faults)?;
    let opened = mesh.zip(roots).zip(client.zip(peer));
    let ((mesh, roots), (client, peer)) = opened.expect("what could not be opened is a fault");
    Ok(Opened { mesh, roots, client, peer, issuers })
}

struct Opening<'a> {
    config: &'a Config,
    faults: Vec<Fault>,
}

impl Opening<'_> {
    fn fault(&mut self, key: &str, message: impl Into<String>) {
        let place = self.config.places.get(key).cloned();
        let place = place.expect("only settings without a default are looked at, and those were written");
        self.faults.push(Fault::of(place, key, message));
    }

    fn mesh(&mut self) -> Option<MeshFile> {
        match MeshFile::load(&self.config.mesh) {
            Ok(mesh) => {
                self.region(&mesh);
                return Some(mesh);
            }
            Err(MeshFileError::Faults { path, faults }) => {
                let copy = "copy it anew from where the mesh was made";
                faults.iter().for_each(|fault| self.fault("mesh", format!("{}: {fault}; {copy}", path.display())));
            }
            Err(error) => self.fault("mesh", error.to_string()),
        }
        None
    }

    fn region(&mut self, mesh: &MeshFile) {
        let Config { name, region, .. } = self.config;
        let known = || mesh.regions.iter().map(|region| region.name.as_str()).collect::<Vec<_>>().join(", ");
        match mesh.region_of(name) {
            Some(of_name) if of_name != region => self.fault(
                "region",
                format!("the mesh file has {name} in {of_name}, not in {region}; write region = \"{of_name}\", or give this node another name and certificate"),
            ),
            None if mesh.regions.iter().all(|of_mesh| of_mesh.name != *region) => self.fault(
                "region",
                format!("the mesh file knows no region {region}; write one of {}, or add its [[region]] to the mesh file", known()),
            ),
            _ => {}
        }
    }

    /// The peer authority; none when it is that of another mesh, for then nothing can be judged by it.
    fn roots(&mut self, mesh: Option<&MeshFile>) -> Option<Arc<RootCertStore>> {
        let path = &self.config.tls.peer_ca;
        let roots = tls::load_certificates(path).and_then(|found| Ok((found, tls::load_roots(path)?)));
        let (certificates, roots) = roots.map_err(|error| self.fault("tls.peer_ca", error.to_string())).ok()?;
        let is_of = |mesh: &MeshFile| certificates.iter().any(|authority| mesh_id(&mesh.name, authority) == mesh.id);
        if mesh.is_some_and(|mesh| !is_of(mesh)) {
            let mesh = self.config.mesh.display();
            let message = format!(
                "{} is not the peer authority that {mesh} was made with; copy both from one mesh",
                path.display()
            );
            self.fault("tls.peer_ca", message);
            return None;
        }
        Some(Arc::new(roots))
    }

    fn client(&mut self, clock: &TlsClock) -> Option<ReloadingKey> {
        let (certificate, key) = (&self.config.tls.client_cert, &self.config.tls.client_key);
        let Examined { chain, key } =
            self.examine(["tls.client_cert", "tls.client_key"], [certificate, key], None, clock);
        if let Some(leaf) = chain.first() {
            if let Some(node) = tls::client_port_node(leaf).filter(|node| *node != self.config.name) {
                self.fault("tls.client_cert", self.of_another(certificate, node.as_str()));
            }
            let (host, key) = self.config.client.handed_out();
            if !tls::covers(leaf, &host) {
                self.fault(key, not_covered(self.config, &host));
            }
        }
        key.ok()
    }

    fn peer(
        &mut self,
        mesh: Option<&MeshFile>,
        roots: Option<Arc<RootCertStore>>,
        clock: &TlsClock,
    ) -> Option<ReloadingKey> {
        let (certificate, key) = (&self.config.tls.peer_cert, &self.config.tls.peer_key);
        let Examined { chain, key } = self.examine(["tls.peer_cert", "tls.peer_key"], [certificate, key], roots, clock);
        let mesh = mesh.filter(|_| !chain.is_empty())?;
        match tls::peer_node_name(&chain, &mesh.name) {
            Ok(name) if name == self.config.name => {}
            Ok(name) => self.fault("tls.peer_cert", self.of_another(certificate, name.as_str())),
            Err(PeerIdentityError::OtherMesh) => {
                let message =
                    format!("{} is of another mesh than {}; copy both from one mesh", certificate.display(), mesh.name);
                self.fault("tls.peer_cert", message);
            }
            // Not one of ours, which its authority has said already unless it is one that signs by hand.
            Err(error) if key.is_ok() => self.fault("tls.peer_cert", format!("{}: {error}", certificate.display())),
            Err(_) => {}
        }
        key.ok()
    }

    /// Notes what is wrong with a pair of files, each fault at the setting of the file that is to be mended.
    fn examine(
        &mut self,
        [certificate_key, key_key]: [&str; 2],
        [certificate, key]: [&PathBuf; 2],
        issuers: Option<Arc<RootCertStore>>,
        clock: &TlsClock,
    ) -> Examined {
        let files = KeyFiles { certificate: certificate.clone(), key: key.clone() };
        let examined = ReloadingKey::examine(files, issuers, clock.clone());
        for error in examined.key.as_ref().err().into_iter().flatten() {
            let of_key = match error {
                TlsError::NoKey { .. } | TlsError::KeyMismatch { .. } => true,
                TlsError::Read { path, .. } => path == key,
                _ => false,
            };
            self.fault(if of_key { key_key } else { certificate_key }, error.to_string());
        }
        examined
    }

    fn of_another(&self, certificate: &Path, node: &str) -> String {
        let name = &self.config.name;
        let certificate = certificate.display();
        format!(
            "{certificate} is the certificate of {node}, and this node is {name}; copy what `farwire certs issue {name}` made, or correct name"
        )
    }

    fn issuer(&mut self, path: &Path) -> Option<IssuerPublic> {
        let remedy = "copy the mesh's issuer.pub there, as `farwire certs init` made it";
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                format!("{error}; let the user that runs this read it: see chown and chmod")
            }
            _ => format!("{error}; {remedy}, or correct the path"),
        });
        let issuer = match text {
            Ok(text) => {
                IssuerPublic::from_paserk(&text).map_err(|error| format!("{}: {error}; {remedy}", path.display()))
            }
            Err(fault) => Err(format!("cannot read {}: {fault}", path.display())),
        };
        issuer.map_err(|fault| self.fault("auth.issuers", fault)).ok()
    }

    /// The directory may be missing, then the node makes it.
    fn data_dir(&mut self) {
        let dir = &self.config.data_dir;
        let Some(there) = dir.ancestors().map(or_here).find(|path| path.exists()) else { return };
        let shown = quoted(&there.display().to_string());
        if !there.is_dir() {
            self.fault(
                "data_dir",
                format!("{shown} is not a directory; name a directory, the node makes it if need be"),
            );
        } else if let Err(error) = try_to_write(there) {
            let message =
                format!("{shown} cannot be written to: {error}; give it to the user that runs this: see chown");
            self.fault("data_dir", message);
        }
    }
}

/// Tries it: what permissions say is not the whole truth, for root and on disks that are mounted read-only.
fn try_to_write(dir: &Path) -> std::io::Result<()> {
    let probe = dir.join(format!(".farwire-probe-{}", std::process::id()));
    match std::fs::create_dir(&probe) {
        // Another node with the same process id, in a container of its own, tries it too.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.and_then(|()| std::fs::remove_dir(&probe)),
    }
}

/// A relative path's last ancestor is empty, and means where the process is.
fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn not_covered(config: &Config, host: &str) -> String {
    let certificate = &config.tls.client_cert;
    let names = certs::summary(certificate, CertificateRole::Client)
        .map(|summary| summary.names.join(", "))
        .unwrap_or_default();
    format!(
        "clients are told to dial {host}, but {} is good for {names} only; issue it again with \
         `farwire certs issue {} --address {host}` and all its other addresses",
        certificate.display(),
        config.name
    )
}
