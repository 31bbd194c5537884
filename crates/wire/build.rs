//! Generates the protobuf types at build time with protox: no protoc, and no generated code in the repository.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let proto = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", proto.display());
    let files = ["types/v1/types.proto", "client/v1/client.proto", "peer/v1/peer.proto", "peer/v1/log.proto"];
    let files = files.map(|file| proto.join("farwire").join(file));
    let descriptors = protox::compile(files, [&proto])?;
    prost_build::Config::new().bytes(["."]).skip_debug(["."]).compile_fds(descriptors)?;
    Ok(())
}
