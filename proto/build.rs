//! Compiles the .proto files with protox: no protoc has to be installed.

use prost::Message;
use std::path::PathBuf;
use std::{env, error, fs};

const FILES: [&str; 4] = ["types", "worker", "sweep", "runner"];

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo:rerun-if-changed=plusminus");
    let files = FILES.map(|file| format!("plusminus/v1/{file}.proto"));
    let descriptors = protox::compile(files, ["."])?;
    // Served by the reflection service.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    // Maps in the order of their keys: equal messages are equal bytes.
    tonic_prost_build::configure().btree_map(".").compile_fds(descriptors)?;
    Ok(())
}
