//! Compiles the .proto files with protox, so that protoc need not be installed.

use prost::Message;
use std::path::PathBuf;
use std::{env, error, fs};

const FILES: [&str; 4] = ["types", "worker", "sweep", "runner"];

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo:rerun-if-changed=plusminus");
    let files = FILES.map(|file| format!("plusminus/v1/{file}.proto"));
    let descriptors = protox::compile(files, ["."])?;
    // For the reflection service.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    // Ordered maps, so that equal messages have equal bytes.
    tonic_prost_build::configure().btree_map(".").compile_fds(descriptors)?;
    Ok(())
}
